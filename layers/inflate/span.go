package inflate

import (
	"sync"

	"github.com/peelfs/peelfs/internal/errkind"
)

// decoders keeps decoders between calls: about 20 KiB each, and
// nothing of what they decoded.
var decoders = sync.Pool{New: func() any { return new(decoder) }}

// DecodeSpan fills dst with the output of a span, or with its first bytes if
// dst is shorter than the span.
//
// src starts with the byte that has the span's first bit, of which bits bits
// belong to what is before, and need not go on behind the span; if it does,
// that is not looked at. window is the output just in front of the span, as
// much as there is or as is needed. A span that starts in one gzip member may
// end in another; CRCs are not checked: compare Span.Digest with src before,
// or Span.Sum with dst after.
//
// src and window are not trusted: whatever they hold, the result is dst full
// or an error of kind Corrupt, with dst in any state. Concurrent use is fine.
func DecodeSpan(dst, src, window []byte, bits uint8) error {
	if bits > 7 {
		return errkind.New(errkind.Invalid, "inflate: a span starts at bit %d of a byte", bits)
	}
	if len(dst) == 0 {
		return nil
	}
	d := borrow(dst, src)
	defer d.release()
	d.window = window[max(0, len(window)-WindowSize):]
	if bits > 0 {
		if !d.need(8) {
			return truncated()
		}
		d.take(uint(bits))
	}
	return d.spanSteps()
}

// DecodeMembers is DecodeSpan for members from the first one's header on: it
// fills dst with the first bytes of their output.
func DecodeMembers(dst, src []byte) error {
	if len(dst) == 0 {
		return nil
	}
	d := borrow(dst, src)
	defer d.release()
	if err := d.readHeader(); err != nil {
		return err
	}
	return d.spanSteps()
}

func borrow(dst, src []byte) *decoder {
	d := decoders.Get().(*decoder)
	d.reset(dst, src)
	return d
}

func (d *decoder) release() {
	d.in, d.out, d.window = nil, nil, nil
	decoders.Put(d)
}

// spanSteps fills out.
func (d *decoder) spanSteps() error {
	for d.pos < len(d.out) {
		if err := d.spanStep(); err != nil {
			return err
		}
	}
	return nil
}

// spanStep goes on to the end of a block or of dst, and over the end of a member.
func (d *decoder) spanStep() error {
	if d.stage != ended {
		_, err := d.run()
		return err
	}
	if _, _, err := d.readTrailer(); err != nil {
		return err
	}
	return d.readHeader()
}

// reset makes d decode in from a block boundary into out. The tables stay.
func (d *decoder) reset(out, in []byte) {
	d.in, d.inPos, d.inBase, d.bits, d.nbits = in, 0, 0, 0, 0
	d.out, d.pos, d.limit = out, 0, len(out)
	d.low, d.edge, d.window, d.marks = 0, 0, nil, nil
	d.stage, d.final = header, false
	d.src, d.srcErr, d.onInput = nil, nil, nil
}
