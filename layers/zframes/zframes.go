// Package zframes reads zstd layers forward, tells at which frames they can be
// entered again, and enters them there. It is to zstd what package inflate is
// to gzip.
//
// The invariant: for every Span that a Reader reports,
//
//	DecodeSpan(dst, blob[s.In:s.In+s.InLen])
//
// fills dst of s.OutLen bytes with exactly the bytes that the Reader gave at
// offset s.Out.
//
// A span is a run of whole frames. Nothing smaller can be entered: a block
// needs the window, the tables and the repeat offsets of those before it. So
// a blob of one frame is one span, which is of use only to read forward, and
// whoever decodes a span must look at OutLen first.
package zframes

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/peelfs/peelfs/internal/errkind"
)

// MaxWindow is the largest window of a frame that is decoded: that of
// zstd --long, which zstd itself accepts without being told to.
const MaxWindow = 128 << 20

// Span is a stretch of output that can be decoded on its own.
type Span struct {
	Out, OutLen int64 // in the output, bytes
	In, InLen   int64 // in the blob, bytes: from a frame's start to a frame's end

	Digest [32]byte // sha256 of the compressed range
	Sum    uint64   // xxh3-64 of the output
}

// Options of a Reader. The zero value is plain decompression.
type Options struct {
	// SpanSize is the least output of a span, in bytes, unless the blob or
	// a longer skippable frame ends it; spans grow beyond it to the end of a
	// frame. 0 turns spans off.
	SpanSize int64

	// OnSpan receives the spans, in order, each from within the Next, Read
	// or WriteTo that gives the span's last byte or from within the one
	// after it. An error of OnSpan ends the reading.
	OnSpan func(Span) error
}

func newDecoder() (*zstd.Decoder, error) {
	d, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(MaxWindow),
		zstd.WithDecodeAllCapLimit(true))
	return d, errkind.Wrap(errkind.Internal, err)
}

// decoders keeps decoders, which have no goroutines, between calls.
var decoders sync.Pool

// DecodeSpan fills dst with the output of the frames that src consists of,
// which must be as long as dst. Concurrent use is fine.
//
// src is not trusted: whatever it holds, the result is dst full or an error,
// with dst in any state.
func DecodeSpan(dst, src []byte) error {
	d, err := borrow()
	if err != nil {
		return err
	}
	defer decoders.Put(d)
	out, err := d.DecodeAll(src, dst[:0:len(dst)])
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return corrupt("a span has more output than it should")
	case err != nil:
		return classify(err)
	case len(out) != len(dst):
		return corrupt("a span has less output than it should")
	case len(dst) > 0 && &out[0] != &dst[0]:
		copy(dst, out)
	}
	return nil
}

// DecodeStart fills dst with the first output of the frames that src begins with,
// and looks at no more of src than it takes. Otherwise it is like DecodeSpan.
func DecodeStart(dst, src []byte) error {
	if len(dst) == 0 {
		return nil
	}
	d, err := borrow()
	if err != nil {
		return err
	}
	defer decoders.Put(d)
	defer d.Reset(nil) // lets go of src; the error says only that there is nothing to read
	if err := d.Reset(bytes.NewReader(src)); err != nil {
		return classify(err)
	}
	if _, err := io.ReadFull(d, dst); err == io.EOF || err == io.ErrUnexpectedEOF {
		return corrupt("a span has less output than it should")
	} else if err != nil {
		return classify(err)
	}
	return nil
}

func borrow() (*zstd.Decoder, error) {
	if d, ok := decoders.Get().(*zstd.Decoder); ok {
		return d, nil
	}
	return newDecoder()
}

func corrupt(what string) error { return errkind.New(errkind.Corrupt, "zstd: %s", what) }

// classify gives an error of the decoder its kind.
func classify(err error) error {
	switch {
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return errkind.New(errkind.Unsupported, "zstd: a frame wants a window above %d MiB: %w", MaxWindow>>20, err)
	case errors.Is(err, zstd.ErrUnknownDictionary):
		return errkind.New(errkind.Unsupported, "zstd: a frame wants a dictionary: %w", err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errkind.New(errkind.Corrupt, "zstd: input is cut short: %w", err)
	}
	return errkind.New(errkind.Corrupt, "zstd: %w", err)
}
