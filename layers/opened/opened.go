// Package opened reads one layer by one index of it.
//
// A Layer here is one generation of a layers.Layer: an index, the data that lies
// by it, and everything that counts in spans of that index: which of them are on
// their way, which were read ahead, which are in memory. When a layer gets another
// index, it gets another generation, and the old one serves those that still read
// by it.
//
// Invariant: no byte is given to a reader before a checksum of it, or of what it
// was decoded from, was compared.
package opened

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peelfs/peelfs/internal/flight"
	"github.com/peelfs/peelfs/internal/mapfault"
	"github.com/peelfs/peelfs/layers/cachedir"
	"github.com/peelfs/peelfs/layers/spanfile"
)

// Layer is a layer whose index is known. Methods are safe for concurrent use.
type Layer struct {
	*cachedir.Files
	host Host

	waited  atomic.Int64          // nanoseconds that callers waited for missing spans
	filling atomic.Bool           // the rest is being fetched
	unkept  atomic.Pointer[error] // why the last span could not be written; nil if it could
	again   atomic.Int64          // when to look for room on the disk, Unix nanoseconds; 0: never

	mu struct {
		sync.Mutex
		spans *flight.Group[int, struct{}] // spans under way, and recent failures
		ahead readAhead
	}
}

// Host is what a Layer needs of the layer that it is a generation of. All of it
// outlives the Layer.
type Host struct {
	*Shared
	Name  func() string // in messages
	Note  func(error)   // keeps the outcome of the last fetch for people to see
	Count *Counters
	Crew  *flight.Crew // runs what outlives the call that started it

	// ReadRange opens a part of the blob, as layers.Blob does; Whole opens all of
	// it, from its first byte.
	ReadRange func(ctx context.Context, off, n int64) (body io.ReadCloser, at int64, err error)
	Whole     func(ctx context.Context) (io.ReadCloser, error)
}

// Shared is what all layers of a store have in common.
type Shared struct {
	Log       *slog.Logger
	Memory    *Memcache
	Pace      *Pace
	Room      Room
	IndexOnly bool // no span is written to the disk

	// RoomAgain is how long a layer of which nothing can be kept waits before it
	// looks for room on the disk again.
	RoomAgain time.Duration
}

// Room looks after the disk that data is written to.
type Room interface {
	Used(n int64)                      // n bytes were written
	Outgrows(n int64) bool             // a layer of n bytes is too large to be kept whole
	MakeRoom(write func() error) error // runs write, and again while room can be made for it
}

// Counters are what became of a layer in this process.
type Counters struct {
	Fetched  atomic.Int64 // bytes that came from the blob
	Asked    atomic.Int64 // bytes of files that readers got
	Requests atomic.Int64 // ranges and streams asked of the blob
	Waiting  atomic.Int64 // callers that wait for bytes now
}

// FailureMemory is how long a failed fetch stays failed. The kernel asks two or
// three times for one failed read; only the first shall pay for the attempt.
const FailureMemory = time.Second

// pending is work that callers wait for and that has no value.
type pending = flight.Flight[struct{}]

// New returns a Layer of the files, which it owns from now on.
func New(f *cachedir.Files, h Host) *Layer {
	l := &Layer{Files: f, host: h}
	l.Forget()
	if f.Unkept != nil {
		l.again.Store(time.Now().Add(h.RoomAgain).UnixNano())
		l.cannotKeep(f.Unkept)
	}
	return l
}

// Close closes the layer's files and gives back its memory. Nobody may use it.
func (l *Layer) Close() error {
	l.host.Memory.forget(l)
	return l.Files.Close()
}

// RoomDue reports, to one caller, that it is time to look whether the layer can be
// kept after all.
func (l *Layer) RoomDue() bool {
	next, now := l.again.Load(), time.Now()
	return next != 0 && now.UnixNano() >= next && l.again.CompareAndSwap(next, now.Add(l.host.RoomAgain).UnixNano())
}

// Forget makes the next readers ask anew for spans whose fetching has failed.
func (l *Layer) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.spans = &flight.Group[int, struct{}]{KeepError: FailureMemory}
}

// wait counts the caller as waiting until f ends or ctx does.
func (l *Layer) wait(ctx context.Context, f *pending) error {
	l.host.Count.Waiting.Add(1)
	defer l.host.Count.Waiting.Add(-1)
	_, err := f.Wait(ctx)
	return err
}

// Unkept is why the last span that came could not be written to the disk; nil if
// it could, or if all spans are there.
func (l *Layer) Unkept() error {
	if why := l.unkept.Load(); why != nil && !l.Data.Complete() {
		return *why
	}
	return nil
}

// cannotKeep notes that nothing, or not the last span, can be written, and why.
func (l *Layer) cannotKeep(why error) {
	if l.unkept.Swap(&why) == nil { // said once, until there is room again
		l.host.Log.Warn("the cache cannot take a span; it stays in memory", "layer", l.host.Name(), "error", why)
	}
}

// IsDamage reports whether err comes from the cache's own files.
func IsDamage(err error) bool {
	return mapfault.Is(err) || errors.Is(err, spanfile.ErrDamaged)
}
