package zframes

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/xxh3"
	"pgregory.net/rapid"

	"github.com/peelfs/peelfs/internal/errkind"
)

// failer is what *testing.T and *rapid.T share.
type failer interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

func text(rng *rand.Rand, n int) []byte {
	p := make([]byte, 0, n+4096)
	for len(p) < n {
		switch k := rng.IntN(8); {
		case k < 4:
			for range rng.IntN(200) {
				p = append(p, "etaoin shrdlu\n"[rng.IntN(14)])
			}
		case k < 5:
			p = append(p, bytes.Repeat([]byte{byte(rng.IntN(4))}, rng.IntN(2000))...)
		case k < 6:
			for range rng.IntN(600) {
				p = append(p, byte(rng.Uint32()))
			}
		case len(p) > 0:
			from := max(0, len(p)-1-rng.IntN(1<<rng.IntN(20)))
			p = append(p, p[from:min(len(p), from+rng.IntN(500))]...)
		}
	}
	return p[:n]
}

// compress makes one frame, without a content size if streamed.
func compress(t failer, p []byte, streamed bool, opts ...zstd.EOption) []byte {
	t.Helper()
	opts = append([]zstd.EOption{zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true)}, opts...)
	var buf bytes.Buffer
	w, err := zstd.NewWriter(&buf, opts...)
	if err != nil {
		t.Fatal(err)
	}
	if !streamed {
		return w.EncodeAll(p, nil)
	}
	for ; len(p) > 0 && err == nil; p = p[min(len(p), 300_000):] {
		_, err = w.Write(p[:min(len(p), 300_000)])
	}
	if err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func skippable(n int, number uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, skippableMagic+number)
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	return append(b, make([]byte, n)...)
}

// stream is a zstd blob and its content.
type stream struct {
	name    string
	zst     []byte
	out     []byte
	spanned bool // spans reach the size that is asked for
}

func streams(t failer, size int) []stream {
	rng := rand.New(rand.NewPCG(1, 2))
	data := text(rng, size)
	var all []stream
	for _, streamed := range []bool{false, true} {
		for _, level := range []zstd.EncoderLevel{zstd.SpeedFastest, zstd.SpeedDefault, zstd.SpeedBestCompression} {
			for _, crc := range []bool{false, true} {
				opts := []zstd.EOption{zstd.WithEncoderLevel(level), zstd.WithEncoderCRC(crc)}
				all = append(all, stream{fmt.Sprint("one frame ", streamed, level, crc), compress(t, data, streamed, opts...), data, true})
				all = append(all, stream{fmt.Sprint("many frames ", streamed, level, crc), many(t, rng, data, streamed, 0, opts...), data, true})
			}
		}
	}
	all = append(all,
		stream{"zeros", compress(t, make([]byte, size), true), make([]byte, size), true},
		stream{"empty", compress(t, nil, false), nil, true},
		stream{"skippable only", skippable(10, 3), nil, true},
		stream{"short skippables", many(t, rng, data, false, 10), data, true},
		stream{"long skippables", many(t, rng, data, false, maxInnerSkippable), data, false})
	return all
}

// tool is what zstd makes, if it is here.
func tool(data []byte) (all []stream) {
	for _, args := range [][]string{{"-3"}, {"-19", "--no-check"}, {"--long=27", "-1"}, {"-T2", "-B32768"}} {
		cmd := exec.Command("zstd", append(args, "-c")...)
		cmd.Stdin = bytes.NewReader(data)
		if zst, err := cmd.Output(); err == nil {
			all = append(all, stream{fmt.Sprint("zstd ", args), zst, data, true})
		}
	}
	return all
}

// many makes frames of all lengths, empty ones too, with skippable frames of
// up to skip bytes before, between and behind them.
func many(t failer, rng *rand.Rand, p []byte, streamed bool, skip int, opts ...zstd.EOption) (zst []byte) {
	limit := len(p)/20 + 2
	for i := 0; len(p) > 0; i++ {
		n := min(len(p), rng.IntN(limit))
		if skip > 0 {
			zst = append(zst, skippable(rng.IntN(skip+1)/(1+i%2*9), uint32(i%16))...)
		}
		zst = append(zst, compress(t, p[:n], streamed, opts...)...)
		p = p[n:]
	}
	return append(zst, skippable(3*skip, 0)...)
}

