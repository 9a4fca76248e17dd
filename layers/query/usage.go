package query

import (
	"cmp"
	"context"
	"slices"

	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/view"
)

// Amount is how much there is of something. Bytes are those of regular files, as
// long as they say they are; a file with several names counts once.
type Amount struct{ Entries, Files, Bytes int64 }

func (a *Amount) add(b Amount) {
	a.Entries += b.Entries
	a.Files += b.Files
	a.Bytes += b.Bytes
}

// Total is a directory, or a file, with all that is in it.
type Total struct {
	Entry
	Amount
	Own Amount // of that, what is right in the directory
}

// Usage adds up the tree from an entry, and tells each directory's total after
// those of the directories in it, the files in between with files.
func Usage(ctx context.Context, v *view.View, from Entry, files bool, tell func(Total) error) error {
	u := usage{seen: once{}, files: files, tell: tell}
	if err := Walk(ctx, v, from, u.visit); err != nil {
		return err
	}
	return u.leave(0)
}

// usage is the directories that the walk is in, the outermost first.
type usage struct {
	open  []Total
	seen  once
	files bool
	tell  func(Total) error
}

func (u *usage) visit(e Entry) error {
	if err := u.leave(e.Depth); err != nil {
		return err
	}
	if e.IsDir() {
		u.open = append(u.open, Total{Entry: e, Amount: Amount{Entries: 1}})
		return nil
	}
	amount := Amount{Entries: 1}
	if e.Attr.Kind == index.File && u.seen.first(e.Attr) {
		amount.Files, amount.Bytes = 1, e.Attr.Size
	}
	if len(u.open) > 0 {
		dir := &u.open[len(u.open)-1]
		dir.add(amount)
		dir.Own.add(amount)
	}
	if u.files || len(u.open) == 0 {
		return u.tell(Total{Entry: e, Amount: amount})
	}
	return nil
}

// leave closes the directories that are not above depth.
func (u *usage) leave(depth int) error {
	for len(u.open) > 0 && u.open[len(u.open)-1].Depth >= depth {
		done := u.open[len(u.open)-1]
		u.open = u.open[:len(u.open)-1]
		if len(u.open) > 0 {
			u.open[len(u.open)-1].add(done.Amount)
		}
		if err := u.tell(done); err != nil {
			return err
		}
	}
	return nil
}

// LayerUsage is what one layer holds and what the view shows of that.
type LayerUsage struct {
	Layer  int
	Stored Amount // Entries is 0: only files have bytes
	Hidden Amount // of them, what no name of the view leads to
	Again  Amount // of the hidden, what the hiding layer has again with the same size
}

// Hidden is a file that a layer has and an upper one hides.
type Hidden struct {
	view.Stored
	Layer int
}

// ByLayer adds up what each layer holds, base first, and calls tell, if that is
// not nil, for each hidden file.
func ByLayer(ctx context.Context, v *view.View, tell func(Hidden) error) ([]LayerUsage, error) {
	all := make([]LayerUsage, v.Len())
	for i := range all {
		all[i].Layer = i
		err := v.Census(ctx, i, func(s view.Stored) error {
			one := Amount{Files: 1, Bytes: s.Size}
			all[i].Stored.add(one)
			if s.Shown {
				return nil
			}
			all[i].Hidden.add(one)
			if s.Again {
				all[i].Again.add(one)
			}
			if tell == nil {
				return nil
			}
			return tell(Hidden{s, i})
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Largest keeps the n items with the most bytes; of equals those that came first.
type Largest[T any] struct {
	n     int
	bytes func(T) int64
	items []T
}

// NewLargest returns one that keeps n items.
func NewLargest[T any](n int, bytes func(T) int64) *Largest[T] {
	return &Largest[T]{n: n, bytes: bytes}
}

// Add offers an item.
func (l *Largest[T]) Add(item T) {
	at, _ := slices.BinarySearchFunc(l.items, l.bytes(item), func(have T, want int64) int {
		if l.bytes(have) >= want {
			return -1
		}
		return 1
	})
	if at >= l.n {
		return
	}
	if len(l.items) == l.n {
		l.items = l.items[:l.n-1]
	}
	l.items = slices.Insert(l.items, at, item)
}

// Items are those kept, largest first.
func (l *Largest[T]) Items() []T {
	slices.SortStableFunc(l.items, func(a, b T) int { return cmp.Compare(l.bytes(b), l.bytes(a)) })
	return l.items
}
