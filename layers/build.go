package layers

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/flock"
	"github.com/peelfs/peelfs/layers/cachedir"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/opened"
	"github.com/peelfs/peelfs/layers/spanfile"
)

// Bytes of a layer's lock file. Those between are spanfile's.
const (
	makeLock  = 0       // held by who makes the index
	leaseLock = 1 << 50 // shared: somebody has the layer open
)

// builder opens the files of one layer from the cache, or builds them from its
// source. Methods are safe for concurrent use.
type builder struct {
	store *Store
	src   Source
	count *opened.Counters
	whole *atomic.Bool // somebody wants all of the layer: a ztoc would save nothing

	only atomic.Pointer[digest.Digest] // the one ztoc that is believed, once it was asked for
}

// digest is the digest of the layer's blob, or "" while it is unknown.
func (b *builder) digest() digest.Digest {
	if b.src.Digest != "" {
		return b.src.Digest
	}
	return b.store.Learned(b.src.Alias)
}

// openOrBuild opens the layer from the cache, or makes it: one process at a time.
func (b *builder) openOrBuild(ctx context.Context) (*cachedir.Files, error) {
	d := b.digest()
	if d == "" {
		return b.buildUnnamed(ctx)
	}
	dir, lock, err := b.store.layerDir(d)
	if cachedir.IsFull(err) {
		return b.buildNowhere(ctx, d, err)
	}
	if err != nil {
		return nil, err
	}
	a, err := b.buildOnce(ctx, dir, lock)
	if err != nil || a.Lock == nil {
		lock.Close()
	}
	return a, err
}

// buildNowhere makes the layer d where not even its directory can be made.
func (b *builder) buildNowhere(ctx context.Context, d digest.Digest, why error) (*cachedir.Files, error) {
	dir, err := b.store.dirOf(d)
	if err != nil {
		return nil, err
	}
	p, err := b.read(ctx)
	if err != nil {
		return nil, err
	}
	p.discard()
	return b.inMemory(dir, p, why)
}

// layerDir makes the directory of the layer d and opens its lock file, with a
// shared lease on the layer for as long as the lock file stays open.
func (s *Store) layerDir(d digest.Digest) (string, *flock.File, error) {
	dir, err := s.dirOf(d)
	if err != nil {
		return "", nil, err
	}
	for {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", nil, cacheError(s.dir, err)
		}
		lock, err := flock.Open(filepath.Join(dir, cachedir.LockName))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed between the two steps
		}
		if err != nil {
			return "", nil, cacheError(s.dir, err)
		}
		got, err := lock.TryRLock(leaseLock, 1)
		if err == nil && got && stillThere(lock, dir) {
			touch(dir)
			return dir, lock, nil
		}
		lock.Close()
		if err != nil {
			return "", nil, err
		}
		time.Sleep(time.Millisecond) // somebody removes the layer just now
	}
}

// stillThere reports whether the open lock file is the one in dir.
func stillThere(lock *flock.File, dir string) bool {
	want, err := os.Stat(filepath.Join(dir, cachedir.LockName))
	return err == nil && lock.Same(want)
}

// touch notes that the layer was used now, for the choice of what to drop.
func touch(dir string) {
	now := time.Now()
	_ = os.Chtimes(filepath.Join(dir, cachedir.LockName), now, now)
}

func (b *builder) buildOnce(ctx context.Context, dir string, lock *flock.File) (*cachedir.Files, error) {
	if err := b.askWhatToBelieve(ctx, dir); err != nil {
		return nil, err
	}
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		if a, err := b.fromCache(dir, lock); a != nil || err != nil {
			return a, err
		}
		got, err := lock.TryLock(makeLock, 1)
		if err != nil {
			return nil, err
		}
		if got {
			break
		}
		select { // another process makes it; its end shows as an index or a free lock
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
	defer lock.Unlock(makeLock, 1)
	if a, err := b.fromCache(dir, lock); a != nil || err != nil {
		return a, err
	}
	p, err := b.read(ctx)
	if err != nil {
		return nil, err
	}
	defer p.discard()
	a, err := b.adopt(dir, lock, p)
	if a != nil && a.Index.Len() > manyEntries {
		p.builder = nil
		debug.FreeOSMemory()
	}
	return a, err
}

// manyEntries is from how many entries on the memory that making an index took,
// about 130 bytes for each, is given back at once: a mount may live for weeks.
const manyEntries = 100_000

// adopt publishes a layer in dir and opens it; where the disk has no room for it,
// it is opened in memory, without the lock file. The caller holds makeLock.
func (b *builder) adopt(dir string, lock *flock.File, p *scanned) (*cachedir.Files, error) {
	err := b.publish(dir, p)
	if cachedir.IsFull(err) && p.data != nil {
		p.discard() // what it takes may be enough for the index
		p.data = nil
		err = b.publish(dir, p)
	}
	if cachedir.IsFull(err) {
		return b.inMemory(dir, p, err)
	}
	if err != nil {
		return nil, err
	}
	a, err := b.fromCache(dir, lock)
	if a == nil && err == nil {
		err = errUnreadable()
	}
	return a, err
}

// fromCache opens the layer if its index is in the cache; nil if it is not. An
// index that is damaged or belongs to something else is removed.
func (b *builder) fromCache(dir string, lock *flock.File) (*cachedir.Files, error) {
	path := filepath.Join(dir, cachedir.IndexName)
	idx, err := index.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		h := idx.Header()
		switch {
		case h.BlobDigest.Encoded() != filepath.Base(dir):
			err = errkind.New(errkind.Corrupt, "it is the index of %s", h.BlobDigest)
		case h.Imported && !b.fits(h):
			err = errkind.New(errkind.Corrupt, "it was imported, and is not of this layer")
		case !b.believes(h):
			return nil, idx.Close() // others may: it stays until one takes its place that all believe
		case !b.diffIDProven(dir, h):
			return nil, idx.Close() // it is right as far as it goes: a reading of the layer adds to it
		default:
			return b.withData(dir, idx, lock)
		}
		idx.Close()
	}
	if errkind.Is(err, errkind.LocalFull) {
		return nil, err
	}
	if !errors.Is(err, index.ErrVersion) {
		b.store.log.Warn("a cached index is unusable and is made anew", "layer", b.name(), "error", err)
	}
	return nil, removeIfThere(path)
}