func read(src io.Reader, spanSize int64) (out []byte, spans []Span, err error) {
	r := NewReader(src, Options{SpanSize: spanSize, OnSpan: func(s Span) error {
		spans = append(spans, s)
		return nil
	}})
	var buf bytes.Buffer
	_, err = r.WriteTo(&buf)
	return buf.Bytes(), spans, err
}

func TestReaderGivesContentAndSpans(t *testing.T) {
	for _, s := range append(streams(t, 1_500_000), tool(text(rand.New(rand.NewPCG(9, 9)), 1_500_000))...) {
		for _, spanSize := range []int64{0, 1, 64 << 10, 1 << 20} {
			out, spans, err := read(bytes.NewReader(s.zst), spanSize)
			if err != nil || !bytes.Equal(out, s.out) {
				t.Fatalf("%s: %d bytes, want %d, err %v", s.name, len(out), len(s.out), err)
			}
			if spanSize > 0 {
				checkSpans(t, s, spans, spanSize)
			} else if len(spans) > 0 {
				t.Errorf("%s: %d spans", s.name, len(spans))
			}
		}
	}
}

func TestReaderTakesShortReads(t *testing.T) {
	for _, s := range streams(t, 30_000) {
		for name, src := range map[string]io.Reader{
			"one byte":   iotest.OneByteReader(bytes.NewReader(s.zst)),
			"half":       iotest.HalfReader(bytes.NewReader(s.zst)),
			"data error": iotest.DataErrReader(bytes.NewReader(s.zst)),
		} {
			out, spans, err := read(src, 2000)
			if err != nil || !bytes.Equal(out, s.out) {
				t.Errorf("%s, %s: %d bytes, want %d, err %v", s.name, name, len(out), len(s.out), err)
			}
			checkSpans(t, s, spans, 2000)
		}
	}
}

// checkSpans proves the package's invariant for all spans, in random order.
func checkSpans(t failer, s stream, spans []Span, spanSize int64) {
	t.Helper()
	out, in := int64(0), int64(0)
	for i, sp := range spans {
		if sp.Out != out || sp.OutLen <= 0 || sp.In < in || s.spanned && i < len(spans)-1 && sp.OutLen < spanSize {
			t.Fatalf("%s: span %d: %d bytes at %d from %d, want it at %d from %d or later", s.name, i, sp.OutLen, sp.Out, sp.In, out, in)
		}
		out, in = sp.Out+sp.OutLen, sp.In+sp.InLen
	}
	if out != int64(len(s.out)) || in > int64(len(s.zst)) {
		t.Fatalf("%s: spans end at %d, output at %d", s.name, out, len(s.out))
	}
	for _, i := range rand.Perm(len(spans)) {
		sp := spans[i]
		want, src := s.out[sp.Out:sp.Out+sp.OutLen], bytes.Clone(s.zst[sp.In:sp.In+sp.InLen])
		dst := make([]byte, sp.OutLen)
		if err := DecodeSpan(dst, src); err != nil || !bytes.Equal(dst, want) {
			t.Fatalf("%s: span %d: err %v, right: %v", s.name, i, err, bytes.Equal(dst, want))
		}
		if sp.Digest != sha256.Sum256(src) || sp.Sum != xxh3.Hash(want) {
			t.Fatalf("%s: span %d has wrong sums", s.name, i)
		}
		for _, n := range []int64{-1, 1} {
			if err := DecodeSpan(make([]byte, sp.OutLen+n), src); !errkind.Is(err, errkind.Corrupt) {
				t.Fatalf("%s: span %d decodes to %d bytes too many: %v", s.name, i, n, err)
			}
		}
	}
}

