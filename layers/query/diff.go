package query

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/view"
)

// Side is one of two trees that are compared.
type Side struct {
	View   *view.View
	Layers []Identity // of its layers, base first
}

// Identity says which layer a layer is. What is not proven is left empty: two
// layers are the same only if they must be.
type Identity struct {
	Blob digest.Digest // of the compressed bytes, by which they are verified
	Tar  digest.Digest // of the uncompressed tar, if all of it was verified
}

func (a Identity) same(b Identity) bool {
	return a.Blob != "" && a.Blob == b.Blob || a.Tar != "" && a.Tar == b.Tar
}

// Aspect is a respect in which an object differs.
type Aspect string

// The aspects, in the order in which they are told. An object whose type differs
// is told to differ in nothing else.
const (
	Kind    Aspect = "type"
	Content Aspect = "content"
	Target  Aspect = "target"
	Device  Aspect = "device"
	Mode    Aspect = "mode"
	Owners  Aspect = "owner"
	Xattrs  Aspect = "xattrs"
	Times   Aspect = "mtime"
)

// Change is one path in which two trees differ. Old is nil for what was added,
// New for what was removed.
type Change struct {
	Path     string
	Old, New *Entry
	Aspects  []Aspect
}

// Comparison compares two trees.
type Comparison struct {
	A, B  Side
	Times bool // modification times count

	buf [2][]byte
}

// Diff tells the changes from A to B at path and below, in the order of a walk.
// What was added or removed is told with all that is in it.
func (c *Comparison) Diff(ctx context.Context, path string, tell func(Change) error) error {
	if c.identical() {
		return nil
	}
	a, errA := Find(ctx, c.A.View, path, false)
	b, errB := Find(ctx, c.B.View, path, false)
	switch {
	case errA != nil && !absent(errA):
		return errA
	case errB != nil && (errA != nil || !absent(errB)):
		return errB
	case errA != nil:
		return c.only(ctx, nil, &b, tell)
	case errB != nil:
		return c.only(ctx, &a, nil, tell)
	}
	return c.pair(ctx, a, b, tell)
}

// absent says whether a path leads to nothing, by what Resolve said of it.
func absent(err error) bool {
	return errors.Is(err, view.ErrNotExist) || errors.Is(err, view.ErrNotDir)
}

// identical says whether both sides are the same layers.
func (c *Comparison) identical() bool {
	return len(c.A.Layers) > 0 && slices.EqualFunc(c.A.Layers, c.B.Layers, Identity.same)
}

// only tells what one side alone has.
func (c *Comparison) only(ctx context.Context, a, b *Entry, tell func(Change) error) error {
	v, from := c.A.View, a
	if b != nil {
		v, from = c.B.View, b
	}
	return Walk(ctx, v, *from, func(e Entry) error {
		if b != nil {
			return tell(Change{Path: e.Path, New: &e})
		}
		return tell(Change{Path: e.Path, Old: &e})
	})
}

// pair compares what both sides have at a path.
func (c *Comparison) pair(ctx context.Context, a, b Entry, tell func(Change) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	aspects, err := c.aspects(ctx, a, b)
	if err != nil {
		return fmt.Errorf("%s: %w", a.Path, err)
	}
	if len(aspects) > 0 {
		if err := tell(Change{Path: a.Path, Old: &a, New: &b, Aspects: aspects}); err != nil {
			return err
		}
	}
	switch {
	case a.IsDir() && b.IsDir():
		return c.directories(ctx, a, b, tell)
	case a.IsDir():
		return Walker{View: c.A.View}.Children(ctx, a, func(e Entry) error { return c.only(ctx, &e, nil, tell) })
	case b.IsDir():
		return Walker{View: c.B.View}.Children(ctx, b, func(e Entry) error { return c.only(ctx, nil, &e, tell) })
	}
	return nil
}

// directories goes through two listings side by side.
func (c *Comparison) directories(ctx context.Context, a, b Entry, tell func(Change) error) error {
	la, err := c.A.View.ReadDir(ctx, a.Attr.Ino)
	if err != nil {
		return fmt.Errorf("%s: %w", a.Path, err)
	}
	lb, err := c.B.View.ReadDir(ctx, b.Attr.Ino)
	if err != nil {
		return fmt.Errorf("%s: %w", b.Path, err)
	}
	for i, j := 0, 0; i < la.Len() || j < lb.Len(); {
		order := 0
		switch {
		case i == la.Len():
			order = 1
		case j == lb.Len():
			order = -1
		default:
			order = bytes.Compare(la.Name(i), lb.Name(j))
		}
		switch {
		case order < 0:
			e := childOf(a, la, i)
			err = c.only(ctx, &e, nil, tell)
		case order > 0:
			e := childOf(b, lb, j)
			err = c.only(ctx, nil, &e, tell)
		default:
			err = c.pair(ctx, childOf(a, la, i), childOf(b, lb, j), tell)
		}
		if err != nil {
			return err
		}
		if order <= 0 {
			i++
		}
		if order >= 0 {
			j++
		}
	}
	return nil
}

