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
	diffID  digest.Digest // of the tar, by the algorithm that the image uses
	data    *tempFile     // nil if the data is not kept

	landmark int // spans that the layer's maker wants fetched at once
}

func (p *scanned) discard() {
	if p.data != nil {
		p.data.discard()
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
	p.data.renamed = true
	return nil
}

// scan reads the whole layer once: it verifies the blob's digest and the tar's,
// finds the entries and the seek points, and keeps the bytes. Where a second reading
// may come to another end, a layer that is wrong is read once more, and then decoded
// by other code: a second opinion before anybody is blamed.
func (l *Layer) scan(ctx context.Context) (*scanned, error) {
	select {
	case l.store.pass <- struct{}{}:
		defer func() { <-l.store.pass }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p, again, err := l.scanOnce(ctx, false)
	if again && ctx.Err() == nil {
		l.store.log.Warn("layer is wrong and is read again", "layer", l.name(), "error", err)
		p, _, err = l.scanOnce(ctx, true)
	}
	return p, err
}

// scanOnce reads the layer once. If that fails, again says whether to try once more.
func (l *Layer) scanOnce(ctx context.Context, secondOpinion bool) (_ *scanned, again bool, err error) {
	body, err := l.openWhole(ctx)
	if err != nil {
		return nil, false, err
	}
	defer body.Close()
	data, err := l.newData()
	if err != nil {
		return nil, false, err
	}
	opt := stream.Options{Algorithm: l.algorithm(), Tail: toc.FooterSize, Other: secondOpinion}
	if l.src.DiffID != "" {
		opt.TarAlgorithm = l.src.DiffID.Algorithm()
	}
	read, err := stream.Index(ctx, body, opt, data.sink())
	if again, err = l.judge(read, err); err != nil {
		data.discard()
		return nil, again, err
	}
	kept, err := data.keep(read)
	if err != nil {
		return nil, false, err
	}
	return l.toScanned(read, kept), false, nil
}

// openWhole opens the blob at its first byte and counts what comes of it.
func (l *Layer) openWhole(ctx context.Context) (io.ReadCloser, error) {
	l.count.Requests.Add(1)
	body, at, err := l.src.Blob.ReadRange(ctx, 0, -1)
	if err != nil {
		return nil, err
	}
	if at != 0 {
		body.Close()
		return nil, errkind.New(errkind.Internal, "the blob begins at byte %d", at)
	}
	return counted{body, &l.count}, nil
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
func (l *Layer) algorithm() digest.Algorithm {
	if l.src.Digest != "" {
		return l.src.Digest.Algorithm()
	}
	return digest.Canonical
}

// judge compares what was read with what the source promised, and returns why it is
// not the layer. A second reading is of use unless the digest held: then the bytes
// are those of the image, and only our own gunzip may be at fault.
func (l *Layer) judge(read *stream.Layer, err error) (again bool, _ error) {
	var fault *stream.Fault
	if err != nil && !errors.As(err, &fault) {
		return errkind.Is(err, errkind.Corrupt), err
	}
	held := read.Digest == l.src.Digest
	if want := l.src.size(); want >= 0 && read.Size != want {
		return !held, errkind.New(errkind.Corrupt, "the blob has %d bytes instead of %d", read.Size, want)
	}
	if l.src.Digest != "" && !held {
		return true, errkind.WithHint(errkind.New(errkind.Corrupt, "the bytes that the source sent have the digest %s", read.Digest),
			"the registry or a proxy in front of it altered the layer; try another mirror or push the image again")
	}
	if fault != nil {
		return !held || fault.Undecoded && read.Compression == index.Gzip,
			errkind.WithHint(fault, "the layer has the right digest, so the image itself is broken; build and push it again")
	}
	if contradict(read.NamedDiffID, l.src.DiffID) {
		return !held, wrongDiffID(l.src, read.NamedDiffID)
	}
	return false, nil
}

func (l *Layer) toScanned(read *stream.Layer, data *tempFile) *scanned {
	return &scanned{builder: read.Entries, spans: read.Spans, windows: read.Windows,
		blob: read.Digest, diffID: read.NamedDiffID, data: data,
		header: index.Header{Source: index.Scan, Space: index.Tar, SpaceSize: read.TarSize, Compression: read.Compression,
			BlobDigest: read.Digest, BlobSize: read.Size, DiffID: read.DiffID,
			HideTOC: toc.Announced(l.src.Annotations) || toc.HasFooter(read.Tail)}}
}

// newData is where the pass puts the layer's bytes; nil if they are not kept.
func (l *Layer) newData() (*passData, error) {
	if l.store.opt.IndexOnly {
		return nil, nil
	}
	t, err := newTempFile(filepath.Join(l.store.dir, "tmp"))
	if cachedir.IsFull(err) {
		return nil, nil // the index alone serves reads
	}
	if err != nil {
		return nil, cacheError(l.store.dir, err)
	}
	return &passData{t, stream.NewSparse(t.File, l.store.room)}, nil
}

// passData is the layer's bytes as a pass writes them. Nil is one that keeps none.
type passData struct {
	file   *tempFile
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
		d.file.discard()
	}
}

// keep decides whether the bytes of the layer, which was read whole, are kept. If
// the disk has no room for them, its index alone serves reads.
func (d *passData) keep(read *stream.Layer) (*tempFile, error) {
	if d == nil {
		return nil, nil
	}
	err := d.sparse.Finish(read.TarSize)
	if err == nil {
		return d.file, nil
	}
	d.file.discard()
	if cachedir.IsFull(err) {
		return nil, nil
	}
	return nil, cachedir.WriteError(err)
}

func wrongDiffID(src Source, got digest.Digest) error {
	return errkind.WithHint(errkind.New(errkind.Corrupt, "its tar has the digest %s, the image config says %s", got, src.DiffID),
		"the image config does not belong to these layers; build and push the image again")
}
