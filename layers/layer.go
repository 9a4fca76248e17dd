package layers

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/flock"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/spanfile"
)

// Layer is one layer, lazily. Methods are safe for concurrent use.
//
// It is in one of these states, of which the disk holds the truth:
//
//	cold     -> indexing: somebody needs the index        (acquire)
//	indexing -> open:     the index is there and mapped   (acquired is set)
//	indexing -> cold:     it could not be made; the failure is remembered for
//	                      failureMemory, then the next caller tries anew
//	open     -> open:     spans come (fill) and go (evict), in any process
//	open     -> open:     the same layer, proven (promote)
//	open     -> broken:   what a table of contents said of it was wrong
//	open     -> cold:     the cached bytes contradict the index (forget); the
//	                      index is thrown away
//
// Invariant: what acquired points to was verified when it was published and
// stays mapped until the Layer is closed, even when forgotten.
type Layer struct {
	store *Store
	src   Source
	crew  *crew

	acquired atomic.Pointer[acquired]
	broken   atomic.Pointer[error] // set when what readers were told turned out wrong
	whole    atomic.Bool           // somebody wants all of it: a ztoc would save nothing
	count    counters
	paid     atomic.Int64          // nanoseconds that callers waited for missing spans
	filling  atomic.Bool           // the rest is being fetched
	unkept   atomic.Pointer[error] // why the last span could not be written; nil if it could

	mu struct {
		sync.Mutex
		opening   *flight
		promotion *flight
		spans     map[int]*flight // spans under way, and recent failures
		ahead     readAhead
		old       []*acquired // forgotten or replaced, still in use
	}
}

// acquired is a layer whose index is known.
type acquired struct {
	dir  string
	idx  *index.Index
	data *spanfile.File
	lock *flock.File // holds the lease
}

// counters are what Status tells beside the state of the disk.
type counters struct {
	fetched  atomic.Int64 // bytes that came from the blob in this process
	asked    atomic.Int64 // bytes of files that readers got in this process
	requests atomic.Int64 // ranges and streams asked of the blob
	waiting  atomic.Int64 // callers that wait for bytes now
	err      atomic.Pointer[error]
}

func newLayer(s *Store, src Source) *Layer {
	l := &Layer{store: s, src: src, crew: newCrew()}
	l.mu.spans = map[int]*flight{}
	return l
}

// Digest is the digest of the layer's blob, or "" while it is unknown.
func (l *Layer) Digest() digest.Digest {
	if l.src.Digest != "" {
		return l.src.Digest
	}
	return l.store.Learned(l.src.Alias)
}

// Index returns the layer's index and makes it if the cache does not have it,
// for which the layer may have to be read from its source. It stays valid until
// the Store is closed. A caller whose context ends leaves the work running for
// the others.
func (l *Layer) Index(ctx context.Context) (*index.Index, error) {
	a, err := l.acquire(ctx)
	if err != nil {
		return nil, err
	}
	return a.idx, nil
}

func (l *Layer) acquire(ctx context.Context) (*acquired, error) {
	for {
		if err := l.broken.Load(); err != nil {
			return nil, *err
		}
		if a := l.acquired.Load(); a != nil {
			return a, nil
		}
		if err := l.wait(ctx, l.opening(ctx)); err != nil {
			return nil, fmt.Errorf("layer %s: %w", l.name(), err)
		}
	}
}

// wait counts the caller as waiting until f ends or ctx does.
func (l *Layer) wait(ctx context.Context, f *flight) error {
	l.count.waiting.Add(1)
	defer l.count.waiting.Add(-1)
	return f.wait(ctx)
}

// opening is the flight that makes the layer open; it is started if there is
// none.
func (l *Layer) opening(ctx context.Context) *flight {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.mu.opening; f != nil && !f.stale() {
		return f
	}
	f := newFlight()
	if l.acquired.Load() != nil {
		f.end(nil)
		return f
	}
	l.mu.opening = f
	if !l.crew.run(ctx, func(ctx context.Context) { l.open(ctx, f) }) {
		f.end(errClosed())
	}
	return f
}

func (l *Layer) open(ctx context.Context, f *flight) {
	a, err := l.make(ctx)
	l.note(err)
	if err == nil {
		l.mu.Lock()
		l.acquired.Store(a)
		l.mu.opening = nil
		l.mu.Unlock()
	}
	f.end(err)
}

// forget takes a layer out of use whose cached bytes contradict its index. The
// next caller makes it again; who still uses the old one may go on.
func (l *Layer) forget(a *acquired, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.acquired.CompareAndSwap(a, nil) {
		return
	}
	l.store.log.Error("cached layer is wrong and is thrown away", "layer", l.name(), "error", why)
	l.note(why)
	l.mu.old = append(l.mu.old, a)
	if err := removeIfThere(a.indexPath()); err != nil {
		l.store.log.Error("wrong index stays", "layer", l.name(), "error", err)
	}
}

// note keeps an error for Status, and forgets the one before when err is nil.
func (l *Layer) note(err error) {
	if err == nil {
		l.count.err.Store(nil)
		return
	}
	l.count.err.Store(&err)
}

// name is the layer's short name in messages.
func (l *Layer) name() string {
	if l.src.Digest != "" {
		return l.src.Digest.String()
	}
	return l.src.Alias
}

func errClosed() error { return errkind.New(errkind.Canceled, "the layer cache is closed") }

func (l *Layer) close() error {
	l.crew.close()
	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	if a := l.acquired.Swap(nil); a != nil {
		err = a.close()
	}
	for _, a := range l.mu.old {
		a.close()
	}
	l.mu.old = nil
	return err
}

func (a *acquired) close() error {
	err := a.data.Close()
	if e := a.idx.Close(); err == nil {
		err = e
	}
	if e := a.lock.Close(); err == nil {
		err = e
	}
	return err
}

func (a *acquired) indexPath() string { return filepath.Join(a.dir, indexName) }
func (a *acquired) lockPath() string  { return filepath.Join(a.dir, lockName) }