// A table of contents is no part of the last file's span.
func TestLongSkippableIsInNoSpan(t *testing.T) {
	data := []byte("file")
	frame := compress(t, data, false)
	zst := append(append(bytes.Clone(frame), skippable(1<<20, 0)...), skippable(64, 0)...)
	_, spans, err := read(bytes.NewReader(zst), 1<<20)
	if err != nil || len(spans) != 1 || spans[0].InLen != int64(len(frame)) {
		t.Errorf("%+v, %v", spans, err)
	}
}

func TestDecodeStart(t *testing.T) {
	for _, s := range streams(t, 300_000) {
		for _, n := range []int{0, min(1, len(s.out)), len(s.out) / 3, len(s.out)} {
			dst := make([]byte, n)
			if err := DecodeStart(dst, s.zst); err != nil || !bytes.Equal(dst, s.out[:n]) {
				t.Fatalf("%s: the first %d bytes of %d: %v", s.name, n, len(s.out), err)
			}
		}
		if err := DecodeStart(make([]byte, len(s.out)+1), s.zst); !errkind.Is(err, errkind.Corrupt) {
			t.Errorf("%s: more than there is: %v", s.name, err)
		}
		if len(s.out) > 0 {
			if err := DecodeStart(make([]byte, len(s.out)), s.zst[:len(s.zst)/2]); err == nil {
				t.Errorf("%s: half of it", s.name)
			}
		}
	}
	if err := DecodeStart(make([]byte, 1), []byte("no zstd at all")); !errkind.Is(err, errkind.Corrupt) {
		t.Errorf("no zstd: %v", err)
	}
}

func TestTruncationFails(t *testing.T) {
	for _, s := range streams(t, 3000) {
		for n := 0; n < len(s.zst); n += 1 + len(s.zst)/200 {
			out, _, err := read(bytes.NewReader(s.zst[:n]), 500)
			if err == nil {
				if want, ok := reference(s.zst[:n]); !ok || !bytes.Equal(out, want) {
					t.Errorf("%s: %d of %d bytes accepted", s.name, n, len(s.zst))
				}
				continue
			}
			if !errors.Is(err, io.ErrUnexpectedEOF) || !errkind.Is(err, errkind.Corrupt) || !bytes.HasPrefix(s.out, out) {
				t.Errorf("%s: %d of %d bytes: %v", s.name, n, len(s.zst), err)
			}
		}
	}
}

// reference decodes all of zst in one call of the decoder.
func reference(zst []byte) ([]byte, bool) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(MaxWindow), zstd.WithDecoderMaxMemory(2*MaxWindow))
	if err != nil {
		return nil, false
	}
	defer d.Close()
	out, err := d.DecodeAll(zst, nil)
	return out, err == nil
}

func TestRejects(t *testing.T) {
	good := compress(t, []byte("hello"), false)
	for name, c := range map[string]struct {
		zst  []byte
		kind errkind.Kind
	}{
		"nothing":    {nil, errkind.Corrupt},
		"gzip":       {[]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0}, errkind.Corrupt},
		"garbage":    {append(bytes.Clone(good), "garbage"...), errkind.Corrupt},
		"checksum":   {append(bytes.Clone(good[:len(good)-1]), ^good[len(good)-1]), errkind.Corrupt},
		"block type": {[]byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0x58, 7, 0, 0}, errkind.Corrupt},
		"window":     {[]byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0xf8, 1, 0, 0}, errkind.Unsupported},
		"dictionary": {[]byte{0x28, 0xb5, 0x2f, 0xfd, 1, 0x58, 9, 1, 0, 0}, errkind.Unsupported},
	} {
		if _, _, err := read(bytes.NewReader(c.zst), 10); !errkind.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestErrorsOfOthersPass(t *testing.T) {
	broken := errors.New("broken")
	zst := compress(t, text(rand.New(rand.NewPCG(3, 4)), 500_000), true)
	for _, n := range []int{0, 3, 8, len(zst) / 2, len(zst)} {
		if _, _, err := read(io.MultiReader(bytes.NewReader(zst[:n]), iotest.ErrReader(broken)), 10); err != broken {
			t.Errorf("%d bytes, then broken: %v", n, err)
		}
	}
	r := NewReader(bytes.NewReader(zst), Options{SpanSize: 10, OnSpan: func(Span) error { return broken }})
	if _, err := r.WriteTo(io.Discard); err != broken {
		t.Error(err)
	}
}

func TestRandomStreams(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		data := text(rng, rapid.SampledFrom([]int{1, 300, 40_000, 300_000}).Draw(t, "size"))
		zst := many(t, rng, data, rapid.Bool().Draw(t, "streamed"), rapid.SampledFrom([]int{0, 10, 3 * maxInnerSkippable}).Draw(t, "skippable"))
		out, spans, err := read(bytes.NewReader(zst), 5000)
		if err != nil || !bytes.Equal(out, data) {
			t.Fatal("wrong output: ", err)
		}
		checkSpans(t, stream{"random", zst, data, false}, spans, 5000)
	})
}

