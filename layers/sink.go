package layers

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"os"

	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/layers/index"
)

// sink writes a layer's tar to a file as it comes, and leaves holes for zeros.
// The first error stays and ends the writing; the reading goes on, because the
// index is worth having without the data.
type sink struct {
	file *os.File
	room *janitor
	must bool // keep the bytes even beyond the cache's bound
	err  error
}

// zeroBlock is what becomes a hole: as much as a tar's padding never is.
var zeroBlock [64 << 10]byte

func (s *sink) write(p []byte, off int64) {
	for len(p) > 0 && s.err == nil {
		n := min(int(int64(len(zeroBlock))-off%int64(len(zeroBlock))), len(p))
		if !bytes.Equal(p[:n], zeroBlock[:n]) {
			n = s.run(p, n)
			s.put(p[:n], off)
		}
		if s.err != nil {
			_ = s.file.Truncate(0) // gives back what was taken from a full disk
		}
		p, off = p[n:], off+int64(n)
	}
}

func (s *sink) put(p []byte, off int64) {
	if !s.must && s.room.outgrows(off+int64(len(p))) {
		s.err = unix.EFBIG
		return
	}
	s.err = s.room.makeRoom(func() error { _, err := s.file.WriteAt(p, off); return err })
	s.room.used(int64(len(p)))
}

// run extends the first n bytes of p, which are to be written, up to the next
// block of zeros.
func (s *sink) run(p []byte, n int) int {
	for n < len(p) {
		k := min(len(zeroBlock), len(p)-n)
		if bytes.Equal(p[n:n+k], zeroBlock[:k]) {
			break
		}
		n += k
	}
	return n
}

// slicer makes the spans of an uncompressed blob: pieces of spanSize bytes, each
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
		k := min(spanSize-s.n, int64(len(p)))
		s.hash.Write(p[:k])
		s.n += k
		p = p[k:]
		if s.n == spanSize {
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
