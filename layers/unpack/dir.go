package unpack

import (
	"context"
	"errors"
	"fmt"
	"os"
	gopath "path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/query"
	"github.com/peelfs/peelfs/layers/view"
)

// Dir writes into a directory of this machine. Objects in it stay, unless
// something is written that has their name: files are replaced, directories are
// added to. It belongs to one goroutine.
//
// INVARIANT: every name is used relative to the open directory that it is in,
// and directories are opened one by one without following links.
type Dir struct {
	top    *folder
	open   []*folder // the directories that the walk is in, top first
	shut   int       // how many of them behind the top have no descriptor at the moment
	temp   int
	losses Losses
}

// folder is a directory that the walk is in. Those that were written get their
// attributes when nothing more comes into them.
type folder struct {
	fd       int
	dev, ino uint64  // of one that has no descriptor at the moment
	attr     *object // nil if it keeps what it has
}

// maxOpen is how many directories below the top have a descriptor at once. A
// deeper walk finds those above again as the parents of those below.
const maxOpen = 128

// OpenDir opens an existing directory to write into. Links on the way to path
// are followed, as the user named it so. The caller closes it.
func OpenDir(path string) (*Dir, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	top := &folder{fd: fd}
	return &Dir{top: top, open: []*folder{top}}, nil
}

// Add writes from and all that is below it; from gets the name name, "." for the
// directory itself. Hard links are kept within one call: a later one may replace
// what an earlier one has written.
func (d *Dir) Add(ctx context.Context, v *view.View, from query.Entry, name string) error {
	err := tree(ctx, v, from, name, d)
	return errors.Join(err, d.leave(ctx, 1))
}

// Close ends the work: the directory that was opened gets its attributes, if it
// was itself written.
func (d *Dir) Close(ctx context.Context) error {
	err := d.leave(ctx, 1)
	if d.top.attr != nil {
		err = errors.Join(err, d.finish(ctx, d.top))
	}
	return errors.Join(err, unix.Close(d.top.fd))
}

// Losses is what could not be kept of what was written.
func (d *Dir) Losses() Losses { return d.losses }

func (d *Dir) put(ctx context.Context, o object) error {
	above := o.entry.Depth + 1 // how many directories the object is in
	if o.top == "." {
		above--
	}
	if above == 0 {
		if o.Kind != index.Dir {
			return errkind.New(errkind.Invalid, "is a %s and no directory", o.Kind)
		}
		d.top.attr = &o
		return nil
	}
	if err := d.leave(ctx, above); err != nil {
		return err
	}
	parent, name := d.open[len(d.open)-1], o.base()
	switch {
	case o.Kind == index.Dir:
		return d.mkdir(parent, name, o)
	case o.linkTo != nil:
		return d.link(parent, name, o)
	}
	err := d.replace(parent, name, func(temp string) error { return d.make(ctx, parent, temp, &o) })
	if errors.Is(err, errSkipped) {
		return nil
	}
	return err
}

// leave finishes the directories that the walk is in but for the first n.
func (d *Dir) leave(ctx context.Context, n int) error {
	for len(d.open) > n {
		f := d.open[len(d.open)-1]
		d.open = d.open[:len(d.open)-1]
		err := d.finish(ctx, f)
		if d.shut > 0 && d.shut == len(d.open)-1 {
			err = errors.Join(err, d.reopen(f))
		}
		if err := errors.Join(err, unix.Close(f.fd)); err != nil {
			return fmt.Errorf("%s: %w", f.attr.name(), err)
		}
	}
	return nil
}

// enter adds a directory to those that the walk is in, and takes the descriptor
// of the uppermost below the top that has one if they become too many.
func (d *Dir) enter(f *folder) error {
	d.open = append(d.open, f)
	if len(d.open)-1-d.shut <= maxOpen {
		return nil
	}
	d.shut++
	shut := d.open[d.shut]
	var st unix.Stat_t
	if err := unix.Fstat(shut.fd, &st); err != nil {
		return fmt.Errorf("stat directory: %w", err)
	}
	shut.dev, shut.ino = st.Dev, st.Ino
	fd := shut.fd
	shut.fd = -1
	return unix.Close(fd)
}

// reopen gives the directory that f is in its descriptor back.
func (d *Dir) reopen(f *folder) error {
	parent := d.open[d.shut]
	fd, err := openFolder(f.fd, "..")
	if err != nil {
		return err
	}
	parent.fd = fd
	d.shut--
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("stat directory: %w", err)
	}
	if st.Dev != parent.dev || st.Ino != parent.ino {
		return errkind.New(errkind.Invalid, "was moved meanwhile")
	}
	return nil
}

// mkdir makes a directory, or takes the one that is there, and enters it.
func (d *Dir) mkdir(parent *folder, name string, o object) error {
	err := unix.Mkdirat(parent.fd, name, 0o700)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("mkdir: %w", err)
	}
	fd, err := openFolder(parent.fd, name)
	if err != nil {
		return err
	}
	return d.enter(&folder{fd: fd, attr: &o})
}

