package fusefs

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// failures remembers for a moment where reads failed. After a failed read-ahead
// the kernel asks again for the page that a reader waits for, and after a failed
// page fault twice: each would pay the whole budget anew.
type failures struct {
	count atomic.Int64 // len(mu.at), so that a healthy mount takes no lock
	mu    struct {
		sync.Mutex
		at map[place]failure
	}
}

// place is a stretch of 1 MiB of a file, the usual reach of a fetch.
type place struct {
	node  uint64
	block int64
}

type failure struct {
	status fuse.Status
	until  time.Time
}

const (
	failureTime = time.Second
	maxFailures = 1024
)

func placeOf(node uint64, off int64) place { return place{node, off >> 20} }

// recall is how a read at off failed less than failureTime ago, or OK.
func (f *failures) recall(node uint64, off int64, now func() time.Time) fuse.Status {
	if f.count.Load() == 0 {
		return fuse.OK
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if e, ok := f.mu.at[placeOf(node, off)]; ok && now().Before(e.until) {
		return e.status
	}
	return fuse.OK
}

// record remembers a failure. Old ones are dropped when there are many, and all
// of them when that is not enough.
func (f *failures) record(node uint64, off int64, status fuse.Status, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.mu.at) >= maxFailures {
		for p, e := range f.mu.at {
			if !now.Before(e.until) {
				delete(f.mu.at, p)
			}
		}
	}
	if f.mu.at == nil || len(f.mu.at) >= maxFailures {
		f.mu.at = map[place]failure{}
	}
	f.mu.at[placeOf(node, off)] = failure{status, now.Add(failureTime)}
	f.count.Store(int64(len(f.mu.at)))
}

// forgive forgets a failure, after a read that went well.
func (f *failures) forgive(node uint64, off int64) {
	if f.count.Load() == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.mu.at, placeOf(node, off))
	f.count.Store(int64(len(f.mu.at)))
}
