package zframes

import (
	"bufio"
	"encoding/binary"
	"io"
)

// RFC 8878, section 3.1.
const (
	frameMagic     = 0xfd2fb528
	skippableMagic = 0x184d2a50 // and the 15 numbers after it
	skippableMask  = 0xfffffff0
	skippableLen   = 8 // of a skippable frame's header

	flagSingleSegment = 1 << 5
	flagChecksum      = 1 << 2

	blockRLE      = 1
	blockReserved = 3
)

// frames is the input as frames: next finds one, Read then gives its bytes and
// io.EOF at its end. It looks at the headers of frames and blocks only.
type frames struct {
	src  *bufio.Reader
	pos  int64        // in the blob
	tap  func([]byte) // sees all bytes of data frames
	left int64        // of the current header or block
	next piece
	sum  bool // the frame ends with a checksum
}

// piece is what comes after the current header or block of a frame.
//
//	block -> block | checksum | done
type piece uint8

const (
	done piece = iota
	block
	checksum
)

// frame says what next found.
type frame struct {
	skippable bool
	size      int64 // of a skippable frame, header included
}

// source remembers why it ended, if not by io.EOF.
type source struct {
	io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// peek returns the next n bytes; io.EOF only if there are none.
func (f *frames) peek(n int) ([]byte, error) {
	b, err := f.src.Peek(n)
	if err == io.EOF && len(b) > 0 {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

// inner is peek within a frame, where the input must not end.
func (f *frames) inner(n int) ([]byte, error) {
	b, err := f.peek(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

// start finds the next frame, io.EOF if there is none. A data frame is then
// there for Read, a skippable one for skip.
func (f *frames) start() (frame, error) {
	b, err := f.peek(5)
	if err != nil {
		return frame{}, err
	}
	magic := binary.LittleEndian.Uint32(b)
	switch {
	case magic&skippableMask == skippableMagic:
		if b, err = f.inner(skippableLen); err != nil {
			return frame{}, err
		}
		return frame{true, skippableLen + int64(binary.LittleEndian.Uint32(b[4:]))}, nil
	case magic != frameMagic:
		return frame{}, corrupt("not a frame")
	}
	f.left = headerLen(b[4])
	f.sum = b[4]&flagChecksum != 0
	f.next = block
	return frame{}, nil
}

// headerLen is the length of a frame's header by its descriptor, magic
// included.
func headerLen(descriptor byte) int64 {
	n := int64(5) + [4]int64{0, 1, 2, 4}[descriptor&3]
	single := descriptor&flagSingleSegment != 0
	if !single {
		n++ // window
	}
	switch size := descriptor >> 6; {
	case size > 0:
		n += 1 << size
	case single:
		n++
	}
	return n
}

// skip passes over a skippable frame; keep says whether tap sees it.
func (f *frames) skip(fr frame, keep bool) error {
	for left := fr.size; left > 0; {
		b, err := f.inner(int(min(left, 4096)))
		if err != nil {
			return err
		}
		if keep {
			f.tap(b)
		}
		left -= int64(len(b))
		f.advance(len(b))
	}
	return nil
}

func (f *frames) advance(n int) {
	f.pos += int64(n)
	_, _ = f.src.Discard(n) // was peeked at
}

// Read gives bytes of the frame that start found.
func (f *frames) Read(p []byte) (int, error) {
	if f.left == 0 {
		if err := f.piece(); err != nil {
			return 0, err
		}
	}
	n, err := f.src.Read(p[:min(int64(len(p)), f.left)])
	f.tap(p[:n])
	f.pos += int64(n)
	f.left -= int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// piece goes on to the next block or the checksum.
func (f *frames) piece() error {
	switch f.next {
	case done:
		return io.EOF
	case checksum:
		f.left, f.next = 4, done
		return nil
	}
	b, err := f.inner(3)
	if err != nil {
		return err
	}
	h := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
	f.left = 3 + int64(h>>3)
	switch h >> 1 & 3 {
	case blockRLE:
		f.left = 4
	case blockReserved:
		return corrupt("reserved block type")
	}
	if h&1 != 0 {
		f.next = done
		if f.sum {
			f.next = checksum
		}
	}
	return nil
}

// ended says whether all of the frame was read.
func (f *frames) ended() bool { return f.left == 0 && f.next == done }
