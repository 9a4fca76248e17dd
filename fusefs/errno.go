package fusefs

import (
	"errors"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/view"
)

// noSuchName is the answer to a lookup in a folder of images. Other than a node
// of 0, which proves an absence, it is not remembered: tomorrow there may be one.
const noSuchName = fuse.ENOENT

// statusOf is the only place where an error becomes what the kernel is told.
// It never says ENOSYS, by which the kernel switches an operation off, nor
// ENOENT, which it remembers for ever: absence is decided in Lookup alone, where
// it is proven.
func statusOf(err error) fuse.Status {
	switch {
	case err == nil:
		return fuse.OK
	case errors.Is(err, view.ErrNotDir):
		return fuse.ENOTDIR
	case errors.Is(err, view.ErrStale):
		return fuse.Status(syscall.ESTALE)
	}
	return fuse.Status(errkind.Of(err).Errno())
}
