package inflate

import (
	"bytes"
	"compress/flate"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/gzip"
)

// klauspostRead reads gz with klauspost/compress.
func klauspostRead(gz []byte) ([]byte, bool) {
	r, err := gzip.NewReader(bytes.NewReader(gz))
	if err != nil {
		return nil, false
	}
	out, err := io.ReadAll(r)
	return out, err == nil
}

// beyondOthers says where this package differs from compress/gzip on purpose:
// reserved flags are refused, names may be longer than 511 bytes.
func beyondOthers(gz []byte) bool {
	for i := range gz {
		if p := gz[i:]; len(p) > 3 && p[0] == 0x1f && p[1] == 0x8b && (p[3]&flagReserved != 0 || p[3]&(flagName|flagComment) != 0) {
			return true
		}
	}
	return false
}

// FuzzReader compares with the standard library and klauspost/compress what is
// accepted and what comes out, and proves all spans.
func FuzzReader(f *testing.F) {
	for _, s := range streams(f, 3000) {
		f.Add(s.gz, uint16(500))
	}
	one, _ := oneBlock(4)
	f.Add(append(one, 0, 0, 0), uint16(1))
	f.Fuzz(func(t *testing.T, gz []byte, spanSize uint16) {
		out, spans, r, err := read(&oddReader{p: gz}, int64(spanSize))
		whole, _, _, wholeErr := read(bytes.NewReader(gz), 0)
		if !bytes.Equal(out, whole) || (err == nil) != (wholeErr == nil) {
			t.Fatalf("short reads: %d bytes and %v, else %d bytes and %v", len(out), err, len(whole), wholeErr)
		}
		if err == nil && spanSize > 0 {
			checkSpans(t, stream{"input", gz, out}, spans, int64(spanSize))
		}
		start := make([]byte, len(out)/2)
		if startErr := DecodeMembers(start, gz); err == nil && (startErr != nil || !bytes.HasPrefix(out, start)) {
			t.Fatalf("the first half: %v", startErr)
		}
		if err == nil {
			gz = gz[:int64(len(gz))-r.Trailing()]
		}
		_, want, ok := stdRead(gz)
		if ok != (err == nil) && !beyondOthers(gz) {
			t.Fatalf("err %v, standard library accepts: %v", err, ok)
		}
		if ok && err == nil && !bytes.Equal(out, want) {
			t.Fatal("output differs from the standard library's")
		}
		if want, ok := klauspostRead(gz); ok && err == nil && !bytes.Equal(out, want) {
			t.Fatal("output differs from klauspost's")
		}
	})
}

// compareDeflate wants of raw, a deflate stream and perhaps more bytes, what
// compress/flate says: the same output, or an error.
func compareDeflate(t failer, raw []byte, spanSize int64) {
	t.Helper()
	src := bytes.NewReader(raw)
	want, wantErr := io.ReadAll(flate.NewReader(src))
	used := raw[:len(raw)-src.Len()]
	gz := append([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}, used...)
	gz = append(gz, trailer(want)...)
	out, spans, _, err := read(&oddReader{p: gz}, spanSize)
	whole, _, _, wholeErr := read(bytes.NewReader(gz), 0)
	if !bytes.Equal(out, whole) || (err == nil) != (wholeErr == nil) {
		t.Fatalf("%x: short reads: %d bytes and %v, else %d bytes and %v", raw, len(out), err, len(whole), wholeErr)
	}
	switch {
	case (err == nil) != (wantErr == nil):
		t.Fatalf("%x: err %v, compress/flate has %v", raw, err, wantErr)
	case err == nil && !bytes.Equal(out, want):
		t.Fatalf("%x: output differs", raw)
	case err == nil && spanSize > 0:
		checkSpans(t, stream{"deflate", gz, out}, spans, spanSize)
	}
}

// FuzzDeflate is FuzzReader with checksums that always fit.
func FuzzDeflate(f *testing.F) {
	for _, s := range streams(f, 1500) {
		if len(s.gz) > 18 {
			f.Add(s.gz[10:len(s.gz)-8], uint16(200))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, spanSize uint16) { compareDeflate(t, raw, int64(spanSize)) })
}

// Broken streams of real shape, which a fuzzer does not find in a short time.
func TestMutatedDeflate(t *testing.T) {
	rng := rand.New(rand.NewPCG(19, 20))
	for _, s := range streams(t, 4000) {
		if len(s.gz) < 30 {
			continue
		}
		for range 60 {
			raw := bytes.Clone(s.gz[10 : len(s.gz)-8])
			for range 1 + rng.IntN(3) {
				// Mostly near the start, where the first tables are.
				i := rng.IntN(len(raw))
				if rng.IntN(2) == 0 {
					i %= 80
				}
				raw[i] ^= 1 << rng.IntN(8)
			}
			if rng.IntN(8) == 0 {
				raw = raw[:rng.IntN(len(raw))]
			}
			compareDeflate(t, raw, int64(rng.IntN(3)*500))
		}
	}
}

// FuzzDecodeSpan wants no panic, no read or write outside, and one result.
func FuzzDecodeSpan(f *testing.F) {
	for _, s := range streams(f, 3000) {
		_, spans, _, err := read(bytes.NewReader(s.gz), 700)
		if err != nil {
			f.Fatal(err)
		}
		for _, sp := range spans {
			f.Add(s.gz[sp.In:sp.In+sp.InLen], sp.Window, sp.Bits, uint16(sp.OutLen))
		}
	}
	f.Fuzz(func(t *testing.T, src, window []byte, bits uint8, n uint16) {
		const guard = 64
		mem := bytes.Repeat([]byte{0xa5}, int(n)+2*guard)
		err := DecodeSpan(mem[guard:guard+int(n):guard+int(n)], src, window, bits)
		if want := bytes.Repeat([]byte{0xa5}, guard); !bytes.Equal(mem[:guard], want) || !bytes.Equal(mem[guard+int(n):], want) {
			t.Fatal("wrote outside")
		}
		if err != nil {
			return
		}
		again := make([]byte, n)
		if err := DecodeSpan(again, append(bytes.Clone(src), 0xff, 0xff), window, bits); err != nil || !bytes.Equal(again, mem[guard:guard+int(n)]) {
			t.Fatal("bytes behind the span changed the result: ", err)
		}
	})
}
