package stream

import (
	"crypto/sha256"
	"hash"

	"github.com/peelfs/peelfs/layers/index"
)

// slicer makes the spans of an uncompressed blob: pieces of SpanSize bytes, each
// with its sha256.
type slicer struct {
	spans []index.Span
	hash  hash.Hash
	n     int64 // bytes of the piece at hand
	off   int64
}

func newSlicer() *slicer { return &slicer{hash: sha256.New()} }

func (s *slicer) write(p []byte) {
	for len(p) > 0 {
		k := min(SpanSize-s.n, int64(len(p)))
		s.hash.Write(p[:k])
		s.n += k
		p = p[k:]
		if s.n == SpanSize {
			s.cut()
		}
	}
}

func (s *slicer) cut() {
	sp := index.Span{Out: s.off, OutLen: s.n, In: s.off, InLen: s.n, DigestOf: index.DigestOutput}
	s.hash.Sum(sp.Digest[:0])
	s.spans = append(s.spans, sp)
	s.off += s.n
	s.n = 0
	s.hash.Reset()
}

func (s *slicer) finish() []index.Span {
	if s.n > 0 {
		s.cut()
	}
	return s.spans
}
