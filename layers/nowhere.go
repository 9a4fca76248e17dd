package layers

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"time"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/flock"
	"github.com/peelfs/peelfs/internal/mapfault"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/spanfile"
)

// maxUnkeptIndex is the longest index, in bytes, that is held in memory because
// the disk has no room for it.
const maxUnkeptIndex = 256 << 20

// roomAgain is how long a layer of which nothing could be kept waits before it
// looks for room on the disk again.
const roomAgain = 30 * time.Second

// unkeptLayer opens a layer in memory that was just read, or listed, and that the
// disk has no room for. Its spans are served as they come, and held like any that
// cannot be written. dir is where it would be.
func (l *Layer) unkeptLayer(dir string, p *scanned, why error) (*acquired, error) {
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
	return l.inMemory(dir, idx, why), nil
}

// inMemory opens a layer of which only the index is known, or mapped.
func (l *Layer) inMemory(dir string, idx *index.Index, why error) *acquired {
	if l.unkept.Swap(&why) == nil { // said once, until there is room again
		l.store.log.Warn("the cache cannot take a layer; what is read of it stays in memory", "layer", l.name(), "error", why)
	}
	a := &acquired{dir: dir, idx: idx, data: spanfile.Nowhere(layoutOf(idx))}
	a.again.Store(time.Now().Add(roomAgain).UnixNano())
	return a
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

// settleAgain looks for room for a layer of which nothing is kept, at most every
// roomAgain and while nobody waits for it.
func (l *Layer) settleAgain(ctx context.Context, a *acquired) {
	next, now := a.again.Load(), time.Now()
	if next == 0 || now.UnixNano() < next || !a.again.CompareAndSwap(next, now.Add(roomAgain).UnixNano()) {
		return
	}
	l.crew.Run(ctx, func(ctx context.Context) {
		var fresh *acquired
		err := mapfault.Catch(func() (err error) {
			fresh, err = l.rehome(ctx, a)
			return err
		})
		if err != nil {
			return // as before
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if !l.acquired.CompareAndSwap(a, fresh) {
			fresh.close()
			return
		}
		l.mu.old = append(l.mu.old, a)
		l.mu.spans = newFlights[int]()
	})
}

// rehome opens a layer on disk that was held in memory so far.
func (l *Layer) rehome(ctx context.Context, a *acquired) (*acquired, error) {
	dir, lock, err := l.store.layerDir(a.idx.Header().BlobDigest)
	if err != nil {
		return nil, err
	}
	fresh, err := l.rehomeIn(ctx, dir, lock, a)
	if err == nil && fresh.data.IsNowhere() {
		fresh.close()
		return nil, errkind.New(errkind.LocalFull, "there is no room yet")
	}
	if err != nil {
		lock.Close()
	}
	return fresh, err
}

func (l *Layer) rehomeIn(ctx context.Context, dir string, lock *flock.File, a *acquired) (*acquired, error) {
	if err := lock.Lock(ctx, makeLock, 1); err != nil {
		return nil, err
	}
	defer lock.Unlock(makeLock, 1)
	if fresh, err := l.fromCache(dir, lock); fresh != nil || err != nil {
		return fresh, err
	}
	tmp, err := l.store.tempIndex(func(w io.Writer) error { _, err := w.Write(a.idx.Bytes()); return err })
	if err != nil {
		return nil, err
	}
	defer tmp.discard()
	if err := tmp.rename(filepath.Join(dir, indexName)); err != nil {
		return nil, writeError(err)
	}
	fresh, err := l.fromCache(dir, lock)
	if fresh == nil && err == nil {
		err = errUnreadable()
	}
	return fresh, err
}

// tempIndex makes a temporary file and has write fill it.
func (s *Store) tempIndex(write func(io.Writer) error) (tmp *tempFile, err error) {
	err = s.room.MakeRoom(func() (err error) {
		if tmp, err = newTempFile(filepath.Join(s.dir, "tmp")); err != nil {
			return cacheError(s.dir, err)
		}
		if err = write(tmp); err != nil {
			tmp.discard()
			return writeError(err)
		}
		return nil
	})
	return tmp, err
}

func errUnreadable() error {
	return errkind.New(errkind.Internal, "the index that was just written cannot be read")
}
