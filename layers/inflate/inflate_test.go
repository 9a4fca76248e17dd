package inflate

import (
	"bytes"
	stdgzip "compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
	"github.com/zeebo/xxh3"
	"pgregory.net/rapid"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/internal/outbuf"
)

// failer is what *testing.T and *rapid.T share.
type failer interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// text is n bytes that compress like a layer: words, runs, binary and
// repetitions from near and far.
func text(rng *rand.Rand, n int) []byte {
	p := make([]byte, 0, n+4096)
	for len(p) < n {
		switch k := rng.IntN(10); {
		case k < 4:
			for range rng.IntN(200) {
				p = append(p, "etaoin shrdlu\n"[rng.IntN(14)])
			}
		case k < 6:
			p = append(p, bytes.Repeat([]byte{byte(rng.IntN(4))}, rng.IntN(2000))...)
		case k < 7:
			for range rng.IntN(600) {
				p = append(p, byte(rng.Uint32()))
			}
		case len(p) > 0:
			from := max(0, len(p)-1-rng.IntN(1<<rng.IntN(17)))
			p = append(p, p[from:min(len(p), from+rng.IntN(500))]...)
		}
	}
	return p[:n]
}

type member struct {
	level int // of compress/gzip; huffman only is -2
	std   bool
	flush int // a flush about each that many bytes; 0: none
	data  []byte
	head  stdgzip.Header
}

