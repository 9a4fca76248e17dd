package query

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/view"
)

// Side is one of two trees that are compared.
type Side struct {
	View   *view.View
	Layers []Identity // of its layers, base first
}

// Identity says which layer a layer is. A digest that is not proven is left
// empty: two layers are the same only if they must be.
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
	Old, New *Entry
	Aspects  []Aspect
}

// Path is the path in which the trees differ, as Entry.Path.
func (c Change) Path() string {
	if c.New != nil {
		return c.New.Path()
	}
	return c.Old.Path()
}

// Comparison compares two trees.
type Comparison struct {
	A, B  Side
	Times bool // modification times count

	buf [2][]byte
}

// Diff tells the changes from A to B at path and below, in the order of a walk.
// An added or removed directory is told with all that is in it.
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
			return tell(Change{New: &e})
		}
		return tell(Change{Old: &e})
	})
}

// pair compares what both sides have at a path, and all that is below it.
func (c *Comparison) pair(ctx context.Context, a, b Entry, tell func(Change) error) error {
	var open []*both
	for more := true; more; {
		below, err := c.objects(ctx, a, b, tell)
		if err != nil {
			return err
		}
		if below != nil {
			open = append(open, below)
		}
		for more = false; len(open) > 0 && !more; {
			if a, b, more, err = open[len(open)-1].nextPair(ctx, c, tell); err != nil {
				return err
			}
			if !more {
				open = open[:len(open)-1]
			}
		}
	}
	return nil
}

// objects compares two objects, and tells what is in one that is a directory
// where the other is none. If both are directories it opens them.
func (c *Comparison) objects(ctx context.Context, a, b Entry, tell func(Change) error) (*both, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	aspects, err := c.aspects(ctx, a, b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.Path(), err)
	}
	if len(aspects) > 0 {
		if err := tell(Change{Old: &a, New: &b, Aspects: aspects}); err != nil {
			return nil, err
		}
	}
	inA, inB := Walker{View: c.A.View}, Walker{View: c.B.View}
	switch {
	case a.IsDir() && b.IsDir():
		return openBoth(ctx, inA, inB, a, b)
	case a.IsDir():
		return nil, inA.Children(ctx, a, func(e Entry) error { return c.only(ctx, &e, nil, tell) })
	case b.IsDir():
		return nil, inB.Children(ctx, b, func(e Entry) error { return c.only(ctx, nil, &e, tell) })
	}
	return nil, nil
}

// both is a directory of each side, gone through side by side.
type both struct {
	a, b     *listing
	ea, eb   Entry // the children that come next
	okA, okB bool  // there are such
}

func openBoth(ctx context.Context, inA, inB Walker, a, b Entry) (*both, error) {
	la, err := inA.list(ctx, a)
	if err != nil {
		return nil, err
	}
	lb, err := inB.list(ctx, b)
	if err != nil {
		return nil, err
	}
	d := &both{a: la, b: lb}
	d.ea, d.okA = la.next()
	d.eb, d.okB = lb.next()
	return d, nil
}

// nextPair returns the next children that have one name, and tells what comes
// before them on one side alone.
func (d *both) nextPair(ctx context.Context, c *Comparison, tell func(Change) error) (a, b Entry, ok bool, err error) {
	for d.okA || d.okB {
		order := 0
		switch {
		case !d.okA:
			order = 1
		case !d.okB:
			order = -1
		default:
			order = strings.Compare(d.ea.Name(), d.eb.Name())
		}
		a, b = d.ea, d.eb
		if order <= 0 {
			d.ea, d.okA = d.a.next()
		}
		if order >= 0 {
			d.eb, d.okB = d.b.next()
		}
		switch {
		case order == 0:
			return a, b, true, nil
		case order < 0:
			err = c.only(ctx, &a, nil, tell)
		default:
			err = c.only(ctx, nil, &b, tell)
		}
		if err != nil {
			return a, b, false, err
		}
	}
	return a, b, false, nil
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