// seeds are streams of 2000 bytes that are cheap to make.
func seeds(t failer) [][]byte {
	rng := rand.New(rand.NewPCG(1, 2))
	data := text(rng, 2000)
	fast := zstd.WithEncoderLevel(zstd.SpeedFastest)
	return [][]byte{
		compress(t, data, false, fast),
		compress(t, data, true, fast, zstd.WithWindowSize(4096), zstd.WithEncoderCRC(false)),
		many(t, rng, data, false, 0, fast),
		many(t, rng, data, false, 30, fast),
		compress(t, make([]byte, 2000), false, fast),
	}
}

// FuzzReader compares with the decoder on all of the input at once, and proves
// all spans.
func FuzzReader(f *testing.F) {
	for _, zst := range seeds(f) {
		f.Add(zst, uint16(300))
	}
	f.Fuzz(func(t *testing.T, zst []byte, spanSize uint16) {
		out, spans, err := read(iotest.HalfReader(bytes.NewReader(zst)), int64(spanSize))
		if err == nil && spanSize > 0 {
			checkSpans(t, stream{"input", zst, out, false}, spans, int64(spanSize))
		}
		if want, ok := reference(zst); ok && len(zst) > 0 && (err != nil || !bytes.Equal(out, want)) {
			t.Fatalf("%d bytes and %v, want %d bytes", len(out), err, len(want))
		}
	})
}

// FuzzDecodeSpan wants no panic and no byte written outside.
func FuzzDecodeSpan(f *testing.F) {
	for _, zst := range seeds(f) {
		f.Add(zst, uint16(2000))
	}
	f.Fuzz(func(t *testing.T, src []byte, n uint16) {
		const guard = 64
		mem := bytes.Repeat([]byte{0xa5}, int(n)+2*guard)
		_ = DecodeStart(mem[guard:guard+int(n)], src)
		err := DecodeSpan(mem[guard:guard+int(n)], src)
		if want := bytes.Repeat([]byte{0xa5}, guard); !bytes.Equal(mem[:guard], want) || !bytes.Equal(mem[guard+int(n):], want) {
			t.Fatal("wrote outside")
		}
		if err == nil && n > 0 {
			if out, ok := reference(src); !ok || !bytes.Equal(out, mem[guard:guard+int(n)]) {
				t.Fatal("other output than from the decoder itself")
			}
		}
	})
}

// BenchmarkReader measures one large frame and many small ones, in output.
func BenchmarkReader(b *testing.B) {
	rng := rand.New(rand.NewPCG(7, 8))
	data := text(rng, 16<<20)
	var small []byte
	for p := data; len(p) > 0; p = p[min(len(p), 30_000):] {
		small = append(small, compress(b, p[:min(len(p), 30_000)], false)...)
	}
	for name, zst := range map[string][]byte{"one": compress(b, data, true), "small": small} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := NewReader(bytes.NewReader(zst), Options{SpanSize: 1 << 20}).WriteTo(io.Discard); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
