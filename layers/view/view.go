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
}

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

// Attr is what stat shows of an inode.
type Attr struct {
	Ino          Ino
	Kind         index.Kind // never Link or Whiteout
	Mode         uint32     // permission, set-id and sticky bits: 07777
	UID, GID     uint32
	Sec          int64 // mtime, seconds since 1970, may be negative
	Nsec         uint32
	Size         int64  // of files, and the length of what Readlink returns
	Nlink        uint32 // the names that the view shows; 1 for directories
	Major, Minor uint32
}

// View is the merged tree. It is safe for concurrent use. It has nothing to
// close: the layers belong to the caller.
type View struct {
	layers []slot // base first
	opt    Options
}

// slot is one layer and its index, once that is at hand.
type slot struct {
	layer Layer
	idx   atomic.Pointer[index.Index]
}

// New returns the view of a stack of layers, base first. It does no I/O.
func New(layers []Layer, opt Options) *View {
	v := &View{layers: make([]slot, len(layers)), opt: opt}
	for i, l := range layers {
		v.layers[i].layer = l
	}
	return v
}

// Root returns the attributes of the root directory.
func (v *View) Root(ctx context.Context) (Attr, error) { return v.Attr(ctx, RootIno) }

// Lookup finds a name in a directory. It returns ErrNotExist when the view has
// no such name, ErrNotDir when dir is no directory.
func (v *View) Lookup(ctx context.Context, dir Ino, name string) (Attr, error) {
	panic("todo")
}

// Attr returns the attributes of an inode, ErrStale when there is none.
func (v *View) Attr(ctx context.Context, ino Ino) (Attr, error) { panic("todo") }

// Provisional returns the attributes of a directory as far as the layers at
// hand tell, without fetching anything, and whether they are final.
func (v *View) Provisional(dir Ino) (a Attr, final bool) { panic("todo") }

// ReadDir returns the complete listing of a directory. Further calls are cheap.
func (v *View) ReadDir(ctx context.Context, dir Ino) (*Dir, error) { panic("todo") }

// Parent returns the directory that a directory is in. The root of the view,
// and of a layer's own tree, is its own parent.
func (v *View) Parent(ctx context.Context, dir Ino) (Ino, error) { panic("todo") }

// Readlink returns the target of a symbolic link. The caller must not change it.
func (v *View) Readlink(ctx context.Context, ino Ino) ([]byte, error) { panic("todo") }

// XattrNames returns the names of an inode's extended attributes.
func (v *View) XattrNames(ctx context.Context, ino Ino) ([]string, error) { panic("todo") }

// Xattr returns one extended attribute, and whether there is one of that name.
// The caller must not change the value.
func (v *View) Xattr(ctx context.Context, ino Ino, name string) (value []byte, ok bool, err error) {
	panic("todo")
}

// ReadAt reads content of a regular file. It returns exactly the smaller of
// len(p) and what the file has behind off, or an error; at the end of the file
// and beyond that is 0 and no error.
func (v *View) ReadAt(ctx context.Context, ino Ino, p []byte, off int64) (int, error) {
	panic("todo")
}

// LayerOf says which layer decides about an inode, 0 being the base; -1 for the
// root while that is not known, and for a root that no layer describes.
func (v *View) LayerOf(ino Ino) int { panic("todo") }

// LayerRoot is the root of the own tree of layer n, 0 being the base: what that
// layer alone has, with its markers as files by their names in the layer. All
// other calls work on the inodes below it.
func (v *View) LayerRoot(n int) Ino { panic("todo") }

// Len is the number of layers.
func (v *View) Len() int { return len(v.layers) }
