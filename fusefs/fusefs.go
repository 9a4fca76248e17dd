// Package fusefs shows a view to the kernel.
//
// The tree is immutable and a node id is the view's inode number, so the kernel
// may remember every answer for ever, nothing is kept for it here, and any id it
// ever saw can be asked for again. What keeps that safe is one invariant: an
// answer is right and whole, or it is an error; a READ returns exactly the bytes
// that the file has there, and no error but a proven absence says ENOENT, and
// none but "this operation is never needed" says ENOSYS.
//
// The package also mounts and unmounts, finds mounts whose server is gone, and
// says what stands in the way. It is the only one that imports go-fuse.
package fusefs

import (
	"log/slog"
	"time"

	"github.com/peelfs/peelfs/layers/view"
)

// Options say how a view is mounted.
type Options struct {
	FSName     string // the mount's source in df and findmnt, as peelfs:NAME@DIGEST
	AllowOther bool   // let other users in; the kernel then enforces permissions
	Suid       bool   // honour set-id bits (root only)
	Dev        bool   // honour device nodes (root only)
	NoExec     bool
	Debug      bool // log every request

	Logger    *slog.Logger  // nil discards
	IOTimeout time.Duration // how long a request may wait for data; 0 is DefaultIOTimeout

	Files map[string]File // .peelfs/NAME

	// Provenance, as extended attributes that are answered but never listed.
	// Layers are numbered from 0, the base. nil or "" answers ENODATA.
	Image     string                 // user.peelfs.image
	LayerName func(layer int) string // user.peelfs.layer
	CreatedBy func(layer int) string // user.peelfs.created_by

	// Top is the directory of the view that is shown as the root; 0 is the whole.
	// The rest is then found at view.OutsideDir, below the root.
	Top view.Ino
	// Extra is how many of the lowest layers of the view are none of the image's:
	// they are not counted as layers.
	Extra  int
	Squash Squash

	Usage    func() Usage // what statfs shows; nil shows nothing
	Complete func() bool  // whether all data is local; nil never is
}

func (o *Options) top() view.Ino {
	if o.Top == 0 {
		return view.RootIno
	}
	return o.Top
}

// DefaultIOTimeout bounds a request's wait if Options do not.
const DefaultIOTimeout = 5 * time.Minute

// Usage is the size of the tree: bytes of the layers' content, and entries.
type Usage struct {
	Bytes  int64
	Inodes int64
}

// File is one file in the hidden directory .peelfs. Read is called for each look
// at a Live file and must be quick; it is called once for another.
type File struct {
	Live bool
	Read func() ([]byte, error)
}

// Stats counts what the kernel asked for since the mount.
type Stats struct {
	Requests  map[string]uint64 // by operation, as "LOOKUP"; those that never came are absent
	BytesRead uint64            // in replies to READ
	Waits     uint64            // requests that had to wait for data
	Slow      uint64            // those that waited for more than a second
	Failed    uint64            // requests that failed for want of data
	Signals   uint64            // looks at the signals of an interrupted caller
	Pushed    uint64            // small files given to the kernel before it asked
}

// UnmountOptions say how Unmount goes about it.
type UnmountOptions struct {
	Force   bool // also when busy: detach, and fail what waits
	MountID int  // refuse to unmount another mount than this; 0 takes any of ours
}
