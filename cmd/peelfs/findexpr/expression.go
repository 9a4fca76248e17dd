// Package findexpr is the expressions of find(1) about the tree of an image: tests,
// actions, and how they are joined.
//
// Invariant: an expression that is parsed finds in a view what find(1) finds in a
// mount of it. Where find(1) asks the machine, the image is asked: names of users
// and groups are those of its own /etc/passwd and /etc/group. Times are in UTC.
package findexpr

import (
	"context"
	"io/fs"
	"time"

	"github.com/peelfs/peelfs/layers/query"
	"github.com/peelfs/peelfs/layers/view"
)

// Image is what expressions ask about beside entries.
type Image struct {
	View       *view.View
	Now        time.Time                 // the time that -mtime counts back from
	Characters bool                      // patterns are about characters, not bytes
	Layer      func(string) (int, error) // the number of a layer, by its number or digest
	Permission func(view.Attr) string    // as ls writes it
	Name       func(string) string       // a name as the output may have it
}

// Printer takes what an expression prints.
type Printer interface {
	// Print takes an entry that -print found, or the expression if it prints nothing
	// itself.
	Print(e query.Entry) error
	// Print0 takes one that -print0 found.
	Print0(e query.Entry) error
	// PrintLong takes one that -ls found.
	PrintLong(e query.Entry) error
	// Printf takes what -printf has made.
	Printf(text string) error
}

// Expression is a parsed expression. It may be used for several walks, one at a time.
type Expression struct {
	root               node
	minDepth, maxDepth int // maxDepth is -1 if there is no bound
	formats            bool
}

// Formats says whether -printf is in the expression: then what is printed is text,
// and nothing else.
func (x *Expression) Formats() bool { return x.formats }

// node answers for one entry, and may print.
type node func(ctx context.Context, w *walk, e query.Entry) (bool, error)

// walk is one walk with an expression.
type walk struct {
	from        query.Entry
	out         Printer
	prune, quit bool
}

// Walk goes through all that is at and below from, and prints to out what the
// expression finds. Errors are those of the view and of out.
func (x *Expression) Walk(ctx context.Context, v *view.View, from query.Entry, out Printer) error {
	w := &walk{from: from, out: out}
	return query.Walk(ctx, v, from, func(e query.Entry) error {
		w.prune = false
		if e.Depth >= x.minDepth && (x.maxDepth < 0 || e.Depth <= x.maxDepth) {
			if _, err := x.root(ctx, w, e); err != nil {
				return err
			}
		}
		switch {
		case w.quit:
			return fs.SkipAll
		case e.IsDir() && (w.prune || x.maxDepth >= 0 && e.Depth >= x.maxDepth):
			return fs.SkipDir
		}
		return nil
	})
}

// The ways to join nodes. What decides is asked first, and the rest only if it must.

func both(a, b node) node {
	return func(ctx context.Context, w *walk, e query.Entry) (bool, error) {
		if ok, err := a(ctx, w, e); !ok || err != nil {
			return false, err
		}
		return b(ctx, w, e)
	}
}

func either(a, b node) node {
	return func(ctx context.Context, w *walk, e query.Entry) (bool, error) {
		if ok, err := a(ctx, w, e); ok || err != nil {
			return ok, err
		}
		return b(ctx, w, e)
	}
}

func list(a, b node) node {
	return func(ctx context.Context, w *walk, e query.Entry) (bool, error) {
		if _, err := a(ctx, w, e); err != nil {
			return false, err
		}
		return b(ctx, w, e)
	}
}

func not(a node) node {
	return func(ctx context.Context, w *walk, e query.Entry) (bool, error) {
		ok, err := a(ctx, w, e)
		return !ok && err == nil, err
	}
}

func always(context.Context, *walk, query.Entry) (bool, error) { return true, nil }

func plain(f filter) node {
	return func(_ context.Context, _ *walk, e query.Entry) (bool, error) { return f(e), nil }
}
