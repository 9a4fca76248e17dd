package layers

import (
	"bytes"
	"crypto/sha256"
	"hash"

	"github.com/zeebo/xxh3"

	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/spanfile"
)

// layoutOf is how the spans of an index lie in its data file.
func layoutOf(x *index.Index) spanfile.Layout {
	return spanfile.Layout{Space: dataName(x), Size: x.Header().SpaceSize, Spans: x.Spans(), Sums: !summed(x),
		Bounds: func(i int) (int64, int64) { s := x.Span(i); return s.Out, s.OutLen }}
}

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

// holds reports whether out, which was just decoded, is what the index says of
// span s; where that says nothing of the output, what it says of the input has
// been checked.
func holds(s index.Span, out []byte) bool {
	if s.DigestOf == index.DigestOutput {
		return sha256.Sum256(out) == s.Digest
	}
	return s.Sum == 0 || xxh3.Hash(out) == s.Sum
}

// verdict is what comes of comparing a span on disk with its checksum.
type verdict int

const (
	unknown verdict = iota // there is no checksum of it
	right
	wrong
)

// check reads span i, of any length, from the disk and compares it with the
// checksum that the index has, or else with the one that was kept when it was
// decoded. It also returns the XXH3 of the bytes. The caller holds the span's lock.
func (a *acquired) check(i int) (verdict, uint64) {
	s := a.idx.Span(i)
	sum, strong, zeros := xxh3.New(), hash.Hash(nil), true
	if s.DigestOf == index.DigestOutput {
		strong = sha256.New()
	}
	buf := make([]byte, min(s.OutLen, 1<<20))
	for off := s.Out; off < s.Out+s.OutLen; off += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), s.Out+s.OutLen-off)]
		if err := a.data.ReadRaw(buf, off); err != nil {
			return wrong, 0
		}
		_, _ = sum.Write(buf) // never fails
		if strong != nil {
			strong.Write(buf)
		}
		zeros = zeros && len(bytes.TrimLeft(buf, "\x00")) == 0
	}
	return a.judgeSpan(i, s, sum.Sum64(), strong, zeros), sum.Sum64()
}

func (a *acquired) judgeSpan(i int, s index.Span, sum uint64, strong hash.Hash, zeros bool) verdict {
	is := func(ok bool) verdict {
		if ok {
			return right
		}
		return wrong
	}
	switch {
	case strong != nil:
		return is([sha256.Size]byte(strong.Sum(nil)) == s.Digest)
	case s.Sum != 0:
		return is(sum == s.Sum)
	case s.Flags&index.SpanZeros != 0:
		return is(zeros)
	}
	if same, known := a.data.Agrees(i, sum); known {
		return is(same)
	}
	return unknown
}
