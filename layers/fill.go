package layers

import (
	"context"

	"github.com/peelfs/peelfs/internal/mapfault"
	"github.com/peelfs/peelfs/layers/cachedir"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/opened"
	"github.com/peelfs/peelfs/layers/toc"
)

// Prefetch brings what the maker of an eStargz layer marked as needed at once:
// the files in front of its landmark. It works below demand: it stops while
// anybody waits for the layer. Layers without a landmark are left alone, and not
// even their index is got; so are all where the cache cannot be written.
func (l *Layer) Prefetch(ctx context.Context) error {
	if !toc.Announced(l.src.Annotations) || l.store.Writable() != nil {
		return nil
	}
	return l.healing(func() error {
		a, err := l.use(ctx)
		if err != nil {
			return err
		}
		return a.Background(ctx, a.Landmark())
	})
}

// FillInBackground brings the whole layer as Fill does, but below demand. It does
// nothing where the cache cannot be written.
func (l *Layer) FillInBackground(ctx context.Context) error {
	if l.store.Writable() != nil {
		return nil
	}
	return l.healing(func() error {
		a, err := l.use(ctx)
		if err != nil {
			return err
		}
		return a.Background(ctx, a.Index.Spans())
	})
}

// Fill brings the whole layer into the cache; where that has no room for it the
// error is of kind LocalFull. One that was only listed by a table
// is read in one stream, which proves it.
func (l *Layer) Fill(ctx context.Context) error {
	l.whole.Store(true)
	return l.healing(func() error { return l.fill(ctx) })
}

func (l *Layer) fill(ctx context.Context) error {
	a, err := l.use(ctx)
	if err != nil {
		return err
	}
	if h := a.Index.Header(); cachedir.Unproven(h) || h.Source != index.Scan && !a.Data.Complete() {
		return l.promoting(ctx, a)
	}
	if err := a.Fill(ctx); err != nil {
		return err
	}
	return a.Unkept()
}

// promoting joins, or starts, the one promotion that is under way.
func (l *Layer) promoting(ctx context.Context, a *opened.Layer) error {
	f, mine := l.promotion.Join(struct{}{})
	if mine && !l.crew.Run(ctx, func(ctx context.Context) {
		f.End(struct{}{}, mapfault.Catch(func() error { return l.promote(ctx, a) }))
	}) {
		f.End(struct{}{}, errClosed())
	}
	return l.wait(ctx, f)
}
