package layers

import (
	"context"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/cachedir"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/opened"
	"github.com/peelfs/peelfs/layers/soci"
	"github.com/peelfs/peelfs/layers/toc"
)

// fromZtoc makes the index from what a SOCI index says of the layer. It returns
// nil if nothing usable is there, whatever the reason: the layer itself is, and
// reading it from end to end needs nobody's word.
func (b *builder) fromZtoc(ctx context.Context) (*scanned, error) {
	size := b.src.size()
	if b.src.Digest == "" || b.src.Ztoc == nil || size <= opened.SmallLayer || b.whole.Load() {
		return nil, nil
	}
	raw, err := b.src.Ztoc(ctx)
	if err == nil && raw == nil {
		return nil, nil
	}
	var p *scanned
	if err == nil {
		p, err = b.withZtoc(ctx, raw, size)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		b.store.log.Warn("the layer's SOCI index is not used", "layer", b.name(), "reason", err)
		return nil, nil
	}
	return p, nil
}

// askWhatToBelieve finds out which ztoc the layer's source believes, if the index
// in dir was made from one and not all are believed.
func (b *builder) askWhatToBelieve(ctx context.Context, dir string) error {
	if b.src.OnlyZtoc == nil || b.only.Load() != nil {
		return nil
	}
	h, err := index.ReadHeader(filepath.Join(dir, cachedir.IndexName))
	if err != nil || h.Source != index.SOCI || h.Imported {
		return nil // whatever is wrong with the index, opening it tells
	}
	only, err := b.src.OnlyZtoc(ctx)
	if err == nil {
		b.only.Store(&only)
	}
	return err
}

// believes reports whether an index with the header h may be used: not if it was
// made from a ztoc that the layer's source does not believe. An import was asked
// for by name.
func (b *builder) believes(h index.Header) bool {
	if b.src.OnlyZtoc == nil || h.Source != index.SOCI || h.Imported {
		return true
	}
	only := b.only.Load()
	return only != nil && *only != "" && *only == h.Document
}

func (b *builder) withZtoc(ctx context.Context, raw []byte, size int64) (*scanned, error) {
	z, err := soci.Parse(raw)
	if err != nil {
		return nil, err
	}
	if z.BlobSize != size {
		return nil, errkind.New(errkind.Corrupt, "it is about a layer of %d bytes, not %d", z.BlobSize, size)
	}
	document := digest.FromBytes(raw)
	if b.src.OnlyZtoc != nil {
		only, err := b.src.OnlyZtoc(ctx)
		if err != nil {
			return nil, err
		}
		if only.Validate() != nil || only.Algorithm().FromBytes(raw) != only {
			return nil, errkind.New(errkind.Corrupt, "it has the digest %s, and only %q is believed", document, only)
		}
		document = only
		b.only.Store(&only)
	}
	p := &scanned{builder: z.Builder, spans: z.Spans, windows: z.Windows, blob: b.src.Digest}
	p.header = index.Header{Source: index.SOCI, Space: index.Tar, Compression: z.Compression,
		BlobDigest: b.src.Digest, BlobSize: size, SpaceSize: z.SpaceSize, Document: document}
	if p.header.HideTOC = toc.Announced(b.src.Annotations); z.HasTable && !p.header.HideTOC {
		tail, err := b.readBlob(ctx, size-toc.FooterSize, toc.FooterSize)
		if err != nil {
			return nil, err
		}
		p.header.HideTOC = toc.HasFooter(tail)
	}
	return p, nil
}

// fits reports whether an imported index can be one of this layer.
func (b *builder) fits(h index.Header) bool {
	size := b.src.size()
	return (size < 0 || h.BlobSize == size) && !contradict(h.DiffID, b.src.DiffID)
}

// BuildIndex returns an index that does not depend on anybody's word: the layer's
// own table of contents, or what reading the layer has shown. It reads the layer
// if it must.
func (l *Layer) BuildIndex(ctx context.Context) (*index.Index, error) {
	l.whole.Store(true)
	a, err := l.acquire(ctx)
	if err != nil {
		return nil, err
	}
	if cachedir.Unproven(a.Index.Header()) {
		if err := l.promoting(ctx, a); err != nil {
			return nil, err
		}
	}
	return l.Index(ctx)
}
