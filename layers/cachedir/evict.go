package cachedir

import (
	"math"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peelfs/peelfs/internal/flock"
	"github.com/peelfs/peelfs/internal/mapfault"
	"github.com/peelfs/peelfs/layers/spanfile"
)

// Janitor keeps the disk space of layer data below a bound. It looks after every
// sixteenth of the bound that was written, in a goroutine of its own; several
// processes on one cache take turns. Methods are safe for concurrent use.
type Janitor struct {
	cache   *Cache
	size    int64        // the bound in bytes; 0 for none
	written atomic.Int64 // since the last look
	tight   sync.Once    // it was said that the bound is too small
	wg      sync.WaitGroup
	mu      struct {
		sync.Mutex
		busy, closed bool
		vain         time.Time // when a full disk had nothing left to drop
	}
}

// Janitor returns a janitor that keeps the data of all layers below size bytes, or
// without a bound if size is 0. Close ends its work.
func (c *Cache) Janitor(size int64) *Janitor { return &Janitor{cache: c, size: size} }

// Used notes that n bytes were written.
func (j *Janitor) Used(n int64) {
	limit := j.size
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
			j.Clean(limit)
			return nil
		})
		j.mu.Lock()
		j.mu.busy = false
		j.mu.Unlock()
	}()
}

// Close ends the janitor's work, and waits for the look that is under way.
func (j *Janitor) Close() {
	j.mu.Lock()
	j.mu.closed = true
	j.mu.Unlock()
	j.Wait()
}

// Wait waits for the look that is under way, if any.
func (j *Janitor) Wait() { j.wg.Wait() }

// Clean frees what is over limit and a tenth more, least recently used first:
// data of layers that nobody has open, then spans of the others that were not
// read of late, then spans that were. Indexes stay.
func (j *Janitor) Clean(limit int64) {
	turn, err := j.turn()
	if turn == nil || err != nil {
		return
	}
	defer turn.Close()
	stored := j.cache.List()
	total := j.cache.incoming()
	for _, d := range stored {
		total += d.Data
	}
	if total <= limit {
		return
	}
	want := total - limit + limit/10
	for _, pass := range []func(Stored, int64) int64{j.cache.dropIdle, j.cache.dropUnread} {
		want -= dropped(stored, want, pass)
	}
	if freed := dropped(stored, want, j.cache.dropSpans); freed > 0 {
		j.tight.Do(func() {
			j.cache.log.Warn("the cache is too small: data that is being read is dropped and will be fetched again; --cache-size gives it more room", "size", limit)
		})
	}
}

// turn takes the lock of the process that frees room; nil if another one has it.
// Closing it gives it back.
func (j *Janitor) turn() (*flock.File, error) {
	lock, err := flock.Open(filepath.Join(j.cache.dir, CleanLock))
	if err != nil {
		return nil, err
	}
	if got, err := lock.TryLock(0, 1); !got || err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

// dropped runs pass over layers until want bytes are free, and returns how many it
// freed.
func dropped(stored []Stored, want int64, pass func(Stored, int64) int64) (freed int64) {
	for _, d := range stored {
		if freed < want {
			freed += pass(d, want-freed)
		}
	}
	return freed
}

// Outgrows reports whether a layer of n bytes is too large to be kept whole.
func (j *Janitor) Outgrows(n int64) bool {
	return j.size > 0 && n > j.size/4*3
}

// dropIdle removes the data of a layer that nobody has open.
func (c *Cache) dropIdle(d Stored, _ int64) (freed int64) {
	Alone(d.Dir, func(lock *flock.File) {
		for _, name := range spanfile.Names(d.Dir) {
			if err := spanfile.Remove(d.Dir, name, lock); err != nil {
				c.log.Warn("data stays in the cache", "directory", d.Dir, "error", err)
			}
		}
		freed = d.Data - dataOf(d.Dir)
	})
	return freed
}

func (c *Cache) dropUnread(d Stored, want int64) int64 { return c.Evict(d, want, false) }
func (c *Cache) dropSpans(d Stored, want int64) int64  { return c.Evict(d, want, true) }

// Evict drops spans of a layer that may be in use, up to want bytes of them, and
// returns how many bytes were freed. Spans that were read of late go only with force.
func (c *Cache) Evict(d Stored, want int64, force bool) (freed int64) {
	a, err := Look(d.Dir)
	if err != nil {
		return 0
	}
	defer a.Close()
	return a.Data.Evict(min(want, math.MaxInt64/2), force)
}
