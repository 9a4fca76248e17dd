// Package unpack writes parts of a tree where they are wanted: into a tar, or
// into a directory of this machine.
//
// Invariants: the same tree gives the same tar, byte for byte. In a directory no
// symbolic link is ever followed below the place that was named, be it one that
// was there before or one of the image; and a file has its name only when all of
// its content is there.
package unpack

import (
	"context"
	"errors"
	"fmt"
	"io"
	gopath "path"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/query"
	"github.com/peelfs/peelfs/layers/view"
)

// sink takes the objects of a tree, a directory before what is in it.
type sink interface {
	put(ctx context.Context, o object) error
}

// object is what a sink gets. Its names are relative and clean, "." is the top
// itself; they are put together when they are asked for.
type object struct {
	view.Attr
	v      *view.View
	top    string      // the name of what the walk began with
	from   query.Entry // where the walk began
	entry  query.Entry
	linkTo *query.Entry // under which the object was put before, nil if it was not
}

// name is the object's name for a sink.
func (o *object) name() string { return o.nameOf(o.entry) }

// linkName is the name under which the object was put before.
func (o *object) linkName() string { return o.nameOf(*o.linkTo) }

func (o *object) nameOf(e query.Entry) string {
	switch below := e.PathBelow(o.from); {
	case below == "":
		return o.top
	case o.top == ".":
		return below
	default:
		return o.top + "/" + below
	}
}

// base is the last element of the name.
func (o *object) base() string {
	if o.entry.Depth == 0 {
		return gopath.Base(o.top)
	}
	return o.entry.Name()
}

// copyBuffer is how much of a file is read at once, bytes.
const copyBuffer = 1 << 20

// content writes a regular file's content to w, holes as zeros.
func (o *object) content(ctx context.Context, w io.Writer) error {
	return o.copyPart(ctx, w, part{0, o.Size})
}

// copyPart writes a part of a regular file's content to w.
func (o *object) copyPart(ctx context.Context, w io.Writer, p part) error {
	buf := make([]byte, min(copyBuffer, p.end-p.off))
	for p.off < p.end {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := o.v.ReadAt(ctx, o.Ino, buf[:min(int64(len(buf)), p.end-p.off)], p.off)
		if err != nil {
			return err
		}
		if n == 0 {
			return errkind.New(errkind.Internal, "%w after %d of %d bytes", io.ErrUnexpectedEOF, p.off, o.Size)
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		p.off += int64(n)
	}
	return nil
}

// Cat writes the content of a regular file.
func Cat(ctx context.Context, w io.Writer, v *view.View, a view.Attr) error {
	o := object{Attr: a, v: v}
	return o.content(ctx, w)
}

// xattr is one extended attribute.
type xattr struct {
	name  string
	value []byte
}

func (o *object) xattrs(ctx context.Context) ([]xattr, error) {
	names, err := o.v.XattrNames(ctx, o.Ino)
	if err != nil {
		return nil, err
	}
	out := make([]xattr, 0, len(names))
	for _, name := range names {
		value, _, err := o.v.Xattr(ctx, o.Ino, name)
		if err != nil {
			return nil, err
		}
		out = append(out, xattr{name, value})
	}
	return out, nil
}

// tree puts from and all that is below it, from under the name top.
func tree(ctx context.Context, v *view.View, from query.Entry, top string, s sink) error {
	from.Depth = 0
	links := map[view.Ino]*query.Entry{} // the first name of what has several
	return query.Walk(ctx, v, from, func(e query.Entry) error {
		o := object{Attr: e.Attr, v: v, top: top, from: from, entry: e}
		if e.Attr.Nlink > 1 && e.Attr.Kind != index.Dir {
			if o.linkTo = links[e.Attr.Ino]; o.linkTo == nil {
				links[e.Attr.Ino] = &e
			}
		}
		if err := s.put(ctx, o); err != nil {
			if errors.Is(err, context.Canceled) {
				return err
			}
			return fmt.Errorf("%s: %w", e.Path(), err)
		}
		return nil
	})
}

// Losses are what could not be kept, with one example each.
type Losses struct {
	Owners, Devices, Xattrs Loss
}

// Loss counts objects that lost something.
type Loss struct {
	Count int
	First string // a name
	Err   error  // why, for the first
}

// add counts a loss of o.
func (l *Loss) add(o *object, err error) {
	if l.Count == 0 {
		l.First, l.Err = o.name(), err
	}
	l.Count++
}
