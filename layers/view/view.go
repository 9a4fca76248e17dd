// Package view is one immutable, read-only tree merged lazily from a stack of
// layers.
//
// Invariant: every answer is a function of the layers alone. Attributes, inode
// numbers and listings come out the same in every process, in whatever order
// things were asked; so nothing ever has to be invalidated, and what is kept
// between calls is only there to save time.
//
// Laziness: a name is looked for from the top layer down, and a layer's index
// is asked for only when no layer above has decided. All deciding code works on
// the indexes that are at hand and says which one it misses; only the exported
// calls fetch it and start over. So no lock is ever held while a layer is on
// its way, and a fetch that failed leaves nothing behind.
package view

import (
	"context"
	"sync/atomic"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/index"
)

// Layer is what a view needs of one layer. Both calls may download, both are
// safe for concurrent use, and a context ends the wait, not the work. An index
// stays valid for as long as the view is in use.
type Layer interface {
	// Index is the layer's index: what the layer has, and what it hides.
	Index(ctx context.Context) (*index.Index, error)
	// ReadAt fills p with content of the regular file entry from off on, and
	// returns len(p), or the rest of the file when that is shorter, or an error.
	ReadAt(ctx context.Context, entry uint32, p []byte, off int64) (int, error)
}

// Symlinks says what Readlink answers.
type Symlinks uint8

const (
	// Rewrite makes every target stay inside the tree when the host resolves
	// it: absolute targets become relative, and ".." stops at the root.
	Rewrite Symlinks = iota
	// Raw is the text as the image has it.
	Raw
)

// MetaDir is the name at the root that a mount keeps for itself.
const MetaDir = ".peelfs"

// Options are the choices for a view. The zero value rewrites symbolic links.
type Options struct {
	Symlinks Symlinks
	Subtree  Subtree
}

// Subtree is a directory that is shown as the root of a mount. The view itself
// stays whole; only the targets of symbolic links in the subtree are made for
// there. The zero value is the whole tree.
type Subtree struct {
	Path string // without symbolic links, as Path returns it; "" or "/" is the root
	Ino  Ino    // what it leads to
}

// OutsideDir is where a mount of a subtree has the rest of the tree, below its
// root: links that lead out of the subtree lead there.
const OutsideDir = MetaDir + "/outside"

// Errors that a caller tells apart with errors.Is.
var (
	// ErrNotExist is a proven absence: no layer has the name, or one hides it.
	ErrNotExist = errkind.New(errkind.NotFound, "no such file or directory")
	// ErrNotDir is a directory operation on something else.
	ErrNotDir = errkind.New(errkind.NotFound, "not a directory")
	// ErrLoop is a path with more than 40 symbolic links.
	ErrLoop = errkind.New(errkind.NotFound, "too many levels of symbolic links")
	// ErrStale is an inode number that no place in the view has.
	ErrStale = errkind.New(errkind.Invalid, "no such inode")
)

// View is the merged tree. It is safe for concurrent use. It has nothing to
// close: the layers belong to the caller.
type View struct {
	layers []stackedLayer // base first
	opt    Options
	root   *node

	nodes         table[*node]  // directories that something was looked for in, by Ino
	lowerDirs     table[*node]  // the same by the places of entries below their topmost one
	layerTreeDirs table[*Dir]   // listings of layer trees, by Ino
	targets       table[target] // of hard links to lower layers, by place
	nlinks        table[uint32] // of objects with several names, by place
	borrowed      atomic.Pointer[borrowed]
}

// stackedLayer is one layer and its index, once that is at hand.
type stackedLayer struct {
	layer Layer
	idx   atomic.Pointer[index.Index]
}

// New returns the view of a stack of layers, base first. It does no I/O.
func New(layers []Layer, opt Options) *View {
	v := &View{layers: make([]stackedLayer, len(layers)), opt: opt, root: newNode(nil, "", place{})}
	for i, l := range layers {
		v.layers[i].layer = l
	}
	v.borrowed.Store(&borrowed{floor: len(layers), names: map[uint64]uint32{}})
	return v
}

// Len is the number of layers.
func (v *View) Len() int { return len(v.layers) }

// Root returns the attributes of the root directory. They are those of the
// topmost layer with an entry for it: where none has, all layers are asked.
func (v *View) Root(ctx context.Context) (Attr, error) { return v.Attr(ctx, RootIno) }

// Lookup finds a name in a directory. It returns ErrNotExist when the view has
// no such name, ErrNotDir when dir is no directory. Names with a slash, "." and
// ".." are nothing's name.
func (v *View) Lookup(ctx context.Context, dir Ino, name string) (Attr, error) {
	for {
		a, err := v.lookup(dir, name)
		if !v.fetched(ctx, &err) {
			return a, err
		}
	}
}

