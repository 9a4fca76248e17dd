// Package outbuf hands out the output of a decoder in buffers that are used again,
// and as an io.Reader over them.
package outbuf

import (
	"io"

	"github.com/peelfs/peelfs/internal/errkind"
)

// Size is about how much output a Buffer holds, in bytes: it stays in a core's
// second level cache while one goroutine decodes and another one hashes.
const Size = 256 << 10

// spare is how many Buffers a Pool keeps for reuse.
const spare = 8

// Buffer is a run of output. It belongs to the caller that got it from Next until
// Release, also while the decoder goes on in another goroutine.
type Buffer struct {
	Mem  []byte // for the decoder: what it needs in front of the output, and the output
	N    int    // for the decoder: where in Mem the output ends
	pool *Pool
}

// Bytes is the output.
func (b *Buffer) Bytes() []byte { return b.Mem[b.pool.front:b.N] }

// Release gives the buffer back for reuse, from any goroutine, once. A buffer that
// is not released is garbage like any other.
func (b *Buffer) Release() {
	select {
	case b.pool.free <- b:
	default:
	}
}

// Pool makes Buffers.
type Pool struct {
	front, size int
	free        chan *Buffer
}

// NewPool returns a Pool of Buffers of size bytes, of which the first front ones are
// no output.
func NewPool(front, size int) *Pool {
	return &Pool{front: front, size: size, free: make(chan *Buffer, spare)}
}

// Get returns a Buffer without output. Its memory has bytes left from before.
func (p *Pool) Get() *Buffer {
	select {
	case b := <-p.free:
		b.N = p.front
		return b
	default:
		return &Buffer{Mem: make([]byte, p.size), N: p.front, pool: p}
	}
}

// Reader gives the output of a decoder, in Buffers or as a stream. It is for one
// goroutine at a time.
type Reader struct {
	decode func() (*Buffer, error)
	rest   *Buffer // what Read has yet to copy: at and on
	at     int
}

// NewReader returns a Reader of what decode returns: a Buffer that is not empty, or
// the error that ends the output, which is io.EOF at its end.
func NewReader(decode func() (*Buffer, error)) Reader { return Reader{decode: decode} }

// Next returns the next output. The caller releases it. It must not be called while
// Read has given only a part of a buffer.
func (r *Reader) Next() (*Buffer, error) {
	if r.rest != nil {
		return nil, errkind.New(errkind.Internal, "Next after a partial Read")
	}
	return r.decode()
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.rest == nil {
		b, err := r.decode()
		if err != nil {
			return 0, err
		}
		r.rest, r.at = b, 0
	}
	n := copy(p, r.rest.Bytes()[r.at:])
	if r.at += n; r.at == len(r.rest.Bytes()) {
		r.rest.Release()
		r.rest = nil
	}
	return n, nil
}

// WriteTo implements io.WriterTo.
func (r *Reader) WriteTo(w io.Writer) (total int64, err error) {
	for {
		b, from := r.rest, r.at
		r.rest = nil
		if b == nil {
			if b, err = r.decode(); err == io.EOF {
				return total, nil
			} else if err != nil {
				return total, err
			}
			from = 0
		}
		n, err := w.Write(b.Bytes()[from:])
		b.Release()
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
}
