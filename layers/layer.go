package layers

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/flight"
	"github.com/peelfs/peelfs/internal/mapfault"
	"github.com/peelfs/peelfs/layers/cachedir"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/opened"
)

// Layer is one layer, lazily. Methods are safe for concurrent use.
//
// It is in one of these states, of which the disk holds the truth. Status calls
// open layers indexed, partial or complete, by how much of their data is here.
//
//	cold     -> indexing: a caller needs the index        (acquire)
//	indexing -> open:     the index is there and mapped   (current is set)
//	indexing -> cold:     it could not be made; the failure is remembered for
//	                      opened.FailureMemory, then the next caller tries anew
//	open     -> open:     its content is needed for the first time (use): from now
//	                      on it counts as used in the cache
//	open     -> open:     spans come and go, in any process
//	open     -> open:     another generation takes its place: the layer was proven
//	                      (promote), or there is room for it at last (settleAgain)
//	open     -> corrupt:  what a table of contents said of it was wrong
//	open     -> cold:     a file of it in the cache was cut short or cannot be
//	                      read (heal); that file is thrown away
//
// Invariant: the generation that current points to was verified when it was
// published and stays mapped until the Layer is closed, even when replaced.
type Layer struct {
	store *Store
	src   Source
	build *builder
	crew  *flight.Crew
	refs  int // references to the Layer; the Store's lock guards it

	opening   *flights[struct{}]
	promotion *flights[struct{}]

	current atomic.Pointer[opened.Layer]
	corrupt atomic.Pointer[error] // set when what readers were told turned out wrong
	whole   atomic.Bool           // somebody wants all of it: a ztoc would save nothing
	used    atomic.Bool           // somebody needs its content: looking at the cache is not enough
	count   opened.Counters
	err     atomic.Pointer[error] // of the last fetch, for Status

	mu struct {
		sync.Mutex
		old []*opened.Layer // forgotten or replaced, still in use
	}
}

// flights is work under way by key that has no value; failures are kept for
// opened.FailureMemory.
type flights[K comparable] = flight.Group[K, struct{}]

func newFlights[K comparable]() *flights[K] { return &flights[K]{KeepError: opened.FailureMemory} }

func newLayer(s *Store, src Source) *Layer {
	l := &Layer{store: s, src: src, crew: flight.NewCrew(), opening: newFlights[struct{}](), promotion: newFlights[struct{}]()}
	l.build = &builder{store: s, src: src, count: &l.count, whole: &l.whole, used: &l.used}
	return l
}

// Digest is the digest of the layer's blob, or "" while it is unknown.
func (l *Layer) Digest() digest.Digest {
	return l.build.digest()
}

// Index returns the layer's index and makes it if the cache does not have it,
// for which the layer may have to be read from its source. It stays valid until
// the Layer is released. A caller whose context ends leaves the work running for
// the others.
func (l *Layer) Index(ctx context.Context) (*index.Index, error) {
	a, err := l.acquire(ctx)
	if err != nil {
		return nil, err
	}
	return a.Index, nil
}

// ReadAt reads the content of the file with the given entry number into p, from
// byte off of the file on. It returns min(len(p), size-off) bytes, or an error:
// never less without one. Bytes that are not in the cache are fetched first. A
// caller whose context ends leaves the fetching running for the others.
func (l *Layer) ReadAt(ctx context.Context, entry uint32, p []byte, off int64) (n int, err error) {
	err = l.healing(func() error {
		n, err = l.readAt(ctx, entry, p, off)
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

func (l *Layer) readAt(ctx context.Context, entry uint32, p []byte, off int64) (int, error) {
	a, err := l.use(ctx)
	if err != nil {
		return 0, err
	}
	n, err := a.ReadAt(ctx, entry, p, off)
	if err != nil {
		return 0, fmt.Errorf("layer %s: %w", l.build.name(), err)
	}
	return n, nil
}

func (l *Layer) acquire(ctx context.Context) (*opened.Layer, error) {
	for {
		if err := l.corrupt.Load(); err != nil {
			return nil, *err
		}
		if a := l.current.Load(); a != nil && !a.Index.Cut() {
			l.settleAgain(ctx, a)
			return a, nil
		}
		l.heal()
		f, mine := l.opening.Join(struct{}{})
		if mine && !l.crew.Run(ctx, func(ctx context.Context) { f.End(struct{}{}, l.open(ctx)) }) {
			f.End(struct{}{}, errClosed())
		}
		if err := l.wait(ctx, f); err != nil {
			return nil, fmt.Errorf("layer %s: %w", l.build.name(), err)
		}
	}
}

// use is acquire for callers that need the layer's content: from the first of them
// on, the layer counts as used in the cache.
func (l *Layer) use(ctx context.Context) (*opened.Layer, error) {
	for {
		a, err := l.acquire(ctx)
		if err != nil {
			return nil, err
		}
		if ok, err := a.Use(); ok || err != nil {
			l.used.Store(true)
			return a, err
		}
		l.used.Store(true)
		l.retire(a)
	}
}

// retire takes a out of use, if it is not already. Callers that still use it may go
// on; the next one opens the layer anew.
func (l *Layer) retire(a *opened.Layer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current.CompareAndSwap(a, nil) {
		l.mu.old = append(l.mu.old, a)
	}
}

// wait counts the caller as waiting until f ends or ctx does.
func (l *Layer) wait(ctx context.Context, f *flight.Flight[struct{}]) error {
	l.count.Waiting.Add(1)
	defer l.count.Waiting.Add(-1)
	_, err := f.Wait(ctx)
	return err
}

// open sets l.current.
func (l *Layer) open(ctx context.Context) error {
	if l.current.Load() != nil {
		return nil // since the caller looked
	}
	var a *cachedir.Files
	err := mapfault.Catch(func() (err error) {
		a, err = l.build.openOrBuild(ctx)
		return err
	})
	l.note(err)
	if err == nil {
		l.current.Store(opened.New(a, l.host()))
	}
	return err
}

// host is what a generation of the layer needs of it.
func (l *Layer) host() opened.Host {
	return opened.Host{Shared: &l.store.shared, Name: l.build.name, Note: l.note, Count: &l.count, Crew: l.crew,
		ReadRange: l.src.Blob.ReadRange, Whole: l.build.openWhole}
}

// note keeps an error for Status, and forgets the one before when err is nil.
func (l *Layer) note(err error) {
	if err == nil {
		l.err.Store(nil)
		return
	}
	l.err.Store(&err)
}

// name is the layer's short name in messages.
func (b *builder) name() string {
	if b.src.Digest != "" {
		return b.src.Digest.String()
	}
	return b.src.Alias
}

func errClosed() error { return errkind.New(errkind.Canceled, "the layer cache is closed") }

func (l *Layer) close() error {
	l.crew.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	if a := l.current.Swap(nil); a != nil {
		err = a.Close()
	}
	for _, a := range l.mu.old {
		a.Close()
	}
	l.mu.old = nil
	return err
}
