package layers

import (
	"bytes"
	"context"
	"io"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/tarstream"
	"github.com/peelfs/peelfs/layers/cachedir"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/opened"
	"github.com/peelfs/peelfs/layers/soci"
	"github.com/peelfs/peelfs/layers/stream"
	"github.com/peelfs/peelfs/layers/toc"
)

// ExportIndex returns the layer's index for another machine, and makes it if need
// be. It is always one that a reading of the layer has proven; a layer that has
// a table of contents of its own is Unsupported: other machines find that there.
func (l *Layer) ExportIndex(ctx context.Context) ([]byte, error) {
	x, err := l.BuildIndex(ctx)
	if err != nil {
		return nil, err
	}
	if x.Header().Source != index.Scan {
		return nil, errkind.New(errkind.Unsupported, "the layer has a table of contents of its own")
	}
	return bytes.Clone(x.Bytes()), nil
}

// ImportIndex puts an index that came from another machine into the cache, marked
// as such, and returns the digest of its layer. It reports false if the layer has
// an index already: what is known here is never replaced by what somebody says.
//
// An index that does not fit our own form is Corrupt. What it says stays somebody's
// word until the layer is read whole (Fill, BuildIndex); only that the blob's bytes
// are those that it was made from is checked with each span.
func (s *Store) ImportIndex(ctx context.Context, data []byte) (d digest.Digest, added bool, err error) {
	data, h, err := index.Import(data)
	if err != nil {
		return "", false, err
	}
	if err := importable(data, h); err != nil {
		return "", false, err
	}
	dir, lock, err := s.layerDir(ctx, h.BlobDigest)
	if err != nil {
		return "", false, err
	}
	defer lock.Close()
	if err := lock.Lock(ctx, cachedir.MakeLock, 1); err != nil {
		return "", false, err
	}
	defer lock.Unlock(cachedir.MakeLock, 1)
	if s.cache.HasIndex(h.BlobDigest) {
		return h.BlobDigest, false, nil
	}
	tmp, err := s.tempIndex(func(w io.Writer) error { _, err := w.Write(data); return err })
	if err != nil {
		return "", false, err
	}
	defer tmp.Discard()
	if err := tmp.Rename(filepath.Join(dir, cachedir.IndexName)); err != nil {
		return "", false, cachedir.WriteError(err)
	}
	return h.BlobDigest, true, nil
}

// importable refuses what no export of ours can be: an index that is not of a
// whole layer's reading, or whose spans would be taken without any check.
func importable(data []byte, h index.Header) error {
	if h.BlobDigest == "" || h.DiffID == "" || h.BlobSize < 0 || h.Source != index.Scan || h.Space != index.Tar {
		return errkind.New(errkind.Corrupt, "index of %s: it does not come from reading a layer", h.BlobDigest)
	}
	x, err := index.OpenBytes(data)
	if err != nil {
		return err
	}
	for i := range x.Spans() {
		if s := x.Span(i); s.DigestOf == index.DigestNone && s.Flags&index.SpanZeros == 0 {
			return errkind.New(errkind.Corrupt, "index of %s: span %d has no digest", h.BlobDigest, i)
		}
	}
	return nil
}

// BuildZtoc reads the layer whole, verifies it, and makes its ztoc for a SOCI
// index. Unsupported are layers that a ztoc cannot express, those that have a
// table of contents of their own, and those so small that they are read whole.
func (l *Layer) BuildZtoc(ctx context.Context, opt soci.Options) (*soci.Built, error) {
	switch size := l.src.size(); {
	case l.src.Digest == "":
		return nil, errkind.New(errkind.Unsupported, "its digest is not known")
	case toc.Announced(l.src.Annotations):
		return nil, errkind.New(errkind.Unsupported, "it has a table of contents of its own")
	case size >= 0 && size <= opened.SmallLayer:
		return nil, errkind.New(errkind.Unsupported, "it is so small that it is read whole")
	}
	body, err := l.build.openWhole(ctx)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	head := make([]byte, tarstream.HeadSize)
	n, err := io.ReadFull(body, head)
	if err != nil || stream.CompressionOf(head[:n]) != index.Gzip {
		return nil, errkind.New(errkind.Unsupported, "it is not compressed by gzip")
	}
	if l.src.DiffID != "" {
		opt.Algorithm = l.src.DiffID.Algorithm()
	}
	sum := l.build.algorithm().Hash()
	built, err := soci.Build(io.TeeReader(io.MultiReader(bytes.NewReader(head), body), sum), opt)
	if err != nil {
		return nil, err
	}
	if got := digest.NewDigest(l.build.algorithm(), sum); got != l.src.Digest {
		return nil, errkind.New(errkind.Corrupt, "the bytes that the source sent have the digest %s", got)
	}
	if contradict(built.DiffID, l.src.DiffID) {
		return nil, wrongDiffID(l.src, built.DiffID)
	}
	return built, nil
}
