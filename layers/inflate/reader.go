package inflate

import (
	"hash/crc32"
	"io"

	"github.com/peelfs/peelfs/internal/errkind"
)

// BufferSize is about how much output a Buffer holds: it stays in a core's
// second level cache while one goroutine inflates and another one hashes.
const BufferSize = 256 << 10

const (
	inputSize = 128 << 10
	spare     = 8 // Buffers that a Reader keeps for reuse
)

// Buffer is a run of output. It belongs to who got it from Next until Release,
// also while the Reader goes on in another goroutine.
type Buffer struct {
	mem  []byte // WindowSize of history, then output
	n    int
	free chan *Buffer
}

// Bytes is the output: at most BufferSize and some hundred bytes, and all
// buffers but the last hold at least BufferSize.
func (b *Buffer) Bytes() []byte { return b.mem[WindowSize:b.n] }

// Release gives the buffer back to its Reader for reuse, from any goroutine,
// once. A buffer that is not released is garbage like any other.
func (b *Buffer) Release() {
	select {
	case b.free <- b:
	default:
	}
}

// Reader decompresses a gzip blob of one or more members.
//
// The CRC32 and length of each member are checked. What follows the last
// member and does not start like another one is read and counted, see
// Trailing, so that at io.EOF the source has been read to its end.
//
// A Reader is for one goroutine at a time. It has no goroutines of its own and
// needs no Close; to cancel it, fail the source.
type Reader struct {
	d        decoder
	seek     *seeker // nil without spans
	cur      *Buffer // being filled
	free     chan *Buffer
	base     int64 // where cur's output is in the whole output
	summed   int   // d.out[:summed] is in the sums
	crc      uint32
	size     uint32
	members  int64
	trailing int64
	err      error

	rest    *Buffer // what Read has yet to copy: restPos and on
	restPos int
}

// NewReader returns a Reader of the blob in src, which may give short reads.
func NewReader(src io.Reader, opt Options) *Reader {
	r := &Reader{free: make(chan *Buffer, spare)}
	r.d.reset(nil, make([]byte, 0, inputSize))
	r.d.src, r.d.stage = src, ended
	r.d.onInput = func() {}
	if opt.SpanSize > 0 {
		r.seek = newSeeker(opt)
		r.d.onInput = func() { r.seek.hashInput(&r.d) }
	}
	return r
}

// Next returns the next output, or io.EOF when all members are read and
// checked. Output in front of an error is given first. The error has the kind
// Corrupt for bad data, wrapping io.ErrUnexpectedEOF if data ended too early;
// errors of the source and of OnSpan are returned as they are.
func (r *Reader) Next() (*Buffer, error) {
	if r.rest != nil {
		return nil, errkind.New(errkind.Internal, "inflate: Next after a partial Read")
	}
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
		r.cur = r.newBuffer()
		r.useBuffer(WindowSize)
		r.d.low, r.summed = WindowSize, WindowSize
	}
	for r.err == nil && r.d.pos < r.d.limit {
		r.err = r.step()
	}
}

func (r *Reader) newBuffer() *Buffer {
	select {
	case b := <-r.free:
		return b
	default:
		return &Buffer{mem: make([]byte, WindowSize+BufferSize+outMargin), free: r.free}
	}
}

func (r *Reader) useBuffer(pos int) {
	r.d.out, r.d.pos, r.d.limit = r.cur.mem, pos, WindowSize+BufferSize
}

// turn takes the full buffer and goes on in another one, with the last of the
// output as history in front. After an error there is nothing to go on with.
func (r *Reader) turn() *Buffer {
	r.sumOutput()
	b, shift := r.cur, r.d.pos-WindowSize
	b.n = r.d.pos
	r.base += int64(shift)
	r.cur, r.d.out = nil, nil
	if r.err != nil {
		return b
	}
	r.cur = r.newBuffer()
	copy(r.cur.mem, b.mem[shift:b.n])
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

// Read implements io.Reader over Next.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.rest == nil {
		b, err := r.Next()
		if err != nil {
			return 0, err
		}
		r.rest, r.restPos = b, 0
	}
	n := copy(p, r.rest.Bytes()[r.restPos:])
	if r.restPos += n; r.restPos == len(r.rest.Bytes()) {
		r.rest.Release()
		r.rest = nil
	}
	return n, nil
}

// WriteTo implements io.WriterTo over Next.
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		b, err := r.nextOrRest()
		if err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
		n, err := w.Write(b.Bytes()[r.restPos:])
		r.restPos = 0
		b.Release()
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
}

func (r *Reader) nextOrRest() (*Buffer, error) {
	if b := r.rest; b != nil {
		r.rest = nil
		return b, nil
	}
	r.restPos = 0
	return r.Next()
}
