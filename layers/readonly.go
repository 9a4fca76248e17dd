package layers

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/flock"
	"github.com/peelfs/peelfs/layers/cachedir"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/spanfile"
)

// openReadOnly opens the layer d as a cache that cannot be written has it, or
// reads it from its source into memory.
func (b *builder) openReadOnly(ctx context.Context, d digest.Digest) (*cachedir.Files, error) {
	dir, err := b.store.cache.LayerDir(d)
	if err != nil {
		return nil, err
	}
	if err := b.askWhatToBelieve(ctx, dir); err != nil {
		return nil, err
	}
	if f, err := b.peekReadOnly(dir); f != nil || err != nil {
		return f, err
	}
	return b.buildNowhere(ctx, d, b.store.Writable())
}

// peekReadOnly opens the layer in dir as it is; nil if it has no index that can be
// used.
func (b *builder) peekReadOnly(dir string) (*cachedir.Files, error) {
	if b.badIndex.Load() {
		return nil, nil
	}
	lock := cachedir.LeaseReadOnly(dir)
	f, err := b.fromCache(dir, lock)
	if (f == nil || err != nil) && lock != nil {
		lock.Close()
	}
	return f, err
}

// withDataReadOnly puts the data that lies by an index beside it. Data that is
// missing or cannot be read is fetched and held in memory.
func (b *builder) withDataReadOnly(dir string, idx *index.Index, lock *flock.File) *cachedir.Files {
	layout := cachedir.LayoutOf(idx)
	f := &cachedir.Files{Dir: dir, Index: idx, Data: spanfile.Nowhere(layout), Lock: lock, Unkept: b.store.Writable()}
	if b.badData.Load() {
		return f
	}
	data, err := spanfile.OpenReadOnly(dir, layout)
	if err != nil {
		b.store.log.Warn("cached data cannot be read", "layer", b.name(), "error", err)
		return f
	}
	if f.Data = data; !data.IsNowhere() {
		f.Unkept = nil
	}
	return f
}

// shun makes the next opening of the layer do without files of the cache that are
// damaged, where they cannot be removed.
func (b *builder) shun(indexSound, dataSound bool) {
	if !indexSound {
		b.badIndex.Store(true)
	}
	if !dataSound {
		b.badData.Store(true)
	}
}