func (b *builder) withData(dir string, idx *index.Index, lock *flock.File) (*cachedir.Files, error) {
	h := idx.Header()
	if contradict(h.DiffID, b.src.DiffID) {
		idx.Close()
		return nil, wrongDiffID(b.src, h.DiffID)
	}
	var data *spanfile.File
	err := b.store.room.MakeRoom(func() (err error) {
		data, err = spanfile.Open(dir, cachedir.LayoutOf(idx), lock)
		return err
	})
	if cachedir.IsFull(err) {
		return &cachedir.Files{Dir: dir, Index: idx, Data: spanfile.Nowhere(cachedir.LayoutOf(idx)), Lock: lock, Unkept: err}, nil
	}
	if err != nil {
		idx.Close()
		return nil, cacheError(b.store.dir, err)
	}
	return &cachedir.Files{Dir: dir, Index: idx, Data: data, Lock: lock}, nil
}

// read makes the index, the cheapest way that the layer's format allows.
func (b *builder) read(ctx context.Context) (*scanned, error) {
	p, err := b.fromTable(ctx)
	if p == nil && err == nil {
		p, err = b.fromZtoc(ctx)
	}
	if p == nil && err == nil {
		p, err = b.scan(ctx)
	}
	return p, err
}

// buildUnnamed reads a layer whose digest nobody knows and publishes it under the
// digest that it turns out to have.
func (b *builder) buildUnnamed(ctx context.Context) (*cachedir.Files, error) {
	turn, err := b.store.aliasLock(b.src.Alias)
	switch {
	case cachedir.IsFull(err): // others may read it too, for nothing
	case err != nil:
		return nil, cacheError(b.store.dir, err)
	default:
		defer turn.Close()
		if err := turn.Lock(ctx, 0, 1); err != nil {
			return nil, err
		}
	}
	if b.digest() != "" {
		return b.openOrBuild(ctx)
	}
	p, err := b.scan(ctx)
	if err != nil {
		return nil, err
	}
	defer p.discard()
	dir, lock, err := b.store.layerDir(p.blob)
	if cachedir.IsFull(err) {
		p.discard()
		dir, _ = b.store.dirOf(p.blob)
		return b.inMemory(dir, p, err)
	}
	if err != nil {
		return nil, err
	}
	a, err := b.publishOnce(ctx, dir, lock, p)
	if err != nil || a.Lock == nil {
		lock.Close()
	}
	return a, err
}

func (b *builder) publishOnce(ctx context.Context, dir string, lock *flock.File, p *scanned) (*cachedir.Files, error) {
	if err := lock.Lock(ctx, makeLock, 1); err != nil {
		return nil, err
	}
	defer lock.Unlock(makeLock, 1)
	a, err := b.fromCache(dir, lock)
	if a == nil && err == nil {
		a, err = b.adopt(dir, lock, p)
	}
	if err != nil {
		return nil, err
	}
	if err := b.store.learn(b.src.Alias, p.blob); err != nil {
		b.store.log.Warn("the digest of a layer is not remembered", "layer", b.src.Alias, "digest", p.blob, "error", err)
	}
	return a, nil
}

// publish puts a verified layer into dir: first the data, last the index.
func (b *builder) publish(dir string, p *scanned) error {
	tmp, err := b.store.tempIndex(p.writeIndex)
	if err != nil {
		return err
	}
	defer tmp.discard()
	if p.data != nil {
		if err := b.store.room.MakeRoom(func() error { return p.adopt(dir) }); err != nil {
			return cachedir.WriteError(err)
		}
	}
	if err := errors.Join(writeLandmark(dir, p.landmark), writeDiffID(dir, p.diffID)); err != nil {
		return cachedir.WriteError(err)
	}
	if err := tmp.rename(filepath.Join(dir, cachedir.IndexName)); err != nil {
		return cachedir.WriteError(err)
	}
	if n, sample := p.builder.Refused(); n > 0 {
		b.store.log.Warn("entries of a layer are left out", "layer", b.name(), "count", n, "first", sample)
	}
	return nil
}
