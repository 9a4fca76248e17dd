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
	"strings"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/query"
	"github.com/peelfs/peelfs/layers/view"
)

// sink takes the objects of a tree, a directory before what is in it. Names are
// relative and clean; "." is the top itself.
type sink interface {
	put(ctx context.Context, o object) error
}

// object is what a sink gets.
type object struct {
	view.Attr
	v      *view.View
	name   string
	linkTo string // the name under which the object was put before, "" if it was not
}

// copyBuffer is how much of a file is read at once, bytes.
const copyBuffer = 1 << 20

// content writes a regular file's content to w.
func (o *object) content(ctx context.Context, w io.Writer) error {
	buf := make([]byte, min(copyBuffer, o.Size))
	for off := int64(0); off < o.Size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := o.v.ReadAt(ctx, o.Ino, buf, off)
		if err != nil {
			return err
		}
		if n == 0 {
			return errkind.New(errkind.Internal, "%w after %d of %d bytes", io.ErrUnexpectedEOF, off, o.Size)
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		off += int64(n)
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
	links := map[view.Ino]string{} // the first name of what has several
	return query.Walk(ctx, v, from, func(e query.Entry) error {
		o := object{Attr: e.Attr, v: v, name: gopath.Join(top, strings.TrimPrefix(e.Path[len(from.Path):], "/"))}
		if e.Attr.Nlink > 1 && e.Attr.Kind != index.Dir {
			o.linkTo = links[e.Attr.Ino]
			if o.linkTo == "" {
				links[e.Attr.Ino] = o.name
			}
		}
		if err := s.put(ctx, o); err != nil {
			if errors.Is(err, context.Canceled) {
				return err
			}
			return fmt.Errorf("%s: %w", e.Path, err)
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

func (l *Loss) add(name string, err error) {
	if l.Count == 0 {
		l.First, l.Err = name, err
	}
	l.Count++
}