func openFolder(parent int, name string) (int, error) {
	fd, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		return -1, errkind.WithHint(errkind.New(errkind.Invalid, "%s is there already and is no directory", name),
			"move it away; symbolic links in the destination are not followed")
	}
	if err != nil {
		return -1, fmt.Errorf("open directory: %w", err)
	}
	return fd, nil
}

// replace makes an object under a name of its own and then gives it its name.
func (d *Dir) replace(parent *folder, name string, make func(temp string) error) error {
	d.temp++
	temp := fmt.Sprintf(".peelfs-%d-%d", os.Getpid(), d.temp)
	err := make(temp)
	if err == nil {
		err = unix.Renameat(parent.fd, temp, parent.fd, name)
		if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
			err = errkind.WithHint(errkind.New(errkind.Invalid, "%s is there already and is a directory", name), "move it away")
		}
	}
	if err != nil {
		if gone := unix.Unlinkat(parent.fd, temp, 0); gone != nil && !errors.Is(gone, unix.ENOENT) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

// link makes one more name of an object that was put before.
func (d *Dir) link(parent *folder, name string, o object) error {
	dir, close, err := d.walkTo(gopath.Dir(o.linkName()))
	if err != nil {
		return err
	}
	defer close()
	err = d.replace(parent, name, func(temp string) error {
		err := unix.Linkat(dir, gopath.Base(o.linkName()), parent.fd, temp, 0)
		if errors.Is(err, unix.ENOENT) && d.losses.Devices.Count > 0 { // the device was not made either
			return errSkipped
		}
		if err != nil {
			return fmt.Errorf("link to %s: %w", o.linkName(), err)
		}
		return nil
	})
	if errors.Is(err, errSkipped) {
		d.losses.Devices.add(&o, err)
		return nil
	}
	return err
}

// walkTo opens a directory below the top by its name.
func (d *Dir) walkTo(dir string) (fd int, close func(), err error) {
	fd, close = d.top.fd, func() {}
	if dir == "." {
		return fd, close, nil
	}
	for _, name := range strings.Split(dir, "/") {
		next, err := openFolder(fd, name)
		close()
		if err != nil {
			return -1, nil, err
		}
		fd, close = next, func() { unix.Close(next) }
	}
	return fd, close, nil
}

// errSkipped is an object that could not be made and is counted as lost.
var errSkipped = errors.New("left out")

// make makes an object that is no directory, with all its attributes.
func (d *Dir) make(ctx context.Context, parent *folder, name string, o *object) error {
	switch o.Kind {
	case index.File:
		return d.makeFile(ctx, parent, name, o)
	case index.Symlink:
		target, err := o.v.Readlink(ctx, o.Ino)
		if err != nil {
			return err
		}
		if err := unix.Symlinkat(string(target), parent.fd, name); err != nil {
			return fmt.Errorf("symlink: %w", err)
		}
	case index.Char, index.Block, index.Fifo:
		kind := map[index.Kind]uint32{index.Char: unix.S_IFCHR, index.Block: unix.S_IFBLK, index.Fifo: unix.S_IFIFO}[o.Kind]
		err := unix.Mknodat(parent.fd, name, kind|0o600, int(unix.Mkdev(o.Major, o.Minor)))
		if errors.Is(err, unix.EPERM) && o.Kind != index.Fifo {
			d.losses.Devices.add(o, err)
			return errSkipped
		}
		if err != nil {
			return fmt.Errorf("make a device: %w", err)
		}
	default:
		return errkind.New(errkind.Internal, "a %s cannot be made", o.Kind)
	}
	return d.attributes(ctx, o, handle{at: parent.fd, name: name})
}

func (d *Dir) makeFile(ctx context.Context, parent *folder, name string, o *object) error {
	fd, err := unix.Openat(parent.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	err = o.contentWithHoles(ctx, &holes{f: f})
	if err == nil {
		err = f.Truncate(o.Size)
	}
	if err == nil {
		err = d.attributes(ctx, o, handle{at: parent.fd, name: name})
	}
	return errors.Join(err, f.Close())
}

// contentWithHoles writes a regular file's data to h, which leaves out the holes that
// the file has in the image, and further blocks of zeros.
func (o *object) contentWithHoles(ctx context.Context, h *holes) error {
	for p, err := range o.parts(ctx) {
		if err != nil {
			return err
		}
		h.off = p.off
		if err := o.copyPart(ctx, h, p); err != nil {
			return err
		}
	}
	return nil
}

// holes writes a file from byte off on and leaves out blocks of zeros.
type holes struct {
	f   *os.File
	off int64
}

// holeSize is the size of a block that is left out if it is zeros, bytes.
const holeSize = 64 << 10

func (h *holes) Write(p []byte) (int, error) {
	written := 0
	for chunk := range slices.Chunk(p, holeSize) {
		if slices.ContainsFunc(chunk, func(b byte) bool { return b != 0 }) {
			if _, err := h.f.WriteAt(chunk, h.off); err != nil {
				return written, err
			}
		}
		h.off += int64(len(chunk))
		written += len(chunk)
	}
	return written, nil
}

func (d *Dir) finish(ctx context.Context, f *folder) error {
	return d.attributes(ctx, f.attr, handle{at: f.fd, name: "."})
}
