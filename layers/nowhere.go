package layers

import (
	"context"
	"errors"
	"io"
	"path/filepath"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/flock"
	"github.com/peelfs/peelfs/internal/mapfault"
	"github.com/peelfs/peelfs/layers/cachedir"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/opened"
	"github.com/peelfs/peelfs/layers/spanfile"
)

// maxUnkeptIndex is the longest index, in bytes, that is held in memory because
// the disk has no room for it.
const maxUnkeptIndex = 256 << 20

// inMemory opens a layer in memory that was just read, or listed, and that the
// disk has no room for. Its spans are served as they come, and held like any that
// cannot be written. dir is where it would be.
func (b *builder) inMemory(dir string, p *scanned, why error) (*cachedir.Files, error) {
	var out limitedBuffer
	if err := p.writeIndex(&out); err != nil {
		if errors.Is(err, errTooLong) {
			return nil, why
		}
		return nil, err
	}
	idx, err := index.OpenBytes(out.b)
	if err != nil {
		return nil, err
	}
	return &cachedir.Files{Dir: dir, Index: idx, Data: spanfile.Nowhere(cachedir.LayoutOf(idx)), Unkept: why}, nil
}

// limitedBuffer takes up to maxUnkeptIndex bytes.
type limitedBuffer struct{ b []byte }

var errTooLong = errors.New("the index is too long for memory")

func (w *limitedBuffer) Write(p []byte) (int, error) {
	if len(w.b)+len(p) > maxUnkeptIndex {
		return 0, errTooLong
	}
	w.b = append(w.b, p...)
	return len(p), nil
}

// settleAgain looks for room for a layer of which nothing is kept, now and then,
// while its readers go on as before.
func (l *Layer) settleAgain(ctx context.Context, a *opened.Layer) {
	if l.store.Writable() != nil || !a.RoomDue() {
		return
	}
	l.crew.Run(ctx, func(ctx context.Context) {
		var fresh *cachedir.Files
		err := mapfault.Catch(func() (err error) {
			fresh, err = l.build.rehome(ctx, a)
			return err
		})
		if err == nil {
			l.swap(a, fresh)
		}
	})
}

// swap puts another generation in the place of a, unless somebody was faster.
func (l *Layer) swap(a *opened.Layer, fresh *cachedir.Files) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.current.CompareAndSwap(a, opened.New(fresh, l.host())) {
		fresh.Close()
		return false
	}
	l.mu.old = append(l.mu.old, a)
	return true
}

// rehome opens a layer on disk that was held in memory so far.
func (b *builder) rehome(ctx context.Context, a *opened.Layer) (*cachedir.Files, error) {
	dir, lock, err := b.store.layerDir(ctx, a.Index.Header().BlobDigest)
	if err != nil {
		return nil, err
	}
	fresh, err := b.rehomeIn(ctx, dir, lock, a)
	if err == nil && fresh.Data.IsNowhere() {
		fresh.Close()
		return nil, errkind.New(errkind.LocalFull, "there is no room yet")
	}
	if err != nil {
		lock.Close()
	}
	return fresh, err
}

func (b *builder) rehomeIn(ctx context.Context, dir string, lock *flock.File, a *opened.Layer) (*cachedir.Files, error) {
	if err := lock.Lock(ctx, cachedir.MakeLock, 1); err != nil {
		return nil, err
	}
	defer lock.Unlock(cachedir.MakeLock, 1)
	if fresh, err := b.fromCache(dir, lock); fresh != nil || err != nil {
		return fresh, err
	}
	tmp, err := b.store.tempIndex(func(w io.Writer) error { _, err := w.Write(a.Index.Bytes()); return err })
	if err != nil {
		return nil, err
	}
	defer tmp.Discard()
	if err := tmp.Rename(filepath.Join(dir, cachedir.IndexName)); err != nil {
		return nil, cachedir.WriteError(err)
	}
	fresh, err := b.fromCache(dir, lock)
	if fresh == nil && err == nil {
		err = errUnreadable()
	}
	return fresh, err
}

// tempIndex makes a temporary file and has write fill it.
func (s *Store) tempIndex(write func(io.Writer) error) (tmp *cachedir.TempFile, err error) {
	err = s.room.MakeRoom(func() (err error) {
		if tmp, err = s.cache.TempFile(); err != nil {
			return s.cache.Unusable(err)
		}
		if err = write(tmp); err != nil {
			tmp.Discard()
			return cachedir.WriteError(err)
		}
		return nil
	})
	return tmp, err
}

func errUnreadable() error {
	return errkind.New(errkind.Internal, "the index that was just written cannot be read")
}
