package layers

import (
	"context"
	"time"

	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/spanfile"
)

// How much is asked for at once, in bytes of the blob.
const (
	maxRun     = 16 << 20  // one request
	maxGap     = 64 << 10  // bytes nobody asked for that are cheaper than a second request
	smallLayer = 256 << 10 // the rest of a layer that is taken whole
	minAhead   = 1 << 20   // read-ahead starts with this once access is sequential
	maxAhead   = 8 << 20   // and doubles up to this
)

// tooLarge reports whether a span cannot be decoded in memory: then the layer is
// decoded from its start, straight to the disk.
func tooLarge(s index.Span) bool { return s.OutLen > maxHeld || s.InLen > maxHeld }

// ensure sees to it that each span first <= i < last was on disk or in memory at
// some time during the call.
func (l *Layer) ensure(ctx context.Context, a *acquired, first, last int) error {
	for i := first; i < last; i++ {
		if l.here(a, i) {
			continue
		}
		from := time.Now()
		if err := l.wait(ctx, l.fetching(ctx, a, i, last)); err != nil {
			return err
		}
		l.pay(ctx, a, time.Since(from))
	}
	return nil
}

func (l *Layer) here(a *acquired, i int) bool {
	return a.data.Has(i) || l.store.held.get(heldKey{a, i}) != nil
}

// fetching is the flight that brings span i; it is started if there is none,
// together with those of the missing spans up to last that follow it, and with
// what is read ahead.
func (l *Layer) fetching(ctx context.Context, a *acquired, i, last int) *pending {
	l.mu.Lock()
	defer l.mu.Unlock()
	f, mine := l.mu.spans.Join(i)
	if !mine {
		return f
	}
	r := l.plan(a, i, last)
	for _, j := range r.spans {
		r.flights[j] = f
		if j != i {
			r.flights[j], _ = l.mu.spans.Join(j)
		}
	}
	if !l.crew.Run(ctx, func(ctx context.Context) { l.fetch(ctx, r) }) {
		r.landAll(errClosed())
	}
	return f
}

// run is one request for spans and the flights that it ends.
type run struct {
	a       *acquired
	spans   []int // ascending, in the address space and in the blob
	flights map[int]*pending
	held    map[int]*spanfile.Held // locks of spans that have not landed
	guessed []int                  // those of spans that nobody demanded
	end     int64                  // of the last span in the blob
	size    int64                  // bytes of the blob
}

func newRun(a *acquired) *run {
	return &run{a: a, flights: map[int]*pending{}, held: map[int]*spanfile.Held{}}
}

// takes reports whether s, the next missing span, can come with the request.
func (r *run) takes(s index.Span) bool {
	if len(r.spans) == 0 {
		return true
	}
	prev := r.a.idx.Span(r.spans[len(r.spans)-1])
	if s.In == prev.In && s.InLen == prev.InLen {
		return true
	}
	return s.In >= r.end-1 && s.In-r.end <= maxGap && r.size+s.InLen <= maxRun
}

func (r *run) add(i int, s index.Span) {
	r.spans = append(r.spans, i)
	if s.In+s.InLen > r.end || len(r.spans) == 1 {
		r.end = s.In + s.InLen
		r.size += s.InLen
	}
}

// land ends the flight of span i, which is there now, and gives its lock back.
func (r *run) land(i int) {
	r.held[i].Release()
	delete(r.held, i)
	if f := r.flights[i]; f != nil {
		delete(r.flights, i)
		f.End(struct{}{}, nil)
	}
}

// landAll fails the flights that have not ended.
func (r *run) landAll(err error) {
	for i, f := range r.flights {
		delete(r.flights, i)
		f.End(struct{}{}, err)
	}
}

// plan chooses the spans to ask for with span i, of which those before last are
// demanded. The caller holds l.mu.
func (l *Layer) plan(a *acquired, i, last int) *run {
	r := newRun(a)
	if s := a.idx.Span(i); tooLarge(s) {
		r.add(i, s)
		return r
	}
	from, to := l.reach(a, i, last)
	for j := from; j < to; j++ {
		s := a.idx.Span(j)
		if j != i && (tooLarge(s) || l.here(a, j) || l.mu.spans.Has(j)) {
			continue
		}
		if !r.takes(s) {
			if j > i {
				break
			}
			r = newRun(a) // what came so far is too far in front of i
		}
		r.add(j, s)
	}
	l.mu.ahead.next = r.spans[len(r.spans)-1] + 1
	l.mu.ahead.guessed = nil
	for _, j := range r.spans {
		if j < i || j >= max(i+1, last) {
			l.mu.ahead.guessed = append(l.mu.ahead.guessed, j)
		}
	}
	r.guessed = l.mu.ahead.guessed
	return r
}

// reach is the range of spans among which plan chooses: what is demanded, what
// shares its bytes of the blob, what is read ahead; or all if little is missing.
func (l *Layer) reach(a *acquired, i, last int) (from, to int) {
	n := a.idx.Spans()
	if l.restIsSmall(a) {
		return 0, n
	}
	from, to = i, max(i+1, last)
	for from > 0 && a.idx.Span(from-1).In == a.idx.Span(i).In {
		from--
	}
	for to < n && a.idx.Span(to).In == a.idx.Span(to-1).In {
		to++
	}
	for ahead := l.mu.ahead.see(i, l.store.pace.worth(), a.data.Used); to < n && ahead > 0; to++ {
		ahead -= a.idx.Span(to).InLen
	}
	return from, to
}

// restIsSmall reports whether all that is missing of the layer costs less than
// another round trip or two.
func (l *Layer) restIsSmall(a *acquired) bool {
	return a.idx.Header().BlobSize-l.presentInput(a) <= smallLayer
}

// presentInput estimates the bytes of the blob whose output is present.
func (l *Layer) presentInput(a *acquired) int64 {
	n := a.data.Len()
	if n == 0 {
		return 0
	}
	return a.idx.Header().BlobSize * int64(a.data.Present()) / int64(n)
}
