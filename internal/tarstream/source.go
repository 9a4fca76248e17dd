package tarstream

import (
	"errors"
	"io"
)

// source is the tar as archive/tar sees it: it counts, skips, and keeps the
// bytes read last, which hold the maps of sparse files.
type source struct {
	r    io.Reader
	skip func(n int64) error
	pos  int64  // bytes read or skipped
	tail []byte // what was read since record, without a gap, up to pos
	err  error  // what r failed with, other than io.EOF
}

// maxTail is more than archive/tar reads of one sparse file: its header and at
// most 1 MiB of map.
const maxTail = 2 << 20

func newSource(r io.Reader) *source {
	s := &source{r: r}
	s.skip = s.discard
	if seeker, ok := r.(io.Seeker); ok {
		s.skip = func(n int64) error {
			_, err := seeker.Seek(n, io.SeekCurrent)
			return err
		}
	}
	return s
}

// record forgets what was read so far.
func (s *source) record() { s.tail = s.tail[:0] }

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.pos += int64(n)
	if len(s.tail)+n > 2*maxTail {
		s.tail = append(s.tail[:0], s.tail[len(s.tail)-maxTail:]...)
	}
	if n <= maxTail {
		s.tail = append(s.tail, p[:n]...)
	}
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// Seek skips forward, which is all that archive/tar does with it.
func (s *source) Seek(n int64, whence int) (int64, error) {
	if whence != io.SeekCurrent || n < 0 {
		return 0, errors.New("a stream can only be skipped forward")
	}
	if n == 0 {
		return s.pos, nil
	}
	s.record()
	if err := s.skip(n); err == io.EOF {
		return s.pos, io.ErrUnexpectedEOF // to archive/tar io.EOF is the end of a good tar
	} else if err != nil {
		s.err = err
		return s.pos, err
	}
	s.pos += n
	return s.pos, nil
}

func (s *source) discard(n int64) error {
	_, err := io.CopyN(io.Discard, s.r, n)
	return err
}
