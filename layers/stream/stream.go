// Package stream reads a layer's blob once, from its first byte to its last: the
// compressed bytes are hashed, decompressed, hashed again, parsed and written, all
// at the same time.
//
// It takes an io.Reader and a Sink and knows nothing of where they come from. It
// verifies no digest: it says which ones the bytes have.
package stream

import (
	"context"
	"encoding/hex"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/index"
)

// The pass has three stages: read and hash | decompress | hash, parse and write,
// each in a goroutine of its own. Buffers of 256 KiB stay in the processor's cache;
// a depth of 4 evens out the stages.
const (
	bufferSize = 256 << 10
	depth      = 4
)

// SpanSize is the least length of a span, in bytes of the tar.
const SpanSize = 1 << 20

// Options of a pass. Algorithm must be set.
type Options struct {
	Algorithm    digest.Algorithm // of the digest by which the blob is known
	TarAlgorithm digest.Algorithm // of the one by which the tar is; "" for SHA-256
	Tail         int              // how many of the blob's last bytes to keep
	Other        bool             // gunzip by code that is not ours: a second opinion
}

// Fault is the error of a pass that found the blob's bytes to be no layer. It is of
// kind Corrupt.
type Fault struct {
	Undecoded bool // the compressed bytes are wrong, not only the tar in them
	err       error
}

func (f *Fault) Error() string { return f.err.Error() }
func (f *Fault) Unwrap() error { return f.err }

// Blob is the compressed side of a pass. It is right even if the pass ended with
// a Fault, because the blob is then read to its end all the same: its digest says
// whether the layer is wrong or its source.
type Blob struct {
	Digest      digest.Digest
	Size        int64 // bytes
	Compression index.Compression
	Tail        []byte
}

// Layer is what a pass finds in a blob. After a Fault only Blob is of use.
type Layer struct {
	Blob
	Entries     *index.Builder
	Spans       []index.Span
	Windows     []index.Window
	DiffID      digest.Digest // of the tar, by SHA-256
	NamedDiffID digest.Digest // of the tar, by Options.TarAlgorithm
	TarSize     int64         // bytes
}

// Sink takes the tar as it comes, in one goroutine.
type Sink interface {
	// Begin is told the blob's compression before the first Write.
	Begin(index.Compression)

	// Write takes the bytes at off of the tar, which follow those before them. An
	// error ends the pass. The bytes are not to be kept.
	Write(p []byte, off int64) error
}

// Index reads the blob in body, which need not be of any compression, and finds
// its entries, seek points and digests. The tar goes to sink, which may be nil.
//
// Errors of body, sink and ctx keep their kind; there is no Layer then. A blob that
// cannot be decoded, or a tar that cannot be parsed, is a Fault.
func Index(ctx context.Context, body io.Reader, opt Options, sink Sink) (*Layer, error) {
	l := &Layer{Entries: index.NewBuilder()}
	c := newCollector(l, opt, sink)
	fault, err := run(ctx, body, opt, l, c)
	if err != nil {
		return nil, err
	}
	if fault != nil {
		return l, fault
	}
	c.finish()
	l.completeWhole()
	return l, nil
}

// Decode reads the blob in body and sends the tar to sink. Errors are as Index has
// them.
func Decode(ctx context.Context, body io.Reader, opt Options, sink Sink) (Blob, error) {
	l := &Layer{}
	fault, err := run(ctx, body, opt, l, &copier{layer: l, sink: sink})
	if err == nil && fault != nil {
		err = fault
	}
	return l.Blob, err
}

// completeWhole gives the one span of a blob that cannot be entered in the middle
// what is known only at the end: it is made from all of the blob, and is all of the tar.
func (l *Layer) completeWhole() {
	if len(l.Spans) != 1 || l.Spans[0].DigestOf != index.DigestNone {
		return
	}
	s := &l.Spans[0]
	s.InLen = l.Size
	of, sum := index.DigestOutput, l.DiffID
	if l.Digest.Algorithm() == digest.SHA256 {
		of, sum = index.DigestCompressed, l.Digest
	}
	s.DigestOf = of
	_, _ = hex.Decode(s.Digest[:], []byte(sum.Encoded()))
}

// consumer is the third stage; it takes all pieces, or fails.
type consumer interface {
	collect(ctx context.Context, pieces <-chan piece) error
}

// run runs the three stages and fills l.Blob. When one of the later stages finds a
// fault, those before it still go on to the end of the blob: its digest, and whether
// the rest of it can be decoded, say where the fault lies. The first such finding is
// the one returned; what a later stage makes of a stream that ends early is no news.
func run(ctx context.Context, body io.Reader, opt Options, l *Layer, c consumer) (*Fault, error) {
	g, ctx := errgroup.WithContext(ctx)
	feed, pieces := newFeeder(body, opt), make(chan piece, depth)
	var first findings
	undecoded := false
	g.Go(func() error { return feed.run(ctx) })
	g.Go(func() error {
		defer close(pieces)
		err := decompress(ctx, feed, l, pieces, opt.Other)
		if undecoded = errkind.Is(err, errkind.Corrupt); undecoded {
			defer close(feed.stopped)
		}
		return first.keep(err)
	})
	g.Go(func() error {
		err := first.keep(c.collect(ctx, pieces))
		for p := range pieces {
			p.release()
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	l.Digest, l.Size, l.Tail = digest.NewDigest(opt.Algorithm, feed.hash), feed.n, feed.tail
	if first.err == nil {
		return nil, nil
	}
	return &Fault{undecoded, first.err}, nil
}

// findings keeps the first error of kind Corrupt.
type findings struct {
	once sync.Once
	err  error
}

// keep returns err unless it is a finding.
func (f *findings) keep(err error) error {
	if !errkind.Is(err, errkind.Corrupt) {
		return err
	}
	f.once.Do(func() { f.err = err })
	return nil
}
