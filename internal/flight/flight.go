// Package flight lets several callers share one piece of work: one of them does
// it, or starts it, and all get its result.
//
// One rule says what happens when a caller gives up, that is, when its context
// ends. A caller that waits leaves, and the work goes on. A caller that does the
// work itself (Group.Do) may fail because it gave up; that failure is its own, and
// one of those that wait does the work anew, or the next one that comes. Every other failure is for all that
// wait, and for those that come during the Group's KeepError after it.
package flight

import (
	"context"
	"sync"
	"time"
)

// Forever is a duration for Group's fields: a result that is never forgotten.
const Forever time.Duration = 1<<63 - 1

// Flight is one piece of work that ends once, with a value or an error. Methods
// are safe for concurrent use.
//
//	under way -> ended      End
//	under way -> left       the caller of Do that did the work gave up
//	left      -> under way  another caller of Do goes on with it
type Flight[T any] struct {
	left chan struct{} // has one element while the work is left
	done chan struct{} // closed after the fields below are set

	value T
	err   error
	ended time.Time
}

// New returns a flight that is under way. Its maker calls End.
func New[T any]() *Flight[T] {
	return &Flight[T]{left: make(chan struct{}, 1), done: make(chan struct{})}
}

// End gives the flight its result and wakes those that wait for it. It must be
// called once.
func (f *Flight[T]) End(value T, err error) {
	f.value, f.err, f.ended = value, err, time.Now()
	close(f.done)
}

// Wait returns the flight's result, or the cause of ctx's end if that comes first;
// the flight goes on then.
func (f *Flight[T]) Wait(ctx context.Context) (T, error) {
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// Running reports whether the flight has not ended.
func (f *Flight[T]) Running() bool {
	select {
	case <-f.done:
		return false
	default:
		return true
	}
}

// Group is the work under way for each key, and its results for as long as they
// are kept. The zero Group keeps no results: it only shares what is under way.
// Methods are safe for concurrent use; the fields are set before the first call.
type Group[K comparable, T any] struct {
	KeepValue time.Duration // how long a value answers callers that come later
	KeepError time.Duration // how long an error does

	mu struct {
		sync.Mutex
		flights map[K]*Flight[T]
		sweepAt int // number of flights at which those that are over are removed
	}
}

// Do returns what fn returns for key. Of several callers that come while the work
// is under way, the first one runs fn, in its own goroutine and with its own ctx;
// the others wait. A result that is still kept is returned at once.
func (g *Group[K, T]) Do(ctx context.Context, key K, fn func(context.Context) (T, error)) (value T, err error) {
	f, mine := g.Join(key)
	if !mine {
		select {
		case <-f.left:
		case <-f.done:
			return f.value, f.err
		case <-ctx.Done():
			return value, context.Cause(ctx)
		}
	}
	return lead(ctx, f, fn)
}

// lead runs fn and ends f with its result. It leaves f to others if there is none
// for them: fn panics, or it fails and the caller's context has ended.
func lead[T any](ctx context.Context, f *Flight[T], fn func(context.Context) (T, error)) (value T, err error) {
	returned := false
	defer func() {
		if !returned || err != nil && ctx.Err() != nil {
			f.left <- struct{}{}
		} else {
			f.End(value, err)
		}
	}()
	value, err = fn(ctx)
	returned = true
	return value, err
}

// Join returns the flight for key that is under way or whose result is kept. If
// there is none it returns a new one with mine set, which the caller must End.
func (g *Group[K, T]) Join(key K) (f *Flight[T], mine bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f := g.mu.flights[key]; f != nil && !g.over(f) {
		return f, false
	}
	if g.mu.flights == nil {
		g.mu.flights = map[K]*Flight[T]{}
	}
	g.sweep()
	f = New[T]()
	g.mu.flights[key] = f
	return f, true
}

// Running reports whether work for key is under way.
func (g *Group[K, T]) Running(key K) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := g.mu.flights[key]
	return f != nil && f.Running() && len(f.left) == 0
}

// Has reports whether work for key is under way or its result is kept.
func (g *Group[K, T]) Has(key K) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := g.mu.flights[key]
	return f != nil && !g.over(f)
}

// over reports whether f is no answer to callers that come now.
func (g *Group[K, T]) over(f *Flight[T]) bool {
	if f.Running() {
		return false
	}
	keep := g.KeepValue
	if f.err != nil {
		keep = g.KeepError
	}
	return time.Since(f.ended) >= keep
}

// sweep removes what is over when the flights have doubled in number since the
// last time, so that the map stays in proportion to what it is good for.
func (g *Group[K, T]) sweep() {
	const least = 32
	if len(g.mu.flights) < max(least, g.mu.sweepAt) {
		return
	}
	for key, f := range g.mu.flights {
		if g.over(f) || len(f.left) > 0 {
			delete(g.mu.flights, key)
		}
	}
	g.mu.sweepAt = 2 * len(g.mu.flights)
}