func (v *View) lookup(dir Ino, name string) (Attr, error) {
	if dir.inLayerTree() {
		return v.layerTreeLookup(dir, name)
	}
	n, err := v.node(dir)
	if err != nil {
		return Attr{}, err
	}
	p, e, err := v.child(n, name)
	if err != nil {
		return Attr{}, err
	}
	return v.describe(p, e)
}

// Attr returns the attributes of an inode, ErrStale when no layer has it.
func (v *View) Attr(ctx context.Context, ino Ino) (Attr, error) {
	for last := missing(0); ; {
		a, err := v.attr(ino)
		m, ok := err.(missing)
		switch {
		case !ok:
			return a, err
		case m >= last:
			err = v.fetch(ctx, uint32(m))
		default: // no layer yet describes the directory: the rest may all be needed
			err = v.gather(ctx, m, func() error { _, err := v.attr(ino); return err })
		}
		if err != nil {
			return Attr{}, err
		}
		last = m
	}
}

func (v *View) attr(ino Ino) (Attr, error) {
	if ino.inLayerTree() {
		return v.layerTreeAttr(ino)
	}
	p, _, err := v.locate(ino)
	if err != nil {
		return Attr{}, err
	}
	if p.entry == 0 {
		return v.describeImplied(v.root, p)
	}
	e, err := v.entryOf(p)
	if err != nil {
		return Attr{}, err
	}
	if e.Kind == index.Whiteout {
		return Attr{}, ErrStale
	}
	a, err := v.describe(p, e)
	if err == nil && a.Ino != ino {
		return Attr{}, ErrStale
	}
	return a, err
}

// Provisional returns the attributes of a directory as far as the layers at hand
// tell, without waiting, and whether they are final. Until then they are those
// of a directory that no layer describes.
func (v *View) Provisional(dir Ino) (a Attr, final bool) {
	if a, err := v.attr(dir); err == nil {
		return a, true
	}
	return impliedAttr(dir), false
}

// ReadDir returns the complete listing of a directory. It needs every layer that
// may have a part of it, and fetches those at once; further calls are cheap.
func (v *View) ReadDir(ctx context.Context, dir Ino) (*Dir, error) {
	var n *node
	for {
		d, err := v.listing(dir, &n)
		m, ok := err.(missing)
		switch {
		case !ok:
			return d, err
		case n == nil:
			err = v.fetch(ctx, uint32(m))
		default:
			err = v.gather(ctx, m, func() error { _, err := v.list(n); return err })
		}
		if err != nil {
			return nil, err
		}
	}
}

// listing is the listing of dir; n becomes its node once that is known.
func (v *View) listing(dir Ino, n **node) (*Dir, error) {
	if dir.inLayerTree() {
		return v.layerTreeList(dir)
	}
	var err error
	if *n == nil {
		if *n, err = v.node(dir); err != nil {
			return nil, err
		}
	}
	return v.list(*n)
}

// Parent returns the directory that a directory is in. The root of the view,
// and of a layer tree, is its own parent.
func (v *View) Parent(ctx context.Context, dir Ino) (Ino, error) {
	for {
		ino, err := v.parent(dir)
		if !v.fetched(ctx, &err) {
			return ino, err
		}
	}
}

func (v *View) parent(dir Ino) (Ino, error) {
	if dir.inLayerTree() {
		return v.layerTreeParent(dir)
	}
	n, err := v.node(dir)
	if err != nil {
		return 0, err
	}
	if n.parent == nil {
		return RootIno, nil
	}
	return v.inoOf(n.parent), nil
}

// top is the directory that is shown as the root.
func (v *View) top() Ino {
	if v.opt.Subtree.Ino == 0 {
		return RootIno
	}
	return v.opt.Subtree.Ino
}

// inoOf is the number of a directory.
func (v *View) inoOf(n *node) Ino {
	if n.parent == nil {
		return RootIno
	}
	return v.number(n.at)
}

// LayerOf says which layer decides about an inode, 0 being the base: where a
// file's content is, or the topmost in which a directory appears. The root
// belongs to the layer that gives its attributes: -1 while that is not known,
// and when none does.
func (v *View) LayerOf(ino Ino) int {
	if ino == RootIno {
		if k := v.root.known.Load(); k.described && k.attr != nowhere {
			return int(k.attr.layer)
		}
		return -1
	}
	p, _, err := v.locate(ino)
	if err != nil {
		return -1
	}
	return int(p.layer)
}

// LayerRoot is the root of the layer tree of layer n, 0 being the base: what that
// layer alone has, with its markers as files by their names in the layer, and
// without hard links to other layers. All calls work on the inodes below it.
func (v *View) LayerRoot(n int) Ino { return layerTreeNumber(place{layer: uint32(n)}, noMarker) }