// aspects are in what two objects differ.
func (c *Comparison) aspects(ctx context.Context, a, b Entry) (out []Aspect, err error) {
	if a.Attr.Kind != b.Attr.Kind {
		return []Aspect{Kind}, nil
	}
	add := func(is bool, what Aspect) {
		if is {
			out = append(out, what)
		}
	}
	same := c.sameEntry(a, b)
	switch a.Attr.Kind {
	case index.File:
		equal := same
		if !same {
			if equal, err = c.sameContent(ctx, a.Attr, b.Attr); err != nil {
				return nil, err
			}
		}
		add(!equal, Content)
	case index.Symlink:
		equal, err := c.sameTarget(ctx, a.Attr, b.Attr)
		if err != nil {
			return nil, err
		}
		add(!equal, Target)
	}
	add(a.Attr.Major != b.Attr.Major || a.Attr.Minor != b.Attr.Minor, Device)
	add(a.Attr.Mode != b.Attr.Mode, Mode)
	add(a.Attr.UID != b.Attr.UID || a.Attr.GID != b.Attr.GID, Owners)
	if !same || a.IsDir() {
		equal, err := c.sameXattrs(ctx, a.Attr, b.Attr)
		if err != nil {
			return nil, err
		}
		add(!equal, Xattrs)
	}
	add(c.Times && (a.Attr.Sec != b.Attr.Sec || a.Attr.Nsec != b.Attr.Nsec), Times)
	return out, nil
}

// sameEntry says whether both are one entry of one layer, so that nothing has to
// be read to know that they are equal.
func (c *Comparison) sameEntry(a, b Entry) bool {
	la, lb := c.A.View.LayerOf(a.Attr.Ino), c.B.View.LayerOf(b.Attr.Ino)
	if la < 0 || lb < 0 || la >= len(c.A.Layers) || lb >= len(c.B.Layers) || !c.A.Layers[la].same(c.B.Layers[lb]) {
		return false
	}
	pa := c.A.View.Path(a.Attr.Ino)
	return pa != "" && pa == c.B.View.Path(b.Attr.Ino)
}

func (c *Comparison) sameTarget(ctx context.Context, a, b view.Attr) (bool, error) {
	ta, err := c.A.View.Readlink(ctx, a.Ino)
	if err != nil {
		return false, err
	}
	tb, err := c.B.View.Readlink(ctx, b.Ino)
	return bytes.Equal(ta, tb), err
}

// compareSize is how much of each file is read at once, bytes.
const compareSize = 1 << 20

// sameContent reads two files, unless their sizes tell.
func (c *Comparison) sameContent(ctx context.Context, a, b view.Attr) (bool, error) {
	if a.Size != b.Size {
		return false, nil
	}
	for i := range c.buf {
		if want := min(compareSize, a.Size); int64(len(c.buf[i])) < want {
			c.buf[i] = make([]byte, want)
		}
	}
	for off := int64(0); off < a.Size; {
		n, err := c.A.View.ReadAt(ctx, a.Ino, c.buf[0][:min(compareSize, a.Size-off)], off)
		if err != nil {
			return false, err
		}
		m, err := c.B.View.ReadAt(ctx, b.Ino, c.buf[1][:n], off)
		if err != nil {
			return false, err
		}
		if !bytes.Equal(c.buf[0][:n], c.buf[1][:m]) {
			return false, nil
		}
		off += int64(n)
	}
	return true, nil
}

func (c *Comparison) sameXattrs(ctx context.Context, a, b view.Attr) (bool, error) {
	na, err := c.A.View.XattrNames(ctx, a.Ino)
	if err != nil {
		return false, err
	}
	nb, err := c.B.View.XattrNames(ctx, b.Ino)
	if err != nil || !slices.Equal(na, nb) {
		return false, err
	}
	for _, name := range na {
		va, _, err := c.A.View.Xattr(ctx, a.Ino, name)
		if err != nil {
			return false, err
		}
		vb, _, err := c.B.View.Xattr(ctx, b.Ino, name)
		if err != nil || !bytes.Equal(va, vb) {
			return false, err
		}
	}
	return true, nil
}
