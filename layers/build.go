package layers

import (
	"context"
	"errors"
	"io/fs"
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

// builder opens the files of one layer from the cache, or builds them from its
// source. Methods are safe for concurrent use.
type builder struct {
	store *Store
	src   Source
	count *opened.Counters
	whole *atomic.Bool // somebody wants all of the layer: a ztoc would save nothing
	used  *atomic.Bool // somebody needs its content: looking at the cache is not enough

	badIndex, badData atomic.Bool // the cache's cannot be used, nor replaced: it is read-only

	only atomic.Pointer[digest.Digest] // the one ztoc that is believed, once it was asked for
}

// digest is the digest of the layer's blob, or "" while it is unknown.
func (b *builder) digest() digest.Digest {
	if b.src.Digest != "" {
		return b.src.Digest
	}
	return b.store.cache.Learned(b.src.Alias)
}

// openOrBuild opens the layer from the cache, or makes it: one process at a time.
func (b *builder) openOrBuild(ctx context.Context) (*cachedir.Files, error) {
	d := b.digest()
	if d == "" {
		return b.buildUnnamed(ctx)
	}
	if b.store.Writable() != nil {
		return b.openReadOnly(ctx, d)
	}
	if a, err := b.look(ctx, d); a != nil || err != nil {
		return a, err
	}
	dir, lock, err := b.store.layerDir(ctx, d)
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
	dir, err := b.store.cache.LayerDir(d)
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

// layerDir opens the directory of the layer d to use it.
func (s *Store) layerDir(ctx context.Context, d digest.Digest) (string, *flock.File, error) {
	if err := s.Writable(); err != nil {
		return "", nil, err
	}
	dir, err := s.cache.LayerDir(d)
	if err != nil {
		return "", nil, err
	}
	lock, err := cachedir.Open(ctx, dir, cachedir.Use)
	if err != nil && ctx.Err() == nil {
		err = s.cache.Unusable(err)
	}
	return dir, lock, err
}

func (b *builder) buildOnce(ctx context.Context, dir string, lock *flock.File) (*cachedir.Files, error) {
	if err := b.askWhatToBelieve(ctx, dir); err != nil {
		return nil, err
	}
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		if a, err := b.fromCache(dir, lock); a != nil || err != nil {
			return a, err
		}
		got, err := lock.TryLock(cachedir.MakeLock, 1)
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
	defer lock.Unlock(cachedir.MakeLock, 1)
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
// it is opened in memory, without the lock file. The caller holds cachedir.MakeLock.
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

// look opens the layer as the cache has it, and changes nothing there, until its
// content is needed. It returns nil if there is no index that serves.
func (b *builder) look(ctx context.Context, d digest.Digest) (*cachedir.Files, error) {
	if b.used.Load() {
		return nil, nil
	}
	dir, err := b.store.cache.LayerDir(d)
	if err != nil {
		return nil, err
	}
	if err := b.askWhatToBelieve(ctx, dir); err != nil {
		return nil, err
	}
	a, err := cachedir.Look(dir)
	if err != nil {
		return nil, nil // opening the directory to use it tells what is wrong
	}
	serves, err := b.serves(dir, a.Index)
	if err == nil && serves {
		return a, nil
	}
	a.Close()
	if errkind.Is(err, errkind.Corrupt) && !errors.Is(err, errUnusable) {
		return nil, err
	}
	return nil, nil
}

// errUnusable is an index that stands where that of another layer should.
var errUnusable = errors.New("it is no index of this layer")

// serves reports whether an index in dir is one of the layer. The error is
// errUnusable if it never will be, and another one if the layer is not the image's.
func (b *builder) serves(dir string, idx *index.Index) (bool, error) {
	h := idx.Header()
	switch {
	case h.BlobDigest.Encoded() != filepath.Base(dir):
		return false, errkind.New(errkind.Corrupt, "%w, but of %s", errUnusable, h.BlobDigest)
	case h.Imported && !b.fits(h):
		return false, errkind.New(errkind.Corrupt, "%w, and it was imported", errUnusable)
	case !b.believes(h):
		return false, nil // others may: it stays until one takes its place that all believe
	case !b.diffIDProven(dir, h):
		return false, nil // it is right as far as it goes: a reading of the layer adds to it
	case contradict(h.DiffID, b.src.DiffID):
		return false, wrongDiffID(b.src, h.DiffID)
	}
	return true, nil
}

// diffIDProven reports whether the index in dir, with header h, stands for a tar
// that has the image's diffID. An index that nothing can be compared with yet, as
// a table of contents has none, is proven when the layer is read whole. An image
// that names the tar by another algorithm than the index does is believed only if
// a reading has computed that digest too.
func (b *builder) diffIDProven(dir string, h index.Header) bool {
	want := b.src.DiffID
	if want == "" || h.DiffID == "" || cachedir.Unproven(h) || h.DiffID.Algorithm() == want.Algorithm() {
		return true
	}
	return cachedir.DiffID(dir, want.Algorithm()) == want
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
		var serves bool
		serves, err = b.serves(dir, idx)
		if serves {
			return b.withData(dir, idx, lock)
		}
		idx.Close()
		if !errors.Is(err, errUnusable) {
			return nil, err
		}
	}
	if errkind.Is(err, errkind.LocalFull) && b.store.Writable() == nil {
		return nil, err
	}
	if !errors.Is(err, index.ErrVersion) {
		b.store.log.Warn("a cached index is unusable and is made anew", "layer", b.name(), "error", err)
	}
	if b.store.Writable() != nil {
		return nil, nil
	}
	return nil, cachedir.RemoveIfThere(path)
}

func (b *builder) withData(dir string, idx *index.Index, lock *flock.File) (*cachedir.Files, error) {
	if b.store.Writable() != nil {
		return b.withDataReadOnly(dir, idx, lock), nil
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
		return nil, b.store.cache.Unusable(err)
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
	turn, err := b.store.cache.AliasLock(b.src.Alias)
	switch {
	case cachedir.CannotKeep(err): // others may read it too, for nothing
	case err != nil:
		return nil, b.store.cache.Unusable(err)
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
	dir, lock, err := b.store.layerDir(ctx, p.blob)
	if cachedir.CannotKeep(err) {
		p.discard()
		dir, _ = b.store.cache.LayerDir(p.blob)
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
	if err := lock.Lock(ctx, cachedir.MakeLock, 1); err != nil {
		return nil, err
	}
	defer lock.Unlock(cachedir.MakeLock, 1)
	a, err := b.fromCache(dir, lock)
	if a == nil && err == nil {
		a, err = b.adopt(dir, lock, p)
	}
	if err != nil {
		return nil, err
	}
	if err := b.store.cache.Learn(b.src.Alias, p.blob); err != nil {
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
	defer tmp.Discard()
	if p.data != nil {
		if err := b.store.room.MakeRoom(func() error { return p.adopt(dir) }); err != nil {
			return cachedir.WriteError(err)
		}
	}
	if err := errors.Join(cachedir.WriteLandmark(dir, p.landmark), cachedir.WriteDiffID(dir, p.diffID)); err != nil {
		return cachedir.WriteError(err)
	}
	if err := tmp.Rename(filepath.Join(dir, cachedir.IndexName)); err != nil {
		return cachedir.WriteError(err)
	}
	if n, sample := p.builder.Refused(); n > 0 {
		b.store.log.Warn("entries of a layer are left out", "layer", b.name(), "count", n, "first", sample)
	}
	return nil
}
