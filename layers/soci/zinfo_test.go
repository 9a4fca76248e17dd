package soci

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/peelfs/peelfs/internal/errkind"
)

// zinfo is the zinfo of a gzip layer; count is what its header says.
func zinfo(count int32, points ...checkpoint) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(count))
	b = binary.LittleEndian.AppendUint64(b, 1<<20)
	for _, p := range points {
		b = binary.LittleEndian.AppendUint64(b, uint64(p.in))
		b = binary.LittleEndian.AppendUint64(b, uint64(p.out))
		b = append(b, p.bits)
		b = append(b, make([]byte, windowSize)...)
	}
	return b
}

// The first version leaves out the checkpoint at the start, the second has it.
func TestBothVersionsOfZinfo(t *testing.T) {
	start, later := checkpoint{in: firstCheckpoint}, checkpoint{in: 5000, out: 9000, bits: 3}
	for name, b := range map[string][]byte{
		"first": zinfo(2, later), "second": zinfo(2, start, later),
	} {
		got, err := checkpoints(b)
		if err != nil || len(got) != 2 || got[0].in != start.in || got[0].out != 0 || got[1].in != 5000 || got[1].out != 9000 || got[1].bits != 3 {
			t.Errorf("%s: %d checkpoints, %v", name, len(got), err)
		}
	}
}

func TestHostileZinfo(t *testing.T) {
	start, a := checkpoint{in: 10}, checkpoint{in: 5000, out: 9000}
	whole := zinfo(2, start, a)
	for name, b := range map[string][]byte{
		"nothing":             {},
		"half a header":       whole[:zinfoHeader-1],
		"half a checkpoint":   whole[:len(whole)-1],
		"one byte too many":   append(slices.Clone(whole), 0),
		"more than there are": zinfo(4, start, a),
		"fewer":               zinfo(1, start, a),
		"a negative number":   zinfo(-1, start, a),
		"no checkpoint":       zinfo(0),
		"none at the start":   zinfo(1, a),
		"input at 0":          zinfo(1, checkpoint{}),
		"negative input":      zinfo(2, start, checkpoint{in: -5, out: 9000}),
		"negative output":     zinfo(2, start, checkpoint{in: 5000, out: -1}),
		"input goes back":     zinfo(3, start, a, checkpoint{in: 4000, out: 10000}),
		"input stays":         zinfo(3, start, a, checkpoint{in: 5000, out: 10000}),
		"output goes back":    zinfo(3, start, a, checkpoint{in: 6000, out: 8000}),
	} {
		if points, err := checkpoints(b); !errkind.Is(err, errkind.Corrupt) {
			t.Errorf("%s: %d checkpoints, %v", name, len(points), err)
		}
	}
}

// The span between two checkpoints is checked where both are known.
func TestHostileSpans(t *testing.T) {
	const sum = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	good, next := checkpoint{in: 10}, checkpoint{in: 5000, out: 9000}
	if _, err := span(good, next, sum); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		from, to checkpoint
		sum      string
	}{
		"nine bits":       {checkpoint{in: 10, bits: 9}, next, sum},
		"before the blob": {checkpoint{in: 1, bits: 1}, next, sum},
		"no digest":       {good, next, ""},
		"another digest":  {good, next, "sha512:" + sum[7:] + sum[7:]},
		"half a digest":   {good, next, sum[:40]},
		"no input":        {good, checkpoint{in: 10, out: 9000}, sum},
		"beyond the blob": {checkpoint{in: 5000}, checkpoint{in: 4000, out: 10}, sum},
		"beyond the tar":  {checkpoint{in: 10, out: 100}, checkpoint{in: 5000, out: 99}, sum},
		"too much output": {good, checkpoint{in: 5000, out: maxSpanSize + 1}, sum},
		"too much input":  {good, checkpoint{in: maxSpanSize + 100, out: 9000}, sum},
	} {
		if s, err := span(c.from, c.to, c.sum); err == nil {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func FuzzZinfo(f *testing.F) {
	f.Add(zinfo(2, checkpoint{in: 5000, out: 9000, bits: 3})[:zinfoHeader+17], uint8(1))
	f.Add(zinfo(2, checkpoint{in: 10}, checkpoint{in: 5000, out: 9000})[:zinfoHeader+17], uint8(2))
	// A window is 32 KiB of no importance: only what is in front of it is mutated.
	f.Fuzz(func(t *testing.T, heads []byte, n uint8) {
		b := heads[:min(len(heads), zinfoHeader)]
		for heads = heads[len(b):]; n > 0 && n < 8; n-- {
			k := min(len(heads), 17)
			b = append(slices.Clip(b), heads[:k]...)
			heads = heads[k:]
			b = append(b, make([]byte, checkpointSize-k)...)
		}
		points, err := checkpoints(b)
		if err != nil {
			return
		}
		for i, p := range points {
			if p.in <= 0 || p.out < 0 || i > 0 && (p.in <= points[i-1].in || p.out < points[i-1].out) {
				t.Fatalf("checkpoint %d of %d: %d, %d", i, len(points), p.in, p.out)
			}
		}
	})
}
