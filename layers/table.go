package layers

import (
	"context"
	"errors"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/opened"
	"github.com/peelfs/peelfs/layers/toc"
)

// fromTable makes the index from the layer's own table of contents. It returns
// nil if there is none that can be trusted, or if the whole layer costs no more
// than its table would.
func (b *builder) fromTable(ctx context.Context) (*scanned, error) {
	size := b.src.size()
	if b.src.Digest == "" || size <= opened.SmallLayer || !toc.Announced(b.src.Annotations) {
		return nil, nil
	}
	t, err := toc.Load(ctx, toc.Blob{Annotations: b.src.Annotations, Size: size, Read: b.readBlob, External: b.src.Table})
	if err == nil {
		p := &scanned{builder: index.NewBuilder(), blob: b.src.Digest}
		p.header = index.Header{Source: t.Source, Space: index.Packed, Compression: index.Gzip, HideTOC: true,
			BlobDigest: b.src.Digest, BlobSize: size, Document: t.Digest}
		if t.Source == index.ZstdChunked {
			p.header.Compression = index.Zstd
		}
		if p.spans, p.header.SpaceSize, err = t.Build(p.builder); err == nil {
			p.landmark = t.Landmark
			return p, nil
		}
	}
	if errors.Is(err, toc.ErrNone) || errkind.Is(err, errkind.Unsupported) {
		b.store.log.Warn("the layer's table of contents is not used", "layer", b.name(), "reason", err)
		return nil, nil
	}
	return nil, err
}

// readBlob reads n bytes at off of the blob into memory.
func (b *builder) readBlob(ctx context.Context, off, n int64) ([]byte, error) {
	b.count.Requests.Add(1)
	body, at, err := b.src.Blob.ReadRange(ctx, off, n)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return opened.ReadPart(body, at, off, n, b.count)
}
