package opened

import (
	"context"
	"time"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/spanfile"
)

// How much is asked for at once, in bytes of the blob.
const (
	maxRun     = 16 << 20  // one request
	maxGap     = 64 << 10  // bytes nobody asked for that are cheaper than a second request
	SmallLayer = 256 << 10 // the rest of a layer that is taken whole
	minAhead   = 1 << 20   // read-ahead starts with this once access is sequential
	maxAhead   = 8 << 20   // and doubles up to this
)

// TooLarge reports whether a span cannot be decoded in memory: then the layer is
// decoded from its start, straight to the disk.
func TooLarge(s index.Span) bool { return s.OutLen > maxMemory || s.InLen > maxMemory }

// ensure sees to it that each span first <= i < last was on disk or in memory at
// some time during the call.
// Of spans that are too large for memory that holds for the window at off.
func (l *Layer) ensure(ctx context.Context, first, last int, off int64) error {
	for i := first; i < last; i++ {
		if l.here(i, off) {
			continue
		}
		from := time.Now()
		if err := l.wait(ctx, l.fetching(ctx, i, last, off)); err != nil {
			return err
		}
		l.NoteWait(ctx, time.Since(from))
	}
	return nil
}

// here reports whether span i is on disk or, as far as byte off needs it, in memory.
func (l *Layer) here(i int, off int64) bool {
	if l.Data.Has(i) {
		return true
	}
	b, _ := l.inMemory(i, off)
	return b != nil
}

// fetching is the flight that brings span i; it is started if there is none,
// together with those of the missing spans up to last that follow it, and with
// what is read ahead.
func (l *Layer) fetching(ctx context.Context, i, last int, off int64) *pending {
	l.mu.Lock()
	defer l.mu.Unlock()
	f, mine := l.mu.spans.Join(i)
	if !mine {
		return f
	}
	r := l.plan(i, last)
	r.off = off
	for _, j := range r.spans {
		r.flights[j] = f
		if j != i {
			r.flights[j], _ = l.mu.spans.Join(j)
		}
	}
	if !l.host.Crew.Run(ctx, func(ctx context.Context) { l.fetch(ctx, r) }) {
		r.landAll(errkind.New(errkind.Canceled, "the layer cache is closed"))
	}
	return f
}

// request is one request for spans and the flights that it ends.
type request struct {
	layer   *Layer
	spans   []int // ascending, in the address space and in the blob
	flights map[int]*pending
	held    map[int]*spanfile.Held // locks of spans that have not landed
	off     int64                  // of the address space, where the demand begins
	guessed []int                  // those of spans that nobody demanded
	end     int64                  // of the last span in the blob
	size    int64                  // bytes of the blob
}

func newRequest(l *Layer) *request {
	return &request{layer: l, flights: map[int]*pending{}, held: map[int]*spanfile.Held{}}
}

// takes reports whether s, the next missing span, can come with the request.
func (r *request) takes(s index.Span) bool {
	if len(r.spans) == 0 {
		return true
	}
	prev := r.layer.Index.Span(r.spans[len(r.spans)-1])
	if s.In == prev.In && s.InLen == prev.InLen {
		return true
	}
	return s.In >= r.end-1 && s.In-r.end <= maxGap && r.size+s.InLen <= maxRun
}

func (r *request) add(i int, s index.Span) {
	r.spans = append(r.spans, i)
	if s.In+s.InLen > r.end || len(r.spans) == 1 {
		r.end = s.In + s.InLen
		r.size += s.InLen
	}
}

// land ends the flight of span i, which is there now, and gives its lock back.
func (r *request) land(i int) {
	r.held[i].Release()
	delete(r.held, i)
	if f := r.flights[i]; f != nil {
		delete(r.flights, i)
		f.End(struct{}{}, nil)
	}
}

// landAll fails the flights that have not ended.
func (r *request) landAll(err error) {
	for i, f := range r.flights {
		delete(r.flights, i)
		f.End(struct{}{}, err)
	}
}

// plan chooses the spans to ask for with span i, of which those before last are
// demanded. The caller holds l.mu.
func (l *Layer) plan(i, last int) *request {
	r := newRequest(l)
	if s := l.Index.Span(i); TooLarge(s) {
		r.add(i, s)
		return r
	}
	from, to := l.reach(i, last)
	for j := from; j < to; j++ {
		s := l.Index.Span(j)
		if j != i && (TooLarge(s) || l.here(j, 0) || l.mu.spans.Has(j)) {
			continue
		}
		if !r.takes(s) {
			if j > i {
				break
			}
			r = newRequest(l) // what came so far is too far in front of i
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
func (l *Layer) reach(i, last int) (from, to int) {
	n := l.Index.Spans()
	if l.restIsSmall() {
		return 0, n
	}
	from, to = i, max(i+1, last)
	for from > 0 && l.Index.Span(from-1).In == l.Index.Span(i).In {
		from--
	}
	for to < n && l.Index.Span(to).In == l.Index.Span(to-1).In {
		to++
	}
	for ahead := l.mu.ahead.see(i, l.host.Pace.roundTripBytes(), l.Data.Used); to < n && ahead > 0; to++ {
		ahead -= l.Index.Span(to).InLen
	}
	return from, to
}

// restIsSmall reports whether all that is missing of the layer costs less than
// another round trip or two.
func (l *Layer) restIsSmall() bool {
	return l.Index.Header().BlobSize-l.presentInput() <= SmallLayer
}

// presentInput estimates the bytes of the blob whose output is present.
func (l *Layer) presentInput() int64 {
	n := l.Data.Len()
	if n == 0 {
		return 0
	}
	return l.Index.Header().BlobSize * int64(l.Data.Present()) / int64(n)
}
