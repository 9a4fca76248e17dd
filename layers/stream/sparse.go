package stream

import (
	"bytes"
	"os"

	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/layers/index"
)

// Sparse is a Sink that writes the tar to a file and leaves holes for zeros. Its
// first failure ends the writing but not the pass, because the index is worth having
// without the data; Finish returns it.
type Sparse struct {
	file *os.File
	room Room
	must bool // keep the bytes even beyond the bound
	err  error
}

// Room is the bound of what a Sparse may write.
type Room interface {
	Outgrows(size int64) bool // a file of so many bytes is too large to be kept
	Used(n int64)             // so many bytes were written

	// MakeRoom runs write; where the disk is full, it frees some of it and tries again.
	MakeRoom(write func() error) error
}

// NewSparse returns a Sparse that writes to file, which is empty. Blobs that can be
// entered in the middle stay within room; of the others the data is all there is.
func NewSparse(file *os.File, room Room) *Sparse { return &Sparse{file: file, room: room} }

// Begin implements Sink.
func (s *Sparse) Begin(c index.Compression) { s.must = !Seekable(c) }

// zeroBlock is what becomes a hole: as much as a tar's padding never is.
var zeroBlock [64 << 10]byte

// Write implements Sink. It does not fail.
func (s *Sparse) Write(p []byte, off int64) error {
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
	return nil
}

func (s *Sparse) put(p []byte, off int64) {
	if !s.must && s.room.Outgrows(off+int64(len(p))) {
		s.err = unix.EFBIG
		return
	}
	s.err = s.room.MakeRoom(func() error { _, err := s.file.WriteAt(p, off); return err })
	s.room.Used(int64(len(p)))
}

// run extends the first n bytes of p, which are to be written, up to the next
// block of zeros.
func (s *Sparse) run(p []byte, n int) int {
	for n < len(p) {
		k := min(len(zeroBlock), len(p)-n)
		if bytes.Equal(p[n:n+k], zeroBlock[:k]) {
			break
		}
		n += k
	}
	return n
}

// Finish gives the file the tar's length, holes at its end included. It returns why
// the file is not complete: the error of a write, or EFBIG if room is too small.
func (s *Sparse) Finish(size int64) error {
	if s.err == nil {
		s.err = s.file.Truncate(size)
	}
	return s.err
}
