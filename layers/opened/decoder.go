package opened

import (
	"bytes"
	"io"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/inflate"
	"github.com/peelfs/peelfs/layers/stream"
	"github.com/peelfs/peelfs/layers/zframes"
)

// decoder turns the compressed range of a span into its output. It remembers the
// last range, because chunks of small files share one. The zero decoder is ready;
// it is for one goroutine.
type decoder struct {
	in  int64
	out []byte // output of the range at in, from its start; nil if none
}

// decode fills out with the output of span i, whose compressed range is src.
func (d *decoder) decode(out, src []byte, i int, s index.Span, x *index.Index) error {
	h := x.Header()
	switch {
	case h.Compression == index.Uncompressed:
		if len(src) != len(out) {
			return errkind.New(errkind.Corrupt, "span %d has %d bytes for %d", i, len(src), len(out))
		}
		copy(out, src)
		return nil
	case h.Compression == index.Gzip && h.Space == index.Tar && s.In > 0: // behind a header: a seek point
		window, err := x.Window(i)
		if err != nil {
			return err
		}
		return stream.Corrupt(index.Gzip, inflate.DecodeSpan(out, src, window, s.Bits))
	case h.Compression == index.Zstd && h.Space == index.Tar:
		return zframes.DecodeSpan(out, src)
	}
	return d.forward(out, src, i, s, x)
}

// forward decodes the range from its start and takes what lies at s.Skip.
func (d *decoder) forward(out, src []byte, i int, s index.Span, x *index.Index) error {
	need, all := s.Skip+int64(len(out)), wanted(x, i)
	switch {
	case need > maxMemory:
		return errkind.New(errkind.Unsupported, "a chunk lies %d bytes deep in its compressed range", s.Skip)
	case d.in == s.In && int64(len(d.out)) >= need:
		copy(out, d.out[s.Skip:])
		return nil
	case all == int64(len(out)):
		return start(x.Header().Compression, out, src)
	}
	d.in, d.out = s.In, make([]byte, all)
	err := start(x.Header().Compression, d.out, src)
	if err != nil && all > need { // another span asks for more than there is
		d.out = d.out[:need]
		err = start(x.Header().Compression, d.out, src)
	}
	if err != nil {
		d.out = nil
		return err
	}
	copy(out, d.out[s.Skip:])
	return nil
}

// wanted is how much output of its range span i and those that share it need, as
// far as it can be held.
func wanted(x *index.Index, i int) (n int64) {
	in := x.Span(i).In
	for ; i < x.Spans(); i++ {
		s := x.Span(i)
		if s.In != in || s.Flags&index.SpanZeros != 0 || s.Skip+s.OutLen > maxMemory {
			break
		}
		n = max(n, s.Skip+s.OutLen)
	}
	return n
}

// start fills out with the first output of a blob, or of a part of one that
// decodes on its own.
func start(c index.Compression, out, src []byte) error {
	switch c {
	case index.Gzip:
		return inflate.DecodeMembers(out, src)
	case index.Zstd:
		return zframes.DecodeStart(out, src)
	}
	r, err := stream.NewDecoder(c, bytes.NewReader(src))
	if err == nil {
		_, err = io.ReadFull(r, out)
	}
	return stream.Corrupt(c, err)
}
