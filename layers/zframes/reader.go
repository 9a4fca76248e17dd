package zframes

import (
	"bufio"
	"crypto/sha256"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/xxh3"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/internal/outbuf"
)

const (
	inputSize = 64 << 10

	// A longer skippable frame ends a span: a table of contents behind the
	// last file must not be fetched for the latter.
	maxInnerSkippable = 4 << 10
)

// Reader decompresses a zstd blob of one or more frames; skippable frames have
// no output. At io.EOF the source has been read to its end.
//
// A Reader is for one goroutine at a time. It has no goroutines of its own and
// needs no Close; to cancel it, fail the source.
type Reader struct {
	outbuf.Reader
	src     *source
	frames  frames
	dec     *zstd.Decoder
	inFrame bool
	any     bool // a frame was seen
	pool    *outbuf.Pool
	pos     int64 // in the output, what cur holds included
	err     error

	opt  Options
	span Span // the current one; its lengths and sums come at its end
	open bool
	sha  hash.Hash
	sum  xxh3.Hasher
}

// NewReader returns a Reader of the blob in src, which may give short reads.
func NewReader(src io.Reader, opt Options) *Reader {
	r := &Reader{opt: opt, pool: outbuf.NewPool(0, outbuf.Size), sha: sha256.New()}
	r.Reader = outbuf.NewReader(r.next)
	r.src = &source{Reader: src}
	r.frames = frames{src: bufio.NewReaderSize(r.src, inputSize), tap: func([]byte) {}}
	if opt.SpanSize > 0 {
		r.frames.tap = func(p []byte) { r.sha.Write(p) }
	}
	r.dec, r.err = newDecoder()
	return r
}

// next returns the next output, or io.EOF when all frames are read. Output in
// front of an error is given first. The error has the kind Corrupt for bad
// data, wrapping io.ErrUnexpectedEOF if data ended too early, and Unsupported
// for frames that want a dictionary or too large a window; errors of the
// source and of OnSpan are returned as they are. All buffers but the last are full.
func (r *Reader) next() (*outbuf.Buffer, error) {
	if r.err != nil {
		return nil, r.err
	}
	b := r.pool.Get()
	for r.err == nil && b.N < len(b.Mem) {
		r.err = r.step(b)
	}
	if b.N == 0 {
		b.Release()
		return nil, r.err
	}
	return b, nil
}

// step adds output to b or goes on to the next frame.
func (r *Reader) step(b *outbuf.Buffer) error {
	if !r.inFrame {
		return r.nextFrame()
	}
	n, err := r.dec.Read(b.Mem[b.N:])
	if r.opt.SpanSize > 0 {
		r.sum.Write(b.Mem[b.N : b.N+n])
	}
	b.N += n
	r.pos += int64(n)
	switch {
	case err == io.EOF:
		return r.endFrame()
	case err != nil:
		return r.classify(err)
	}
	return nil
}

// classify gives errors their kind; those of the source stay as they are.
func (r *Reader) classify(err error) error {
	if r.src.err != nil {
		return r.src.err
	}
	if errkind.Is(err, errkind.Corrupt) {
		return err
	}
	return classify(err)
}

// nextFrame starts a data frame, passes over a skippable one, or ends the
// reading.
func (r *Reader) nextFrame() error {
	f, err := r.frames.start()
	switch {
	case err == io.EOF && r.any:
		if err := r.endSpan(); err != nil {
			return err
		}
		return io.EOF
	case err == io.EOF:
		return r.classify(io.ErrUnexpectedEOF)
	case err != nil:
		return r.classify(err)
	}
	r.any = true
	if f.skippable {
		return r.skip(f)
	}
	r.beginSpan()
	r.inFrame = true
	if err := r.dec.Reset(&r.frames); err != nil {
		return r.classify(err)
	}
	return nil
}

func (r *Reader) skip(f frame) error {
	keep := f.size <= maxInnerSkippable
	if !keep {
		if err := r.endSpan(); err != nil {
			return err
		}
	}
	if err := r.frames.skip(f, keep); err != nil {
		return r.classify(err)
	}
	return nil
}

// endFrame ends the span as well if it is long enough.
func (r *Reader) endFrame() error {
	if !r.frames.ended() {
		return corrupt("a frame ends before its last block")
	}
	r.inFrame = false
	if r.pos-r.span.Out >= r.opt.SpanSize {
		return r.endSpan()
	}
	return nil
}

func (r *Reader) beginSpan() {
	if r.open || r.opt.SpanSize <= 0 {
		return
	}
	r.open = true
	r.span = Span{Out: r.pos, In: r.frames.pos}
	r.sha.Reset()
	r.sum.Reset()
}

// endSpan reports the current span, if it has any output.
func (r *Reader) endSpan() error {
	if !r.open || r.pos == r.span.Out {
		r.open = false
		return nil
	}
	r.open = false
	r.span.OutLen = r.pos - r.span.Out
	r.span.InLen = r.frames.pos - r.span.In
	r.sha.Sum(r.span.Digest[:0])
	r.span.Sum = r.sum.Sum64()
	if r.opt.OnSpan == nil {
		return nil
	}
	return r.opt.OnSpan(r.span)
}
