package fusefs

import (
	"context"
	"errors"
	"time"

	"github.com/peelfs/peelfs/layers/view"
	"golang.org/x/sys/unix"
)

// PathKind is what a path in a mount of many images can be.
type PathKind uint8

// The kinds of paths.
const (
	NotAPath PathKind = iota // no image is called so, nor is a folder of images
	FolderPath
	ImagePath
)

// Library is what a mount of many images shows. Paths are of names, without a
// slash at either end; "" is the root, a FolderPath. Methods are called concurrently.
type Library interface {
	// Kind tells by the path alone; it asks nobody.
	Kind(path string) PathKind
	// List has the names that are known in a folder, sorted, and when there was
	// last a change to what is known.
	List(folder string) (names []string, changed time.Time, err error)
	// Known says that there is an image of this name, as far as can be told
	// without asking anybody.
	Known(image string) bool
	// Resolve tells which image it is now. An error of the kind NotFound,
	// Invalid or Denied is the proof that there is none.
	Resolve(ctx context.Context, image string) (id string, err error)
	// Open makes the image with this id ready.
	Open(ctx context.Context, image, id string) (*Opened, error)
}

// Opened is an image of a Library. Close is called once, when no request uses the
// view any more.
type Opened struct {
	View    *view.View
	Options Options
	Close   func() error
}

// MountLibrary mounts a library at dir, as Mount does a view. Images are opened
// when something in them is first asked for, and closed when nothing was for as
// long as idle; what the kernel has remembered of them stays good all the same.
func MountLibrary(dir string, lib Library, idle time.Duration, opt Options) (*Server, error) {
	path, err := prepare(dir)
	if err != nil {
		return nil, err
	}
	device, err := attach(path, &opt)
	if err != nil {
		return nil, err
	}
	s, err := serve(path, device, &opt, func(device int) filesystem { return newLibraryFS(lib, idle, &opt, device) })
	if err != nil {
		return nil, errors.Join(err, detach(path, true))
	}
	return s, nil
}

// dup is a descriptor like fd, closed in children.
func dup(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0) }
