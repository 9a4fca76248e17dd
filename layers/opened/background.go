package opened

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/peelfs/peelfs/internal/mapfault"
	"github.com/peelfs/peelfs/layers/index"
)

// fillers is how many requests Fill has under way.
const fillers = 6

// fillShare is the share of the time that the rest of a layer would take in one go
// for which callers wait span by span before it is fetched in one go.
const fillShare = 1. / 3

// NoteWait adds a caller's wait for a missing span. Once the sum passes fillShare of
// the estimated time for the rest of the layer, that is fetched in the background:
// however a layer is read, the waiting costs little more than fetching it whole
// would have.
func (l *Layer) NoteWait(ctx context.Context, waited time.Duration) {
	sum := time.Duration(l.waited.Add(int64(waited)))
	if l.host.Pace.roundTripBytes() == 0 || l.host.IndexOnly || l.Data.IsReadOnly() || l.Data.IsNowhere() || l.host.Room.Outgrows(l.Index.Header().SpaceSize) {
		return
	}
	rest := l.Index.Header().BlobSize - l.presentInput()
	if sum.Seconds() < fillShare*l.host.Pace.stream(rest).Seconds() || !l.filling.CompareAndSwap(false, true) {
		return
	}
	l.host.Log.Info("the rest of a layer is fetched", "layer", l.host.Name(), "bytes", rest, "waited", sum)
	l.host.Crew.Run(ctx, func(ctx context.Context) {
		if err := mapfault.Catch(func() error { return l.Fill(ctx) }); err != nil {
			l.waited.Store(0)
			l.filling.Store(false)
		}
	})
}

// Fill brings what is missing, several requests at once.
func (l *Layer) Fill(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(fillers)
	for first := 0; first < l.Index.Spans(); {
		from, to := first, portion(l.Index, first)
		g.Go(func() error { return mapfault.Catch(func() error { return l.bring(ctx, from, to) }) })
		first = to
	}
	return g.Wait()
}

// Background brings the first n spans, one request at a time, and only while nobody
// waits for the layer.
func (l *Layer) Background(ctx context.Context, n int) error {
	for first := 0; first < n; {
		for l.host.Count.Waiting.Load() > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(10 * time.Millisecond):
			}
		}
		last := min(n, portion(l.Index, first))
		if err := l.bring(ctx, first, last); err != nil {
			return err
		}
		first = last
	}
	return nil
}

// bring is ensure for nobody who waits.
func (l *Layer) bring(ctx context.Context, first, last int) error {
	for i := first; i < last; i++ {
		if l.here(i, 0) {
			continue
		}
		if _, err := l.fetching(ctx, i, last, 0).Wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// portion is the end of the spans from first on that make up one request.
func portion(x *index.Index, first int) int {
	size, last := x.Span(first).InLen, first+1
	for last < x.Spans() && size+x.Span(last).InLen <= maxRun {
		size += x.Span(last).InLen
		last++
	}
	return last
}
