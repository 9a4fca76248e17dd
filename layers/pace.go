package layers

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/peelfs/peelfs/internal/mapfault"
)

// longRoundTrip is from when on a round trip is worth guessing what comes next:
// a registry in the same house answers faster.
const longRoundTrip = 10 * time.Millisecond

// pace is how fast the source answers: the time until a request's first bytes,
// and the bytes a second after them on one connection. Both follow what was seen.
type pace struct {
	mu struct {
		sync.Mutex
		roundTrip time.Duration
		rate      float64
	}
}

// note learns from a request of n bytes.
func (p *pace) note(first, rest time.Duration, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.roundTrip += (first - p.mu.roundTrip) / 4
	if p.mu.rate == 0 {
		p.mu.roundTrip = first
	}
	if rate := float64(n) / max(rest, time.Millisecond).Seconds(); n >= minAhead/4 || p.mu.rate == 0 {
		p.mu.rate += (rate - p.mu.rate) / 2
	}
}

// worth is how many bytes cost as much as a round trip; 0 where round trips are
// short.
func (p *pace) worth() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.roundTrip < longRoundTrip {
		return 0
	}
	return min(int64(p.mu.roundTrip.Seconds()*p.mu.rate), maxAhead/2)
}

// stream is how long n bytes take when several connections bring them.
func (p *pace) stream(n int64) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.roundTrip + time.Duration(float64(n)/(fillers*max(p.mu.rate, 1))*float64(time.Second))
}

// readAhead follows how a layer is read, and guesses how much of what lies behind
// a missing span will be wanted. It grows while access is sequential, or while
// what it guessed is used, and shrinks when it is not.
type readAhead struct {
	next    int   // the span after the last run
	window  int64 // bytes of the blob to ask for beyond what is demanded
	guessed []int // spans that came with the last run without being demanded
	random  bool  // the last guess was wrong
}

// see notes that span first is missing and returns the window for it. worth is
// what a round trip costs, in bytes; used tells whether a span was read.
func (r *readAhead) see(first int, worth int64, used func(int) bool) int64 {
	hits := 0
	for _, i := range r.guessed {
		if used(i) {
			hits++
		}
	}
	right := len(r.guessed) > 0 && 4*hits >= len(r.guessed)
	switch {
	case first == r.next && first > 0:
		r.window, r.random = max(2*r.window, minAhead, worth), false
	case worth == 0:
		r.window = 0
	case right:
		r.window, r.random = 2*r.window, false
	case len(r.guessed) > 0:
		r.window, r.random = r.window/2, true
	case !r.random:
		r.window = worth
	}
	r.window = min(r.window, maxAhead)
	return r.window
}

// patience is the share of the time that the rest of a layer would take in one go
// for which callers wait span by span before it is fetched in one go.
const patience = 1. / 3

// pay notes how long a caller waited for a missing span. When patience ends, the
// rest of the layer comes: however a layer is read, the waiting costs little more
// than fetching it whole would have.
func (l *Layer) pay(ctx context.Context, a *acquired, waited time.Duration) {
	paid := time.Duration(l.paid.Add(int64(waited)))
	if l.store.pace.worth() == 0 || l.store.opt.IndexOnly || l.store.room.Outgrows(a.idx.Header().SpaceSize) {
		return
	}
	rest := a.idx.Header().BlobSize - l.presentInput(a)
	if paid.Seconds() < patience*l.store.pace.stream(rest).Seconds() || !l.filling.CompareAndSwap(false, true) {
		return
	}
	l.store.log.Info("the rest of a layer is fetched", "layer", l.name(), "bytes", rest, "waited", paid)
	l.crew.Run(ctx, func(ctx context.Context) {
		if err := mapfault.Catch(func() error { return l.fillRest(ctx, a) }); err != nil {
			l.paid.Store(0)
			l.filling.Store(false)
		}
	})
}

// fillRest brings what is missing, several requests at once.
func (l *Layer) fillRest(ctx context.Context, a *acquired) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(fillers)
	for first := 0; first < a.idx.Spans(); {
		from, to := first, portion(a.idx, first)
		g.Go(func() error { return mapfault.Catch(func() error { return l.bring(ctx, a, from, to) }) })
		first = to
	}
	return g.Wait()
}
