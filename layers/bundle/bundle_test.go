package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/peelfs/peelfs/internal/errkind"
)

func pack(t testing.TB, items ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, items); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func unpack(data []byte) (all [][]byte, err error) {
	err = Read(bytes.NewReader(data), func(x []byte) error { all = append(all, bytes.Clone(x)); return nil })
	return all, err
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		items := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 5000), 0, 8).Draw(rt, "items")
		all, err := unpack(pack(t, items...))
		if err != nil || len(all) != len(items) {
			rt.Fatalf("%d of %d, %v", len(all), len(items), err)
		}
		for i := range items {
			if !bytes.Equal(all[i], items[i]) {
				rt.Fatalf("item %d differs", i)
			}
		}
	})
}

func TestDamageIsFoundBeforeAnythingIsGiven(t *testing.T) {
	good := pack(t, []byte("one"), bytes.Repeat([]byte("two"), 1000))
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if all, err := unpack(bad); err == nil || len(all) > 0 {
			t.Fatalf("byte %d: %d items, %v", i, len(all), err)
		}
		if all, err := unpack(good[:i]); err == nil || len(all) > 0 {
			t.Fatalf("cut at %d: %d items, %v", i, len(all), err)
		}
	}
	if _, err := unpack(append(bytes.Clone(good), 0)); err == nil {
		t.Error("bytes too many")
	}
}

// sealed gives damaged bytes a checksum that fits, as somebody hostile would.
func sealed(data []byte) []byte {
	sum := sha256.Sum256(data)
	return append(bytes.Clone(data), sum[:]...)
}

func TestHostileBundles(t *testing.T) {
	good := pack(t, []byte("one"))
	body := good[:len(good)-sha256.Size]
	with := func(at int, v uint64, n int) []byte {
		b := bytes.Clone(body)
		var raw [8]byte
		binary.LittleEndian.PutUint64(raw[:], v)
		copy(b[at:], raw[:n])
		return sealed(b)
	}
	for name, c := range map[string]struct {
		data []byte
		want errkind.Kind
	}{
		"another version":   {with(8, 2, 4), errkind.Unsupported},
		"too many":          {with(12, MaxItems+1, 4), errkind.Unsupported},
		"more than it has":  {with(12, 2, 4), errkind.Corrupt},
		"fewer than it has": {with(12, 0, 4), errkind.Corrupt},
		"longer":            {with(16, 1<<40, 8), errkind.Corrupt},
		"much longer":       {with(16, 1<<63+5, 8), errkind.Corrupt},
		"a bomb":            {with(24, 2, 8), errkind.Corrupt},
		"claims too much":   {with(24, 1<<62, 8), errkind.Corrupt},
		"claims more":       {with(24, 4, 8), errkind.Corrupt},
	} {
		if all, err := unpack(c.data); !errkind.Is(err, c.want) || len(all) > 1 {
			t.Errorf("%s: %d items, %v", name, len(all), err)
		}
	}
	stop := errors.New("stop")
	if err := Read(bytes.NewReader(good), func([]byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(pack(f, []byte("one"), []byte("two")))
	f.Add(pack(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		n := 0
		_ = Read(bytes.NewReader(sealed(data)), func(x []byte) error { n += len(x); return nil })
		if n > 64<<20 {
			t.Fatalf("%d bytes out of %d", n, len(data))
		}
	})
}
