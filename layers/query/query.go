// Package query answers questions about image trees: what is below a path, what
// fits a description, how much there is of it, where it comes from, and in what
// two images differ.
//
// Invariant: a question is answered by one walk in the order of the names'
// bytes, entry by entry, without recursion. Memory does not grow with the number
// of entries, but with the depth of the tree and the number of hard links, each
// by a constant: a path is put together only for entries that are asked for it.
// Content is read only where two files must be compared that nothing else tells
// apart.
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

// Entry is one object of a tree at one of its paths, as At and Find make it and
// walks yield it. It may be kept: entries of one walk share what they know of
// their paths.
type Entry struct {
	Attr  view.Attr
	Depth int  // below where the walk began
	Last  bool // nothing that shows comes after it in its directory

	at *element
}

// element is the last element of a path and leads to those before it, up to one
// below the root. The first one holds the whole path that a walk began with.
type element struct {
	dir  *element
	name string
	size int // of the path up to and with the element, bytes
}

// below returns the element of a name in the directory dir, which is nil for the
// root.
func (dir *element) below(name string) *element {
	e := &element{dir: dir, name: name, size: len(name) + 1}
	if dir != nil {
		e.size += dir.size
	}
	return e
}

// At returns the entry of an object at a clean path that begins with a slash.
func At(path string, a view.Attr) Entry {
	return Entry{Attr: a, Last: true, at: (*element)(nil).below(strings.TrimPrefix(path, "/"))}
}

// Path is the entry's path: with a leading slash, clean. Each call puts it
// together anew.
func (e Entry) Path() string { return e.pathFrom(nil) }

// PathBelow is the entry's path from dir, the directory where a walk began that
// came to the entry; "" for dir itself.
func (e Entry) PathBelow(dir Entry) string { return strings.TrimPrefix(e.pathFrom(dir.asDir()), "/") }

// pathFrom joins the elements of the path behind top, all if that is nil, with a
// slash before each.
func (e Entry) pathFrom(top *element) string {
	size := e.at.size
	if top != nil {
		size -= top.size
	}
	path := make([]byte, size)
	for at := e.at; at != nil && at != top; at = at.dir {
		size -= len(at.name) + 1
		path[size] = '/'
		copy(path[size+1:], at.name)
	}
	return string(path)
}

// asDir is the element that paths of what is in the entry have before theirs;
// nil for the root.
func (e Entry) asDir() *element {
	if e.at.dir == nil && e.at.name == "" {
		return nil
	}
	return e.at
}

// Name is the last element of the path, "/" for the root.
func (e Entry) Name() string {
	if e.at.dir == nil {
		return gopath.Base("/" + e.at.name)
	}
	return e.at.name
}

// IsDir reports whether the entry is a directory.
func (e Entry) IsDir() bool { return e.Attr.Kind == index.Dir }

// Visit is what a walk calls: for each entry before what is in it. With
// fs.SkipDir a walk leaves out what is in a directory, with fs.SkipAll it ends.
type Visit func(Entry) error

// Find returns the entry at a path. The last symbolic link is followed with
// follow, or if a slash comes after it.
func Find(ctx context.Context, v *view.View, path string, follow bool) (Entry, error) {
	a, err := v.Resolve(ctx, path, follow || strings.HasSuffix(path, "/"))
	return At(gopath.Clean("/"+path), a), err
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

// Walk is as the function of that name, without the entries that do not show.
func (w Walker) Walk(ctx context.Context, from Entry, visit Visit) error {
	err := w.walk(ctx, from, visit)
	if errors.Is(err, fs.SkipAll) {
		return nil
	}
	return err
}

func (w Walker) walk(ctx context.Context, from Entry, visit Visit) error {
	var open []*listing // of the directories that the walk is in, the outermost first
	for e, more := from, true; more; {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := visit(e)
		if err != nil && !(e.IsDir() && errors.Is(err, fs.SkipDir)) {
			return err
		}
		if err == nil && e.IsDir() {
			list, err := w.list(ctx, e)
			if err != nil {
				return err
			}
			open = append(open, list)
		}
		for more = false; len(open) > 0 && !more; {
			if e, more = open[len(open)-1].next(); !more {
				open = open[:len(open)-1]
			}
		}
	}
	return nil
}

// Children visits what shows in a directory, and nothing below that.
func (w Walker) Children(ctx context.Context, dir Entry, visit Visit) error {
	list, err := w.list(ctx, dir)
	if err != nil {
		return err
	}
	for {
		e, ok := list.next()
		if !ok {
			return nil
		}
		if err := visit(e); err != nil {
			return err
		}
	}
}

// listing goes through what shows in one directory.
type listing struct {
	of   Entry
	dir  *view.Dir
	show func(Entry) bool
	i    int // the child that comes next
	last int // the last one that shows; -1 if none does
}

// list opens the directory e.
func (w Walker) list(ctx context.Context, e Entry) (*listing, error) {
	dir, err := w.View.ReadDir(ctx, e.Attr.Ino)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.Path(), err)
	}
	l := &listing{of: e, dir: dir, show: w.Show, last: dir.Len() - 1}
	for l.last >= 0 && l.show != nil && !l.show(l.child(l.last)) {
		l.last--
	}
	return l, nil
}

// next is the next child that shows.
func (l *listing) next() (Entry, bool) {
	for l.i <= l.last {
		e := l.child(l.i)
		l.i++
		if l.show == nil || l.show(e) {
			e.Last = l.i > l.last
			return e, true
		}
	}
	return Entry{}, false
}

// child is the i-th child of the directory, whether it shows or not.
func (l *listing) child(i int) Entry {
	return Entry{Attr: l.dir.Attr(i), Depth: l.of.Depth + 1, at: l.of.asDir().below(string(l.dir.Name(i)))}
}

// once counts each object with several names a single time.
type once map[view.Ino]struct{}

// first reports whether a comes for the first time. Directories always do.
func (o once) first(a view.Attr) bool {
	if a.Nlink < 2 || a.Kind == index.Dir {
		return true
	}
	_, seen := o[a.Ino]
	o[a.Ino] = struct{}{}
	return !seen
}
