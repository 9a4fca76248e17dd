package layers

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/flight"
	"github.com/peelfs/peelfs/internal/flock"
	"github.com/peelfs/peelfs/internal/mapfault"
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
//	open     -> cold:     a file of it in the cache was cut short or cannot be
//	                      read (heal); that file is thrown away
//
// Invariant: what acquired points to was verified when it was published and
// stays mapped until the Layer is closed, even when forgotten.
type Layer struct {
	store *Store
	src   Source
	crew  *flight.Crew

	opening   *flights[struct{}]
	promotion *flights[struct{}]

	acquired atomic.Pointer[acquired]
	broken   atomic.Pointer[error] // set when what readers were told turned out wrong
	whole    atomic.Bool           // somebody wants all of it: a ztoc would save nothing
	count    counters
	paid     atomic.Int64          // nanoseconds that callers waited for missing spans
	filling  atomic.Bool           // the rest is being fetched
	unkept   atomic.Pointer[error] // why the last span could not be written; nil if it could

	mu struct {
		sync.Mutex
		spans *flights[int] // spans under way, and recent failures
		ahead readAhead
		old   []*acquired // forgotten or replaced, still in use
	}
}

// failureMemory is how long a failed fetch stays failed. The kernel asks two or
// three times for one failed read; only the first shall pay for the attempt.
const failureMemory = time.Second

// pending is work that callers wait for and that has no value.
type pending = flight.Flight[struct{}]

// flights is such work by key; failures are kept for failureMemory.
type flights[K comparable] = flight.Group[K, struct{}]

func newFlights[K comparable]() *flights[K] { return &flights[K]{KeepError: failureMemory} }

// acquired is a layer whose index is known.
type acquired struct {
	dir  string
	idx  *index.Index
	data *spanfile.File
	lock *flock.File // holds the lease; nil while nothing is on disk

	again atomic.Int64 // when to look for room on the disk, Unix nanoseconds; 0: never
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
	l := &Layer{store: s, src: src, crew: flight.NewCrew(), opening: newFlights[struct{}](), promotion: newFlights[struct{}]()}
	l.mu.spans = newFlights[int]()
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
		if a := l.acquired.Load(); a != nil && !a.idx.Cut() {
			l.settleAgain(ctx, a)
			return a, nil
		}
		l.heal()
		f, mine := l.opening.Join(struct{}{})
		if mine && !l.crew.Run(ctx, func(ctx context.Context) { f.End(struct{}{}, l.open(ctx)) }) {
			f.End(struct{}{}, errClosed())
		}
		if err := l.wait(ctx, f); err != nil {
			return nil, fmt.Errorf("layer %s: %w", l.name(), err)
		}
	}
}

// wait counts the caller as waiting until f ends or ctx does.
func (l *Layer) wait(ctx context.Context, f *pending) error {
	l.count.waiting.Add(1)
	defer l.count.waiting.Add(-1)
	_, err := f.Wait(ctx)
	return err
}

// open sets l.acquired.
func (l *Layer) open(ctx context.Context) error {
	if l.acquired.Load() != nil {
		return nil // since the caller looked
	}
	var a *acquired
	err := mapfault.Catch(func() (err error) {
		a, err = l.make(ctx)
		return err
	})
	l.note(err)
	if err == nil {
		l.acquired.Store(a)
	}
	return err
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
	l.crew.Close()
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
	if a.lock != nil {
		err = cmp.Or(err, a.lock.Close())
	}
	return err
}

func (a *acquired) indexPath() string { return filepath.Join(a.dir, indexName) }
func (a *acquired) lockPath() string  { return filepath.Join(a.dir, lockName) }
