package transport

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Race runs main. If that has not returned after patience, rival runs beside it;
// the first that returns nil wins. abort makes main return after it has lost, and
// the context of rival ends when that has lost. Race returns when both have, and
// reports whether rival won; the error is main's. A loser that had a result after
// all is the caller's to discard.
func Race(ctx context.Context, patience time.Duration, main func() error, abort func(), rival func(ctx context.Context) error) (rivalWon bool, err error) {
	const (
		open = iota
		mainFirst
		rivalFirst
	)
	var winner atomic.Int32
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	timer := time.AfterFunc(patience, func() {
		defer close(done)
		if rival(ctx) == nil && winner.CompareAndSwap(open, rivalFirst) {
			abort()
		}
	})
	err = main()
	if timer.Stop() {
		return false, err
	}
	if err == nil && winner.CompareAndSwap(open, mainFirst) {
		cancel()
	}
	<-done
	return winner.Load() == rivalFirst, err
}

type freshKey struct{}

// Fresh makes requests use a connection of their own: what has gone silent may
// have taken the idle connections with it.
func Fresh(ctx context.Context) context.Context { return context.WithValue(ctx, freshKey{}, true) }

func isFresh(ctx context.Context) bool { return ctx.Value(freshKey{}) != nil }

// road remembers how long a host lets one wait. It is safe for concurrent use.
type road struct {
	mu struct {
		sync.Mutex
		since     time.Time     // the current period began
		now, last time.Duration // the longest wait of this period, and of the one before
	}
}

const (
	roadPeriod = time.Minute
	oddWait    = 4 // times the longest recent wait: a silence that long is no pause of this road
)

// note remembers a wait that ended well.
func (r *road) note(wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch age := time.Since(r.mu.since); {
	case age > 2*roadPeriod:
		r.mu.last, r.mu.now, r.mu.since = 0, 0, time.Now()
	case age > roadPeriod:
		r.mu.last, r.mu.now, r.mu.since = r.mu.now, 0, time.Now()
	}
	r.mu.now = max(r.mu.now, wait)
}

// longest is the longest wait of late.
func (r *road) longest() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(r.mu.now, r.mu.last)
}

// Patience is how long host may be silent before something is likely to be wrong
// with the connection: a few seconds, or longer if the host has often taken its
// time lately.
func (t *Transport) Patience(host string) time.Duration {
	return max(t.opt.Patience, oddWait*t.road(host).longest())
}

func (t *Transport) road(host string) *road {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.mu.roads[host]
	if r == nil {
		r = &road{}
		t.mu.roads[host] = r
	}
	return r
}