func (m member) gzip(tb failer, rng *rand.Rand) []byte {
	var buf bytes.Buffer
	var w interface {
		io.WriteCloser
		Flush() error
	}
	if m.std {
		s, err := stdgzip.NewWriterLevel(&buf, m.level)
		if err != nil {
			tb.Fatal(err)
		}
		s.Header = m.head
		w = s
	} else {
		k, err := gzip.NewWriterLevel(&buf, m.level)
		if err != nil {
			tb.Fatal(err)
		}
		w = k
	}
	for p := m.data; len(p) > 0; {
		n := len(p)
		if m.flush > 0 {
			n = min(n, 1+rng.IntN(2*m.flush))
		}
		if _, err := w.Write(p[:n]); err != nil {
			tb.Fatal(err)
		}
		if p = p[n:]; m.flush > 0 {
			if err := w.Flush(); err != nil {
				tb.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

// oneBlock is a member that is a single block with fixed codes and matches of
// distance 1, which no encoder here would make.
func oneBlock(n int) (gz, out []byte) {
	var bits uint64
	var nbits uint
	gz = []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}
	put := func(v uint64, n uint) {
		bits |= v << nbits
		for nbits += n; nbits >= 8; nbits -= 8 {
			gz = append(gz, byte(bits))
			bits >>= 8
		}
	}
	reverse := func(v uint64, n uint) (r uint64) {
		for range n {
			r, v = r<<1|v&1, v>>1
		}
		return r
	}
	put(1|1<<1, 3)
	put(reverse(0x30+'x', 8), 8)
	for range n {
		put(reverse(0xc5, 8), 8) // length 258
		put(0, 5)                // distance 1
	}
	put(0, 7)
	put(0, 7) // the rest of the last byte
	out = bytes.Repeat([]byte("x"), 1+258*n)
	return append(gz, trailer(out)...), out
}

func trailer(out []byte) []byte {
	var buf bytes.Buffer
	w := stdgzip.NewWriter(&buf)
	w.Write(out)
	w.Close()
	return buf.Bytes()[buf.Len()-8:]
}

// stream is a gzip blob and its content.
type stream struct {
	name    string
	gz, out []byte
}

// streams are blobs of all shapes.
func streams(tb failer, size int) []stream {
	rng := rand.New(rand.NewPCG(1, 2))
	data := text(rng, size)
	noise := make([]byte, size/4)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	var all []stream
	add := func(name string, out []byte, members ...member) {
		var gz []byte
		for _, m := range members {
			gz = append(gz, m.gzip(tb, rng)...)
		}
		all = append(all, stream{name, gz, out})
	}
	for level := -2; level <= 9; level++ {
		for _, std := range []bool{false, true} {
			for _, flush := range []int{0, size / 40} {
				name := fmt.Sprintf("level=%d,std=%v,flush=%d", level, std, flush)
				add(name, data, member{level: level, std: std, flush: flush, data: data})
			}
		}
	}
	add("noise", noise, member{level: 6, data: noise})
	add("tiny flushes", data[:size/16], member{level: 6, flush: 20, data: data[:size/16]})
	add("zeros", make([]byte, size), member{level: 6, data: make([]byte, size)})
	add("empty", nil, member{level: 6})
	add("empty members", data, member{level: 1}, member{level: 6, data: data}, member{std: true}, member{level: 6})
	head := stdgzip.Header{Name: strings.Repeat("n", 300), Comment: "c", Extra: make([]byte, 65535)}
	add("header", data, member{level: 3, std: true, head: head, data: data[:100]}, member{level: 6, data: data[100:]})
	var small []member
	for p := data; len(p) > 0; {
		n := min(len(p), 1+rng.IntN(size/200+2))
		small = append(small, member{level: rng.IntN(12) - 2, flush: rng.IntN(2) * 500, data: p[:n]})
		p = p[n:]
	}
	add("many members", data, small...)
	gz, out := oneBlock(size / 258)
	return append(all, stream{"one block", gz, out})
}

// read reads gz to its end through src and returns the spans as well.
func read(src io.Reader, spanSize int64) (out []byte, spans []Span, r *Reader, err error) {
	r = NewReader(src, Options{SpanSize: spanSize, OnSpan: func(s Span) error {
		spans = append(spans, s)
		return nil
	}})
	var buf bytes.Buffer
	_, err = r.WriteTo(&buf)
	return buf.Bytes(), spans, r, err
}

func TestReaderGivesContent(t *testing.T) {
	for _, s := range streams(t, 700_000) {
		out, spans, r, err := read(bytes.NewReader(s.gz), 0)
		if err != nil || !bytes.Equal(out, s.out) {
			t.Errorf("%s: %d bytes, want %d, err %v", s.name, len(out), len(s.out), err)
		}
		if len(spans) != 0 || r.Trailing() != 0 {
			t.Errorf("%s: %d spans, %d trailing bytes", s.name, len(spans), r.Trailing())
		}
	}
}

func TestReaderTakesShortReads(t *testing.T) {
	for _, s := range streams(t, 40_000) {
		for name, src := range map[string]io.Reader{
			"one byte":   iotest.OneByteReader(bytes.NewReader(s.gz)),
			"half":       iotest.HalfReader(bytes.NewReader(s.gz)),
			"data error": iotest.DataErrReader(bytes.NewReader(s.gz)),
			"odd":        &oddReader{p: s.gz},
		} {
			out, spans, _, err := read(src, 5000)
			if err != nil || !bytes.Equal(out, s.out) {
				t.Errorf("%s, %s: %d bytes, want %d, err %v", s.name, name, len(out), len(s.out), err)
			}
			checkSpans(t, s, spans, 5000)
		}
	}
}

// oddReader gives runs of 0 to 40 bytes.
type oddReader struct {
	p []byte
	n int
}

func (r *oddReader) Read(p []byte) (int, error) {
	if len(r.p) == 0 {
		return 0, io.EOF
	}
	r.n = (r.n + 7) % 41
	n := copy(p, r.p[:min(len(r.p), r.n)])
	r.p = r.p[n:]
	return n, nil
}

func TestSpansDecode(t *testing.T) {
	size := 6 << 20
	if testing.Short() {
		size = 1 << 20
	}
	for _, s := range streams(t, size) {
		for _, spanSize := range []int64{64 << 10, 256 << 10, 1 << 20, 4 << 20} {
			out, spans, _, err := read(bytes.NewReader(s.gz), spanSize)
			if err != nil || !bytes.Equal(out, s.out) {
				t.Fatalf("%s: err %v", s.name, err)
			}
			checkSpans(t, s, spans, spanSize)
		}
	}
}

// checkSpans proves the package's invariant for all spans, in random order.
func checkSpans(t failer, s stream, spans []Span, spanSize int64) {
	t.Helper()
	end := int64(0)
	for i, sp := range spans {
		if sp.Out != end || sp.OutLen <= 0 || i < len(spans)-1 && sp.OutLen < spanSize {
			t.Fatalf("%s: span %d of size %d has %d bytes at %d, want it at %d", s.name, i, spanSize, sp.OutLen, sp.Out, end)
		}
		end += sp.OutLen
		if i > 0 {
			p, shared := spans[i-1], int64(0)
			if sp.Bits > 0 {
				shared = 1
			}
			if p.In+p.InLen != sp.In+shared {
				t.Fatalf("%s: span %d's input ends at %d, the next one starts at %d, bit %d", s.name, i-1, p.In+p.InLen, sp.In, sp.Bits)
			}
		}
		if w := sp.Window; w != nil && len(w) != WindowSize {
			t.Fatalf("%s: window of %d bytes", s.name, len(w))
		}
	}
	if end != int64(len(s.out)) {
		t.Fatalf("%s: spans end at %d, output at %d", s.name, end, len(s.out))
	}
	for _, i := range rand.Perm(len(spans)) {
		sp := spans[i]
		want := s.out[sp.Out : sp.Out+sp.OutLen]
		// A copy of its own: reading beyond the end would be caught.
		src := bytes.Clone(s.gz[sp.In : sp.In+sp.InLen])
		dst := make([]byte, sp.OutLen)
		if err := DecodeSpan(dst, src, sp.Window, sp.Bits); err != nil || !bytes.Equal(dst, want) {
			t.Fatalf("%s: span %d of size %d: err %v, right: %v", s.name, i, spanSize, err, bytes.Equal(dst, want))
		}
		if sp.Digest != sha256.Sum256(src) || sp.Sum != xxh3.Hash(want) {
			t.Fatalf("%s: span %d of size %d has wrong sums", s.name, i, spanSize)
		}
	}
}

// A ztoc holds full windows, whole first bytes, and the first span may be
// asked for in part.
func TestDecodeSpanOfOthers(t *testing.T) {
	for _, s := range streams(t, 600_000) {
		_, spans, _, err := read(bytes.NewReader(s.gz), 100_000)
		if err != nil {
			t.Fatal(err)
		}
		for _, sp := range spans {
			window := s.out[max(0, sp.Out-WindowSize-5):sp.Out]
			dst := make([]byte, 1+sp.OutLen*2/3)
			src := s.gz[sp.In:]
			if err := DecodeSpan(dst, src, window, sp.Bits); err != nil || !bytes.HasPrefix(s.out[sp.Out:], dst) {
				t.Fatalf("%s: at %d: %v", s.name, sp.Out, err)
			}
		}
	}
}

func TestWindowIsSparse(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	data := text(rng, 3<<20)
	gz := member{level: 6, data: data}.gzip(t, rng)
	_, spans, _, err := read(bytes.NewReader(gz), 256<<10)
	if err != nil || len(spans) < 8 {
		t.Fatal(len(spans), err)
	}
	if spans[0].Window != nil {
		t.Error("the first span has a window")
	}
	for _, sp := range spans[1:] {
		full := data[sp.Out-WindowSize : sp.Out]
		kept := 0
		for i, b := range sp.Window {
			if b != 0 {
				kept++
				if b != full[i] {
					t.Fatalf("window byte %d is %d, was %d", i, b, full[i])
				}
			}
		}
		if kept > WindowSize*3/4 {
			t.Errorf("%d bytes of a window kept", kept)
		}
	}
}

func TestMemberStartsNeedNoWindow(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	data := text(rng, 1<<20)
	var gz []byte
	for p := data; len(p) > 0; p = p[1<<12:] {
		gz = append(gz, member{level: 6, data: p[:1<<12]}.gzip(t, rng)...)
	}
	_, spans, r, err := read(bytes.NewReader(gz), 100<<10)
	if err != nil || r.Members() != 256 || len(spans) != 11 {
		t.Fatalf("%d members, %d spans, %v", r.Members(), len(spans), err)
	}
	for _, sp := range spans {
		if sp.Window != nil {
			t.Errorf("span at %d has a window", sp.Out)
		}
	}
}

func TestTrailing(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	data := text(rng, 50_000)
	gz := member{level: 6, data: data}.gzip(t, rng)
	for _, tail := range []string{"\x00", "\x1f", "\x1f\x8a", "\x00\x00\x00", strings.Repeat("\x00", 400_000), "garbage \x1f\x8b\x08"} {
		src := append(bytes.Clone(gz), tail...)
		for _, rd := range []io.Reader{bytes.NewReader(src), iotest.OneByteReader(bytes.NewReader(src))} {
			out, spans, r, err := read(rd, 1<<20)
			if err != nil || !bytes.Equal(out, data) || r.Trailing() != int64(len(tail)) {
				t.Errorf("tail of %d: %d trailing, %v", len(tail), r.Trailing(), err)
			}
			if end := spans[0]; len(spans) > 1 || end.In+end.InLen != int64(len(gz)) {
				t.Errorf("last span ends at %d, member at %d", end.In+end.InLen, len(gz))
			}
		}
	}
}

func TestRejects(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	data := text(rng, 5_000)
	gz := member{level: 6, data: data}.gzip(t, rng)
	with := func(i int, v byte) []byte {
		p := bytes.Clone(gz)
		p[(len(p)+i)%len(p)] ^= v
		return p
	}
	for name, bad := range map[string][]byte{
		"nothing":        {},
		"magic":          with(0, 1),
		"method":         with(2, 1),
		"reserved flag":  with(3, 0x20),
		"crc":            with(-5, 1),
		"size":           with(-1, 1),
		"second member":  append(bytes.Clone(gz), 0x1f, 0x8b),
		"second header":  append(bytes.Clone(gz), 0x1f, 0x8b, 7, 0, 0, 0, 0, 0, 0, 0),
		"block type 3":   append(bytes.Clone(gz[:10]), 7, 0, 0),
		"stored length":  append(bytes.Clone(gz[:10]), 1, 5, 0, 5, 0, 1, 2, 3, 4, 5),
		"too far back":   append(bytes.Clone(gz[:10]), 0x03, 0x02, 0, 0, 0, 0, 0, 0),
		"header crc":     append([]byte{0x1f, 0x8b, 8, 2, 0, 0, 0, 0, 0, 255, 1, 2}, gz[10:]...),
		"endless name":   append([]byte{0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 255}, bytes.Repeat([]byte("a"), 500_000)...),
		"286 lit codes":  append(bytes.Clone(gz[:10]), 0xfd, 0x00, 0, 0, 0, 0, 0, 0),
		"no code at all": append(bytes.Clone(gz[:10]), 0x05, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
	} {
		_, _, _, err := read(bytes.NewReader(bad), 1000)
		if !errkind.Is(err, errkind.Corrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEveryTruncationFails(t *testing.T) {
	for _, s := range streams(t, 3000) {
		step := 1 + len(s.gz)/300
		for n := 0; n < len(s.gz); n += step {
			out, _, r, err := read(bytes.NewReader(s.gz[:n]), 500)
			if err == nil {
				// A prefix that ends with a member is a good blob, and
				// half of the next one's magic number is garbage.
				n := n - int(r.Trailing())
				if _, want, ok := stdRead(s.gz[:n]); !ok || !bytes.Equal(out, want) {
					t.Errorf("%s: %d of %d bytes accepted, %d trailing", s.name, n, len(s.gz), r.Trailing())
				}
				continue
			}
			if !errors.Is(err, io.ErrUnexpectedEOF) || !errkind.Is(err, errkind.Corrupt) {
				t.Errorf("%s: %d of %d bytes: %v", s.name, n, len(s.gz), err)
			}
			if !bytes.HasPrefix(s.out, out) {
				t.Errorf("%s: %d of %d bytes: wrong output in front of the error", s.name, n, len(s.gz))
			}
		}
	}
}

// stdRead reads gz with the standard library, which knows no trailing bytes.
func stdRead(gz []byte) (n int, out []byte, ok bool) {
	r, err := stdgzip.NewReader(bytes.NewReader(gz))
	if err != nil {
		return 0, nil, false
	}
	out, err = io.ReadAll(r)
	return len(out), out, err == nil
}

func TestErrorsOfOthersPass(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	data := text(rng, 900_000)
	gz := member{level: 6, data: data}.gzip(t, rng)
	broken := errors.New("broken")
	for _, n := range []int{0, 1, 5, 100, len(gz) / 2, len(gz) - 3, len(gz)} {
		src := io.MultiReader(bytes.NewReader(gz[:n]), iotest.ErrReader(broken))
		out, _, _, err := read(src, 1000)
		if err != broken || !bytes.HasPrefix(data, out) {
			t.Errorf("%d bytes, then broken: %v", n, err)
		}
	}
	r := NewReader(bytes.NewReader(gz), Options{SpanSize: 1000, OnSpan: func(Span) error { return broken }})
	if _, err := r.WriteTo(io.Discard); err != broken {
		t.Error(err)
	}
	if _, _, _, err := read(stuck{}, 0); err != io.ErrNoProgress {
		t.Error(err)
	}
}

// stuck never gives anything.
type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

// Buffers stay as they are while the Reader goes on, and come back.
func TestNextOwnsItsBuffers(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 14))
	data := text(rng, 5<<20)
	r := NewReader(bytes.NewReader(member{level: 6, data: data}.gzip(t, rng)), Options{})
	bufs := make(chan *outbuf.Buffer, 3)
	go func() {
		defer close(bufs)
		for {
			b, err := r.Next()
			if err != nil {
				return
			}
			bufs <- b
		}
	}()
	seen := map[*outbuf.Buffer]int{}
	pos, last := 0, outbuf.Size
	for b := range bufs {
		p := b.Bytes()
		if last < outbuf.Size || len(p) > outbuf.Size+outMargin || !bytes.HasPrefix(data[pos:], p) {
			t.Fatalf("wrong buffer of %d bytes at %d", len(p), pos)
		}
		pos, last = pos+len(p), len(p)
		seen[b]++
		b.Release()
	}
	if pos != len(data) || len(seen) > 6 {
		t.Errorf("%d bytes in %d buffers", pos, len(seen))
	}
	if _, err := r.Next(); err != io.EOF {
		t.Error(err)
	}
}

func TestDecodeSpanAllocatesNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(17, 18))
	s := stream{out: text(rng, 600_000)}
	s.gz = member{level: 6, data: s.out}.gzip(t, rng)
	_, spans, _, err := read(bytes.NewReader(s.gz), 200_000)
	if err != nil {
		t.Fatal(err)
	}
	dst := make([]byte, spans[1].OutLen)
	if n := testing.AllocsPerRun(20, func() {
		sp := spans[1]
		if err := DecodeSpan(dst, s.gz[sp.In:sp.In+sp.InLen], sp.Window, sp.Bits); err != nil {
			t.Fatal(err)
		}
	}); n > 0.5 {
		t.Errorf("%v allocations", n)
	}
}

func TestDecodeSpanArguments(t *testing.T) {
	if err := DecodeSpan(nil, nil, nil, 0); err != nil {
		t.Error("empty span: ", err)
	}
	if err := DecodeSpan(make([]byte, 1), []byte{0}, nil, 8); !errkind.Is(err, errkind.Invalid) {
		t.Error("bit 8: ", err)
	}
	for bits := range uint8(8) {
		if err := DecodeSpan(make([]byte, 1), nil, nil, bits); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error("no input: ", err)
		}
	}
}

// Random structure, random settings, against the source of the data.
func TestRandomStreams(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		var s stream
		for range rapid.IntRange(1, 6).Draw(t, "members") {
			m := member{
				level: rapid.IntRange(-2, 9).Draw(t, "level"),
				std:   rapid.Bool().Draw(t, "std"),
				flush: rapid.SampledFrom([]int{0, 30, 3000, 70_000}).Draw(t, "flush"),
				data:  text(rng, rapid.SampledFrom([]int{0, 1, 300, 40_000, 300_000}).Draw(t, "size")),
			}
			s.out = append(s.out, m.data...)
			s.gz = append(s.gz, m.gzip(t, rng)...)
		}
		spanSize := rapid.SampledFrom([]int64{1, 100, 10_000, 65_536}).Draw(t, "span")
		out, spans, _, err := read(bytes.NewReader(s.gz), spanSize)
		if err != nil || !bytes.Equal(out, s.out) {
			t.Fatal("wrong output: ", err)
		}
		checkSpans(t, s, spans, spanSize)
	})
}
