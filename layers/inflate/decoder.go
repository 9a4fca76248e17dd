package inflate

import (
	"io"

	"github.com/peelfs/peelfs/internal/errkind"
)

// decoder is the state of one deflate stream between two buffers.
//
// Of in, [:inPos] has been taken into bits, whose lowest nbits bits are valid;
// the others are zero. Of out, [:pos] is output; a match may reach back to
// out[low], and to window in front of it.
type decoder struct {
	in     []byte
	inPos  int
	inBase int64 // where in[0] is in the input
	bits   uint64
	nbits  uint

	out   []byte
	pos   int
	limit int // out is full at limit, or up to outMargin-1 bytes later

	low    int // where the member starts in out
	edge   int // matches that start below are left to farMatch; >= low
	window []byte
	marks  *marks

	stage    stage
	final    bool // in the last block of the member
	fixed    bool // lit and dist are those of fixed blocks
	stored   int  // bytes of a stored block to come
	matchLen int  // a match that was decoded but not copied, see fast
	matchOff int

	lit   [litSize]uint32
	dist  [distSize]uint32
	codes codeSet
	lens  [numLits + numDists]uint8

	src     io.Reader // more of in; nil if there is no more
	srcErr  error     // why src ended
	onInput func()    // called before in[:inPos] is given up
}

// stage is where in the stream a decoder is.
//
//	header -> stored | coded -> header        (block not final)
//	                         -> ended         (block final)
//	ended -> header                           (startMember)
type stage uint8

const (
	header stage = iota
	stored
	coded
	ended
)

// status is why a step of the decoder returned.
type status uint8

const (
	more     status = iota // margins of fast reached, or nothing special
	blockEnd               // a block ended; it was final if stage is ended
	outFull                // no room in out
	far                    // fast met a match for farMatch
	invalid                // not deflate
	short                  // the input ended
)

func corrupt(what string) error { return errkind.New(errkind.Corrupt, "inflate: %s", what) }

func truncated() error {
	return errkind.New(errkind.Corrupt, "inflate: input is cut short: %w", io.ErrUnexpectedEOF)
}

// keepBack is how many bytes before inPos outlive a refill: those that are in
// the bit buffer may be given back.
const keepBack = 8

// readMore appends to in what one Read of src gives, and reports whether
// there was anything.
func (d *decoder) readMore() bool {
	if d.src == nil || d.srcErr != nil {
		return false
	}
	if cap(d.in)-len(d.in) < cap(d.in)/2 {
		d.onInput()
		if from := d.inPos - keepBack; from > 0 {
			d.in = d.in[:copy(d.in[:cap(d.in)], d.in[from:])]
			d.inPos = keepBack
			d.inBase += int64(from)
		}
	}
	for range 100 {
		n, err := d.src.Read(d.in[len(d.in):cap(d.in)])
		d.in = d.in[:len(d.in)+n]
		d.srcErr = err
		if n > 0 || err != nil {
			return n > 0
		}
	}
	d.srcErr = io.ErrNoProgress
	return false
}

// refill takes input until there are 56 bits or no more input.
func (d *decoder) refill() {
	for d.nbits < 56 {
		if d.inPos == len(d.in) && !d.readMore() {
			return
		}
		d.bits |= uint64(d.in[d.inPos]) << d.nbits
		d.inPos++
		d.nbits += 8
	}
}

// need makes n bits available, n <= 56.
func (d *decoder) need(n uint) bool {
	if d.nbits < n {
		d.refill()
	}
	return d.nbits >= n
}

// take returns the next n bits, which are there.
func (d *decoder) take(n uint) uint {
	v := d.bits & (1<<n - 1)
	d.bits >>= n
	d.nbits -= n
	return uint(v)
}

// giveBack returns whole bytes from the bit buffer to the input, so that inPos
// is the end of the byte that the stream is in.
func (d *decoder) giveBack() {
	d.inPos -= int(d.nbits >> 3)
	d.nbits &= 7
	d.bits &= 1<<d.nbits - 1
}

// align drops the rest of the current byte.
func (d *decoder) align() {
	d.giveBack()
	d.bits, d.nbits = 0, 0
}
