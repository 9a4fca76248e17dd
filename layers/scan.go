package layers

import (
	"context"
	"errors"
	"io"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/flock"
	"github.com/peelfs/peelfs/layers/cachedir"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/opened"
	"github.com/peelfs/peelfs/layers/spanfile"
	"github.com/peelfs/peelfs/layers/stream"
	"github.com/peelfs/peelfs/layers/toc"
)

// scanned is a layer that was read from its first byte to its last and holds
// the digests that its source names.
type scanned struct {
	header  index.Header
	builder *index.Builder
	spans   []index.Span
	windows []index.Window
	blob    digest.Digest
	diffID  digest.Digest      // of the tar, by the algorithm that the image uses
	data    *cachedir.TempFile // nil if the data is not kept

	landmark int // spans that the layer's maker wants fetched at once
}

func (p *scanned) discard() {
	if p.data != nil {
		p.data.Discard()
	}
}

func (p *scanned) writeIndex(w io.Writer) error {
	return p.builder.Write(w, p.header, p.spans, p.windows)
}

// adopt moves the data to the layer's directory, complete.
func (p *scanned) adopt(dir string) error {
	lock, err := flock.Open(filepath.Join(dir, cachedir.LockName))
	if err != nil {
		return err
	}
	defer lock.Close()
	layout := spanfile.Layout{Space: p.header.Space.String(), Size: p.header.SpaceSize, Spans: len(p.spans)}
	if err := spanfile.Adopt(dir, layout, p.data.Name(), lock); err != nil {
		return err
	}
	p.data.Moved()
	return nil
}

// scan reads the whole layer once: it verifies the blob's digest and the tar's,
// finds the entries and the seek points, and keeps the bytes. Where a second reading
// may come to another end, a layer that is wrong is read once more, and then decoded
// by other code: a second opinion before anybody is blamed.
func (b *builder) scan(ctx context.Context) (*scanned, error) {
	select {
	case b.store.pass <- struct{}{}:
		defer func() { <-b.store.pass }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p, again, err := b.scanOnce(ctx, false)
	if again && ctx.Err() == nil {
		b.store.log.Warn("layer is wrong and is read again", "layer", b.name(), "error", err)
		p, _, err = b.scanOnce(ctx, true)
	}
	return p, err
}

// scanOnce reads the layer once. If that fails, again says whether to try once more.
func (b *builder) scanOnce(ctx context.Context, secondOpinion bool) (_ *scanned, again bool, err error) {
	body, err := b.openWhole(ctx)
	if err != nil {
		return nil, false, err
	}
	defer body.Close()
	data, err := b.newData()
	if err != nil {
		return nil, false, err
	}
	opt := stream.Options{Algorithm: b.algorithm(), Tail: toc.FooterSize, Other: secondOpinion}
	if b.src.DiffID != "" {
		opt.TarAlgorithm = b.src.DiffID.Algorithm()
	}
	read, err := stream.Index(ctx, body, opt, data.sink())
	if again, err = b.judge(read, err); err != nil {
		data.discard()
		return nil, again, err
	}
	kept, err := data.keep(read)
	if err != nil {
		return nil, false, err
	}
	return b.toScanned(read, kept), false, nil
}

// openWhole opens the blob at its first byte and counts what comes of it.
func (b *builder) openWhole(ctx context.Context) (io.ReadCloser, error) {
	b.count.Requests.Add(1)
	body, at, err := b.src.Blob.ReadRange(ctx, 0, -1)
	if err != nil {
		return nil, err
	}
	if at != 0 {
		body.Close()
		return nil, errkind.New(errkind.Internal, "the blob begins at byte %d", at)
	}
	return counted{body, b.count}, nil
}

// counted counts what comes from the blob.
type counted struct {
	io.ReadCloser
	count *opened.Counters
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.count.Fetched.Add(int64(n))
	return n, err
}

// algorithm is that of the digest by which the blob is known.
func (b *builder) algorithm() digest.Algorithm {
	if b.src.Digest != "" {
		return b.src.Digest.Algorithm()
	}
	return digest.Canonical
}

// judge compares what was read with what the source promised, and returns why it is
// not the layer. A second reading is of use unless the digest held: then the bytes
// are those of the image, and only our own gunzip may be at fault.
func (b *builder) judge(read *stream.Layer, err error) (again bool, _ error) {
	var fault *stream.Fault
	if err != nil && !errors.As(err, &fault) {
		return errkind.Is(err, errkind.Corrupt), err
	}
	held := read.Digest == b.src.Digest
	if want := b.src.size(); want >= 0 && read.Size != want {
		return !held, errkind.New(errkind.Corrupt, "the blob has %d bytes instead of %d", read.Size, want)
	}
	if b.src.Digest != "" && !held {
		return true, errkind.WithHint(errkind.New(errkind.Corrupt, "the bytes that the source sent have the digest %s", read.Digest),
			"the registry or a proxy in front of it altered the layer; try another mirror or push the image again")
	}
	if fault != nil {
		return !held || fault.Undecoded && read.Compression == index.Gzip,
			errkind.WithHint(fault, "the layer has the right digest, so the image itself is broken; build and push it again")
	}
	if contradict(read.NamedDiffID, b.src.DiffID) {
		return !held, wrongDiffID(b.src, read.NamedDiffID)
	}
	return false, nil
}

func (b *builder) toScanned(read *stream.Layer, data *cachedir.TempFile) *scanned {
	return &scanned{builder: read.Entries, spans: read.Spans, windows: read.Windows,
		blob: read.Digest, diffID: read.NamedDiffID, data: data,
		header: index.Header{Source: index.Scan, Space: index.Tar, SpaceSize: read.TarSize, Compression: read.Compression,
			BlobDigest: read.Digest, BlobSize: read.Size, DiffID: read.DiffID,
			HideTOC: toc.Announced(b.src.Annotations) || toc.HasFooter(read.Tail)}}
}

// newData is where the pass puts the layer's bytes; nil if they are not kept.
func (b *builder) newData() (*passData, error) {
	if b.store.opt.IndexOnly || b.store.Writable() != nil {
		return nil, nil
	}
	t, err := b.store.cache.TempFile()
	if cachedir.IsFull(err) {
		return nil, nil // the index alone serves reads
	}
	if err != nil {
		return nil, b.store.cache.Unusable(err)
	}
	return &passData{t, stream.NewSparse(t.File, b.store.room)}, nil
}

// passData is the layer's bytes as a pass writes them. Nil is one that keeps none.
type passData struct {
	file   *cachedir.TempFile
	sparse *stream.Sparse
}

func (d *passData) sink() stream.Sink {
	if d == nil {
		return nil
	}
	return d.sparse
}

func (d *passData) discard() {
	if d != nil {
		d.file.Discard()
	}
}

// keep decides whether the bytes of the layer, which was read whole, are kept. If
// the disk has no room for them, its index alone serves reads.
func (d *passData) keep(read *stream.Layer) (*cachedir.TempFile, error) {
	if d == nil {
		return nil, nil
	}
	err := d.sparse.Finish(read.TarSize)
	if err == nil {
		return d.file, nil
	}
	d.file.Discard()
	if cachedir.IsFull(err) {
		return nil, nil
	}
	return nil, cachedir.WriteError(err)
}

func wrongDiffID(src Source, got digest.Digest) error {
	return errkind.WithHint(errkind.New(errkind.Corrupt, "its tar has the digest %s, the image config says %s", got, src.DiffID),
		"the image config does not belong to these layers; build and push the image again")
}
