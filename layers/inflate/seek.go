package inflate

import (
	"crypto/sha256"
	"hash"

	"github.com/zeebo/xxh3"
)

// marks records which bytes of a window are referred to.
type marks struct {
	start int // where the window ends in decoder.out
	any   bool
	used  [WindowSize]bool
}

// add marks what out[from:to] has of the window.
func (m *marks) add(from, to int) {
	base := m.start - WindowSize
	for i := from; i < min(to, m.start); i++ {
		m.used[i-base] = true
		m.any = true
	}
}

// seeker makes the spans of a Reader.
type seeker struct {
	opt    Options
	span   Span // the current one; its lengths, window and sums come at its end
	open   bool
	hashed int64 // input up to here is in sha
	sha    hash.Hash
	sum    xxh3.Hasher
	marks  marks
	window [WindowSize]byte
}

func newSeeker(opt Options) *seeker { return &seeker{opt: opt, sha: sha256.New()} }

// full says whether the span may end when out bytes of output are reached.
func (s *seeker) full(out int64) bool { return out-s.span.Out >= s.opt.SpanSize }

// hashInput hashes the input that d will not give back: up to the end of the
// byte that the stream is in.
func (s *seeker) hashInput(d *decoder) {
	to := d.inPos - int(d.nbits>>3)
	if from := int(s.hashed - d.inBase); s.open && from < to {
		s.sha.Write(d.in[from:to])
		s.hashed = d.inBase + int64(to)
	}
}

// begin starts a span at d's position, a block boundary or a member's start,
// out bytes into the output.
func (s *seeker) begin(d *decoder, out int64) {
	d.giveBack()
	s.hashed = d.inBase + int64(d.inPos)
	s.span = Span{Out: out, In: s.hashed}
	if d.nbits > 0 {
		s.hashed--
		s.span.In--
		s.span.Bits = uint8(8 - d.nbits)
	}
	s.open = true
	s.sha.Reset()
	s.sum.Reset()
	s.beginWindow(d)
}

func (s *seeker) beginWindow(d *decoder) {
	s.marks.any = false
	d.marks, d.edge = nil, d.low
	from := max(d.low, d.pos-WindowSize)
	if from == d.pos {
		return
	}
	n := copy(s.window[WindowSize-(d.pos-from):], d.out[from:d.pos])
	clear(s.window[:WindowSize-n])
	clear(s.marks.used[:])
	s.marks.start = d.pos
	d.marks, d.edge = &s.marks, d.pos
}

// end completes the current span at d's position and reports it, if it has
// any output.
func (s *seeker) end(d *decoder, out int64) error {
	if !s.open || s.span.Out == out {
		return nil
	}
	d.giveBack()
	s.hashInput(d)
	s.open = false
	s.span.OutLen = out - s.span.Out
	s.span.InLen = s.hashed - s.span.In
	s.span.Window = s.sparse()
	s.sha.Sum(s.span.Digest[:0])
	s.span.Sum = s.sum.Sum64()
	if s.opt.OnSpan == nil {
		return nil
	}
	return s.opt.OnSpan(s.span)
}

// sparse is the window with what nobody referred to zeroed.
func (s *seeker) sparse() []byte {
	if !s.marks.any {
		return nil
	}
	w := make([]byte, WindowSize)
	for i, used := range s.marks.used {
		if used {
			w[i] = s.window[i]
		}
	}
	return w
}

// turned follows d.out by shift bytes to the next buffer.
func (s *seeker) turned(d *decoder, shift int) {
	if d.marks == nil {
		return
	}
	s.marks.start -= shift
	d.edge = max(d.low, s.marks.start)
	if s.marks.start <= 0 {
		d.marks = nil // further back than a match can reach
	}
}
