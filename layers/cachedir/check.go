package cachedir

import (
	"bytes"
	"crypto/sha256"
	"hash"

	"github.com/zeebo/xxh3"

	"github.com/peelfs/peelfs/layers/index"
)

// summed reports whether an index has a checksum of the output of each span. A
// SOCI index has none.
func summed(x *index.Index) bool {
	for i := range x.Spans() {
		if s := x.Span(i); s.Sum == 0 && s.DigestOf != index.DigestOutput && s.Flags&index.SpanZeros == 0 {
			return false
		}
	}
	return true
}

// Verdict is what comes of comparing a span on disk with its checksum.
type Verdict int

// The verdicts.
const (
	Unknown Verdict = iota // there is no checksum of it
	Right
	Wrong
)

// Check reads span i, of any length, from the disk and compares it with the
// checksum that the index has, or else with the one that was kept when it was
// decoded. It also returns the XXH3 of the bytes. The caller holds the span's lock.
func (f *Files) Check(i int) (Verdict, uint64) {
	s := f.Index.Span(i)
	sum, strong, zeros := xxh3.New(), hash.Hash(nil), true
	if s.DigestOf == index.DigestOutput {
		strong = sha256.New()
	}
	buf := make([]byte, min(s.OutLen, 1<<20))
	for off := s.Out; off < s.Out+s.OutLen; off += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), s.Out+s.OutLen-off)]
		if err := f.Data.ReadRaw(buf, off); err != nil {
			return Wrong, 0
		}
		_, _ = sum.Write(buf) // never fails
		if strong != nil {
			strong.Write(buf)
		}
		zeros = zeros && len(bytes.TrimLeft(buf, "\x00")) == 0
	}
	return f.judge(i, s, sum.Sum64(), strong, zeros), sum.Sum64()
}

func (f *Files) judge(i int, s index.Span, sum uint64, strong hash.Hash, zeros bool) Verdict {
	is := func(ok bool) Verdict {
		if ok {
			return Right
		}
		return Wrong
	}
	switch {
	case strong != nil:
		return is([sha256.Size]byte(strong.Sum(nil)) == s.Digest)
	case s.Sum != 0:
		return is(sum == s.Sum)
	case s.Flags&index.SpanZeros != 0:
		return is(zeros)
	}
	if same, known := f.Data.Agrees(i, sum); known {
		return is(same)
	}
	return Unknown
}
