package unpack

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/layers/index"
)

// handle is an object by its name in an open directory.
type handle struct {
	at   int
	name string
}

// path names the object for calls that have no form relative to a directory.
func (h handle) path() string { return fmt.Sprintf("/proc/self/fd/%d/%s", h.at, h.name) }

const setID = unix.S_ISUID | unix.S_ISGID

// attributes gives an object what the image says of it. The owner comes first,
// since changing it takes set-id bits and capabilities away. Where the owner
// cannot be kept those bits are not set: they would serve somebody else.
func (d *Dir) attributes(ctx context.Context, o *object, h handle) error {
	mode := o.Mode
	err := unix.Fchownat(h.at, h.name, int(o.UID), int(o.GID), unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case refused(err):
		d.losses.Owners.add(o, err)
		mode &^= setID
	case err != nil:
		return fmt.Errorf("set owner: %w", err)
	}
	if err := d.setXattrs(ctx, o, h); err != nil {
		return err
	}
	if o.Kind != index.Symlink {
		if err := unix.Fchmodat(h.at, h.name, mode, 0); err != nil {
			return fmt.Errorf("set mode: %w", err)
		}
	}
	now := unix.Timespec{Nsec: unix.UTIME_OMIT}
	times := []unix.Timespec{now, {Sec: o.Sec, Nsec: int64(o.Nsec)}}
	if err := unix.UtimesNanoAt(h.at, h.name, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set time: %w", err)
	}
	return nil
}

func (d *Dir) setXattrs(ctx context.Context, o *object, h handle) error {
	all, err := o.xattrs(ctx)
	if err != nil {
		return err
	}
	for _, x := range all {
		err := unix.Lsetxattr(h.path(), x.name, x.value, 0)
		switch {
		case refused(err) || errors.Is(err, unix.ENOTSUP):
			d.losses.Xattrs.add(o, fmt.Errorf("%s: %w", x.name, err))
		case err != nil:
			return fmt.Errorf("set %s: %w", x.name, err)
		}
	}
	return nil
}

// refused says whether a call failed for want of a right: an ordinary user, or
// the root of a user namespace that does not have such an owner.
func refused(err error) bool {
	return errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EINVAL)
}
