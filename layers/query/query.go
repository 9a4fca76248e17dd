// Package query answers questions about image trees: what is below a path, what
// fits a description, how much there is of it, where it comes from, and in what
// two images differ.
//
// Invariant: a question is answered by one walk in the order of the names'
// bytes, entry by entry; memory does not grow with the number of entries, but
// with the depth of the tree and the number of hard links. Content is read only
// where two files must be compared that nothing else tells apart.
package query

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	gopath "path"
	"strings"

	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/view"
)

// Entry is one object of a tree at one of its paths.
type Entry struct {
	Path  string // with a leading slash, clean
	Attr  view.Attr
	Depth int  // below where the walk began
	Last  bool // nothing that shows comes after it in its directory
}

// Name is the last element of the path, "/" for the root.
func (e Entry) Name() string { return gopath.Base(e.Path) }

// IsDir says whether it is a directory.
func (e Entry) IsDir() bool { return e.Attr.Kind == index.Dir }

// Visit is what a walk calls: for each entry before what is in it. With
// fs.SkipDir a walk leaves out what is in a directory, with fs.SkipAll it ends.
type Visit func(Entry) error

// Find is the entry at a path. The last symbolic link is followed with follow,
// or if a slash comes after it.
func Find(ctx context.Context, v *view.View, path string, follow bool) (Entry, error) {
	a, err := v.Resolve(ctx, path, follow || strings.HasSuffix(path, "/"))
	return Entry{Path: gopath.Clean("/" + path), Attr: a, Last: true}, err
}

// Walker goes through a tree and leaves out what is not to be shown.
type Walker struct {
	View *view.View
	Show func(Entry) bool // nil shows all; not asked about where a walk begins
}

// Walk visits from and all that is below it, depth first, a directory before its
// children, those by their bytes.
func Walk(ctx context.Context, v *view.View, from Entry, visit Visit) error {
	return Walker{View: v}.Walk(ctx, from, visit)
}

// Walk is the walk of what shows.
func (w Walker) Walk(ctx context.Context, from Entry, visit Visit) error {
	err := w.walk(ctx, from, visit)
	if errors.Is(err, fs.SkipAll) {
		return nil
	}
	return err
}

func (w Walker) walk(ctx context.Context, e Entry, visit Visit) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := visit(e)
	if !e.IsDir() {
		return err
	}
	if errors.Is(err, fs.SkipDir) {
		return nil
	}
	if err != nil {
		return err
	}
	return w.Children(ctx, e, func(child Entry) error { return w.walk(ctx, child, visit) })
}

// Children visits what shows in a directory, and nothing below that.
func (w Walker) Children(ctx context.Context, dir Entry, visit Visit) error {
	list, err := w.View.ReadDir(ctx, dir.Attr.Ino)
	if err != nil {
		return fmt.Errorf("%s: %w", dir.Path, err)
	}
	shows := func(i int) bool { return w.Show == nil || w.Show(childOf(dir, list, i)) }
	last := list.Len() - 1
	for last >= 0 && !shows(last) {
		last--
	}
	for i := range last + 1 {
		e := childOf(dir, list, i)
		if !shows(i) {
			continue
		}
		e.Last = i == last
		if err := visit(e); err != nil {
			return err
		}
	}
	return nil
}

func childOf(dir Entry, list *view.Dir, i int) Entry {
	return Entry{Path: join(dir.Path, string(list.Name(i))), Attr: list.Attr(i), Depth: dir.Depth + 1}
}

func join(dir, name string) string {
	if dir == "/" {
		return dir + name
	}
	return dir + "/" + name
}

// once counts each object with several names a single time.
type once map[view.Ino]struct{}

// first says whether a comes for the first time. Directories always do.
func (o once) first(a view.Attr) bool {
	if a.Nlink < 2 || a.Kind == index.Dir {
		return true
	}
	_, seen := o[a.Ino]
	o[a.Ino] = struct{}{}
	return !seen
}
