package layers

import (
	"cmp"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peelfs/peelfs/internal/flock"
	"github.com/peelfs/peelfs/internal/mapfault"
	"github.com/peelfs/peelfs/layers/cachedir"
	"github.com/peelfs/peelfs/layers/spanfile"
)

// janitor keeps the disk space of layer data below the bound of its Store. It
// looks after every sixteenth of the bound that was written, in a goroutine of
// its own; several processes on one cache take turns.
type janitor struct {
	store   *Store
	written atomic.Int64 // since the last look
	tight   sync.Once    // it was said that the bound is too small
	wg      sync.WaitGroup
	mu      struct {
		sync.Mutex
		busy, closed bool
		vain         time.Time // when a full disk had nothing left to drop
	}
}

func newJanitor(s *Store) *janitor { return &janitor{store: s} }

// Used notes that n bytes were written.
func (j *janitor) Used(n int64) {
	limit := j.store.opt.Size
	if limit <= 0 || j.written.Add(n) < limit/16 {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.mu.busy || j.mu.closed {
		return
	}
	j.mu.busy = true
	j.written.Store(0)
	j.wg.Add(1)
	go func() {
		defer j.wg.Done()
		_ = mapfault.Catch(func() error { // a damaged file is for its readers to find
			j.clean(limit)
			return nil
		})
		j.mu.Lock()
		j.mu.busy = false
		j.mu.Unlock()
	}()
}

// close waits for the look that is under way.
func (j *janitor) close() {
	j.mu.Lock()
	j.mu.closed = true
	j.mu.Unlock()
	j.wg.Wait()
}

// clean frees what is over limit and a tenth more, least recently used first:
// data of layers that nobody has open, then spans of the others that were not
// read of late, then spans that were. Indexes stay.
func (j *janitor) clean(limit int64) {
	turn, err := flock.Open(filepath.Join(j.store.dir, cachedir.CleanLock))
	if err != nil {
		return
	}
	defer turn.Close()
	if got, err := turn.TryLock(0, 1); !got || err != nil {
		return
	}
	stored := j.store.stored()
	total := j.store.incoming()
	for _, d := range stored {
		total += d.data
	}
	if total <= limit {
		return
	}
	want := total - limit + limit/10
	for _, pass := range []func(storedLayer, int64) int64{j.store.dropIdle, j.store.dropUnread} {
		want -= dropped(stored, want, pass)
	}
	if freed := dropped(stored, want, j.store.dropSpans); freed > 0 {
		j.tight.Do(func() {
			j.store.log.Warn("the cache is too small: data that is being read is dropped and will be fetched again; --cache-size gives it more room", "size", limit)
		})
	}
}

// dropped runs pass over layers until want bytes are free, and returns how many it
// freed.
func dropped(stored []storedLayer, want int64, pass func(storedLayer, int64) int64) (freed int64) {
	for _, d := range stored {
		if freed < want {
			freed += pass(d, want-freed)
		}
	}
	return freed
}

// incoming is the disk space of what is being written, in bytes.
func (s *Store) incoming() (n int64) {
	names, _ := filepath.Glob(filepath.Join(s.dir, cachedir.TempDir, "*"))
	for _, name := range names {
		n += spanfile.Allocated(name)
	}
	return n
}

// Outgrows reports whether a layer of n bytes is too large to be kept whole.
func (j *janitor) Outgrows(n int64) bool {
	return j.store.opt.Size > 0 && n > j.store.opt.Size/4*3
}

// storedLayer is a layer's directory as it is on disk.
type storedLayer struct {
	dir   string
	data  int64 // disk space of data files, bytes
	index int64 // length of the index, bytes
	used  time.Time
}

// stored are the layers in the cache, least recently used first.
func (s *Store) stored() []storedLayer {
	dirs, _ := filepath.Glob(filepath.Join(s.dir, cachedir.LayersDir, "*", "*"))
	var all []storedLayer
	for _, dir := range dirs {
		all = append(all, stat(dir))
	}
	slices.SortStableFunc(all, func(a, b storedLayer) int { return cmp.Compare(a.used.UnixNano(), b.used.UnixNano()) })
	return all
}

func stat(dir string) storedLayer {
	d := storedLayer{dir: dir}
	if fi, err := os.Stat(filepath.Join(dir, cachedir.IndexName)); err == nil {
		d.index = fi.Size()
	}
	for _, name := range spanfile.Names(dir) {
		d.data += spanfile.DiskSpace(dir, name)
	}
	if fi, err := os.Stat(filepath.Join(dir, cachedir.LockName)); err == nil {
		d.used = fi.ModTime()
	}
	return d
}

// dropIdle removes the data of a layer that nobody has open.
func (s *Store) dropIdle(d storedLayer, _ int64) (freed int64) {
	cachedir.Alone(d.dir, func(lock *flock.File) {
		for _, name := range spanfile.Names(d.dir) {
			if err := spanfile.Remove(d.dir, name, lock); err != nil {
				s.log.Warn("data stays in the cache", "directory", d.dir, "error", err)
			}
		}
		freed = d.data - stat(d.dir).data
	})
	return freed
}

func (s *Store) dropUnread(d storedLayer, want int64) int64 { return s.evict(d, want, false) }
func (s *Store) dropSpans(d storedLayer, want int64) int64  { return s.evict(d, want, true) }

// evict drops spans of a layer that may be in use.
func (s *Store) evict(d storedLayer, want int64, force bool) (freed int64) {
	a, err := cachedir.Look(d.dir)
	if err != nil {
		return 0
	}
	defer a.Close()
	return a.Data.Evict(min(want, math.MaxInt64/2), force)
}
