package inflate

import (
	"hash/crc32"
	"io"

	"github.com/peelfs/peelfs/layers/internal/outbuf"
)

// inputSize is how much of the blob is read at a time, in bytes.
const inputSize = 128 << 10

// Reader decompresses a gzip blob of one or more members.
//
// The CRC32 and length of each member are checked. What follows the last
// member and does not start like another one is read and counted, see
// Trailing, so that at io.EOF the source has been read to its end.
//
// A Reader is for one goroutine at a time. It has no goroutines of its own and
// needs no Close; to cancel it, fail the source.
type Reader struct {
	outbuf.Reader
	d        decoder
	seek     *seeker        // nil without spans
	cur      *outbuf.Buffer // being filled: WindowSize of history, then output
	pool     *outbuf.Pool
	base     int64 // where cur's output is in the whole output
	summed   int   // d.out[:summed] is in the sums
	crc      uint32
	size     uint32
	members  int64
	trailing int64
	err      error
}

// NewReader returns a Reader of the blob in src, which may give short reads.
func NewReader(src io.Reader, opt Options) *Reader {
	r := &Reader{pool: outbuf.NewPool(WindowSize, WindowSize+outbuf.Size+outMargin)}
	r.Reader = outbuf.NewReader(r.next)
	r.d.reset(nil, make([]byte, 0, inputSize))
	r.d.src, r.d.stage = src, ended
	r.d.onInput = func() {}
	if opt.SpanSize > 0 {
		r.seek = newSeeker(opt)
		r.d.onInput = func() { r.seek.hashInput(&r.d) }
	}
	return r
}

// next returns the next output, or io.EOF when all members are read and
// checked. Output in front of an error is given first. The error has the kind
// Corrupt for bad data, wrapping io.ErrUnexpectedEOF if data ended too early;
// errors of the source and of OnSpan are returned as they are. All buffers but the
// last hold at least outbuf.Size bytes.
func (r *Reader) next() (*outbuf.Buffer, error) {
	if r.err == nil {
		r.fill()
	}
	if r.cur == nil || r.d.pos == WindowSize {
		return nil, r.err
	}
	return r.turn(), nil
}

// fill decodes until cur is full or err is set.
func (r *Reader) fill() {
	if r.cur == nil {
		r.cur = r.pool.Get()
		r.useBuffer(WindowSize)
		r.d.low, r.summed = WindowSize, WindowSize
	}
	for r.err == nil && r.d.pos < r.d.limit {
		r.err = r.step()
	}
}

func (r *Reader) useBuffer(pos int) {
	r.d.out, r.d.pos, r.d.limit = r.cur.Mem, pos, WindowSize+outbuf.Size
}

// turn takes the full buffer and goes on in another one, with the last of the
// output as history in front. After an error there is nothing to go on with.
func (r *Reader) turn() *outbuf.Buffer {
	r.sumOutput()
	b, shift := r.cur, r.d.pos-WindowSize
	b.N = r.d.pos
	r.base += int64(shift)
	r.cur, r.d.out = nil, nil
	if r.err != nil {
		return b
	}
	r.cur = r.pool.Get()
	copy(r.cur.Mem, b.Mem[shift:b.N])
	r.useBuffer(WindowSize)
	r.summed = WindowSize
	r.d.low = max(0, r.d.low-shift)
	r.d.edge = max(0, r.d.edge-shift)
	if r.seek != nil {
		r.seek.turned(&r.d, shift)
	}
	return b
}

func (r *Reader) outPos() int64 { return r.base + int64(r.d.pos-WindowSize) }

// sumOutput brings the sums of the member and of the span up to date.
func (r *Reader) sumOutput() {
	p := r.d.out[r.summed:r.d.pos]
	r.summed = r.d.pos
	r.crc = crc32.Update(r.crc, crc32.IEEETable, p)
	r.size += uint32(len(p))
	if r.seek != nil {
		r.seek.sum.Write(p)
	}
}

// step goes on to the end of a block or of the buffer, or to the next member.
func (r *Reader) step() error {
	if r.d.stage == ended {
		return r.nextMember()
	}
	if st, err := r.d.run(); err != nil || st != blockEnd {
		return err
	}
	if r.d.stage == ended {
		return r.endMember()
	}
	return r.seekPoint()
}

// seekPoint ends the current span and begins another one, if it is time to.
func (r *Reader) seekPoint() error {
	if r.seek == nil || r.seek.open && !r.seek.full(r.outPos()) {
		return nil
	}
	r.sumOutput()
	if err := r.seek.end(&r.d, r.outPos()); err != nil {
		return err
	}
	r.seek.begin(&r.d, r.outPos())
	return nil
}

func (r *Reader) endMember() error {
	r.sumOutput()
	crc, size, err := r.d.readTrailer()
	switch {
	case err != nil:
		return err
	case crc != r.crc:
		return corrupt("output fails the CRC32 of its gzip member")
	case size != r.size:
		return corrupt("output has not the length that its gzip member says")
	}
	return nil
}

// nextMember starts a member, or ends the reading.
func (r *Reader) nextMember() error {
	if r.members > 0 {
		if is, err := r.d.atMember(); err != nil {
			return err
		} else if !is {
			return r.end()
		}
	}
	if err := r.d.readHeader(); err != nil {
		return err
	}
	r.members++
	r.crc, r.size = 0, 0
	return r.seekPoint()
}

// end is reached behind the last member.
func (r *Reader) end() error {
	if r.seek != nil {
		r.sumOutput()
		if err := r.seek.end(&r.d, r.outPos()); err != nil {
			return err
		}
	}
	n, err := r.d.drain()
	r.trailing = n
	if err != nil {
		return err
	}
	return io.EOF
}

// Trailing is the number of bytes behind the last member, once io.EOF was
// returned: padding that gzip ignores, too.
func (r *Reader) Trailing() int64 { return r.trailing }

// Members is the number of members begun so far.
func (r *Reader) Members() int64 { return r.members }
