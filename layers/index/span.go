package index

import (
	"bytes"
	"io"
	"sort"

	"github.com/klauspost/compress/flate"
)

// Spans is the number of spans.
func (x *Index) Spans() int { return len(x.sec[secSpans]) / spanSize }

// Span returns span i, the zero Span unless 0 <= i < Spans().
func (x *Index) Span(i int) Span {
	if i < 0 || i >= x.Spans() {
		return Span{}
	}
	return getSpan(x.sec[secSpans][i*spanSize:])
}

// SpansOf returns the spans first <= i < last that overlap the n bytes at off
// of the address space. Gaps between spans, if any, count for nothing.
func (x *Index) SpansOf(off, n int64) (first, last int) {
	first = sort.Search(x.Spans(), func(i int) bool { s := x.Span(i); return s.Out+s.OutLen > off })
	if n <= 0 {
		return first, first
	}
	rest := sort.Search(x.Spans()-first, func(i int) bool { return x.Span(first+i).Out-off >= n })
	return first, first + rest
}

// Window is the deflate history that decoding span i starts with, at most
// WindowSize bytes; nil if it needs none. The bytes are the caller's.
func (x *Index) Window(i int) ([]byte, error) {
	packed := x.windows.at(i)
	if len(packed) == 0 {
		return nil, nil
	}
	r := flate.NewReader(bytes.NewReader(packed))
	raw := bytes.NewBuffer(make([]byte, 0, WindowSize+bytes.MinRead+1))
	if _, err := raw.ReadFrom(io.LimitReader(r, WindowSize+1)); err != nil {
		return nil, corrupt("window %d: %w", i, err)
	}
	if raw.Len() > WindowSize {
		return nil, corrupt("window %d is longer than %d bytes", i, WindowSize)
	}
	return raw.Bytes(), nil
}

// WindowPacker packs windows one after the other. Its zero value is ready.
type WindowPacker struct {
	w   *flate.Writer
	out bytes.Buffer
}

// Pack returns the last WindowSize bytes of raw packed for Builder.Write; nil if
// raw is empty. It keeps nothing of raw.
func (p *WindowPacker) Pack(raw []byte) Window {
	if len(raw) == 0 {
		return nil
	}
	if p.w == nil {
		p.w, _ = flate.NewWriter(nil, flate.BestSpeed) // fails for levels out of range only
	}
	p.out.Reset()
	p.w.Reset(&p.out)
	_, _ = p.w.Write(raw[max(0, len(raw)-WindowSize):]) // a bytes.Buffer takes all
	_ = p.w.Close()
	return bytes.Clone(p.out.Bytes())
}

// SeekPoints is how much of the index its spans and windows take, in bytes: what
// it costs to enter the layer anywhere, beside knowing what is in it.
func (x *Index) SeekPoints() int64 {
	return int64(len(x.sec[secSpans]) + len(x.sec[secWindowEnds]) + len(x.sec[secWindows]))
}
