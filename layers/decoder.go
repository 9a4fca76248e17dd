package layers

import (
	"bytes"
	"io"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/inflate"
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
		return corrupt(index.Gzip, inflate.DecodeSpan(out, src, window, s.Bits))
	case h.Compression == index.Zstd && h.Space == index.Tar:
		return zframes.DecodeSpan(out, src)
	}
	return d.forward(out, src, s, h.Compression)
}

// forward decodes the range from its start and takes what lies at s.Skip.
func (d *decoder) forward(out, src []byte, s index.Span, c index.Compression) error {
	need := s.Skip + int64(len(out))
	if need > maxHeld {
		return errkind.New(errkind.Unsupported, "a chunk lies %d bytes deep in its compressed range", s.Skip)
	}
	if d.in != s.In || int64(len(d.out)) < need {
		r, err := forwardReader(c, src)
		if err != nil {
			return corrupt(c, err)
		}
		d.in, d.out = s.In, nil
		if d.out, err = atLeast(r, need); err != nil {
			return corrupt(c, err)
		}
	}
	copy(out, d.out[s.Skip:need])
	return nil
}

func forwardReader(c index.Compression, src []byte) (io.Reader, error) {
	if c == index.Gzip {
		return inflate.NewReader(bytes.NewReader(src), inflate.Options{}), nil
	}
	return opener(c)(bytes.NewReader(src))
}

// atLeast reads r to its end or to maxHeld bytes; fewer than need is an error.
func atLeast(r io.Reader, need int64) ([]byte, error) {
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(r, maxHeld))
	if n < need {
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return b.Bytes(), nil
}
