package fusefs

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"github.com/peelfs/peelfs/internal/errkind"
	"golang.org/x/sys/unix"
)

// Unmount ends the peelfs mount at dir. Failures have the kind Mountpoint; if
// the mount is busy they name who uses it.
func Unmount(dir string, opt UnmountOptions) error {
	path, err := Canonical(dir)
	if err != nil {
		return missing(dir, err)
	}
	m, err := mountAt(path)
	if err != nil {
		return err
	}
	if err := checkMount(dir, m, opt.MountID); err != nil {
		return err
	}
	if err := detachPatiently(path, opt.Force); err != nil {
		return explain(dir, m, err)
	}
	if opt.Force {
		abort(m.Minor) // as detaching by root has done already
	}
	return nil
}

func checkMount(dir string, m *mountinfo.Info, id int) error {
	switch {
	case m == nil:
		return errkind.WithHint(errkind.New(errkind.Mountpoint, "%s is not mounted", dir), "`peelfs mounts` lists what is")
	case id != 0 && m.ID != id, !isOurs(m) && hasOurs(m.Mountpoint):
		return errkind.WithHint(errkind.New(errkind.Mountpoint, "%s has been mounted over: %s (%s)", dir, m.Source, m.FSType),
			"unmount that first, with `umount %s`", dir)
	case !isOurs(m):
		return errkind.WithHint(errkind.New(errkind.Mountpoint, "%s is not a peelfs mount: %s (%s)", dir, m.Source, m.FSType),
			"unmount it with umount(8)")
	}
	return nil
}

// hasOurs reports whether a mount of peelfs is at path, under others perhaps.
func hasOurs(path string) bool {
	found, err := mountsAt(path)
	return err == nil && slices.ContainsFunc(found, isOurs)
}

// A mount that is busy is tried again busyTries times, busyPause apart: a command
// that reads its status, or a process that is just closing a file, is gone by then.
const (
	busyTries = 15
	busyPause = 20 * time.Millisecond
)

// detachPatiently is detach for mounts that are perhaps busy for a moment only.
func detachPatiently(path string, force bool) error {
	err := detach(path, force)
	for try := 0; mayBeBusy(err) && try < busyTries; try++ {
		time.Sleep(busyPause)
		err = detach(path, force)
	}
	return err
}

// mayBeBusy reports whether err can mean that a mount is in use. The set-id
// helper tells all its reasons in words, so each of its refusals can.
func mayBeBusy(err error) bool {
	var refused *helperError
	return errors.Is(err, unix.EBUSY) || errors.As(err, &refused)
}

// detach unmounts path by the kernel's own call, or else by the set-id helper.
// With force it is taken out of sight at once, and for root what waits on it
// fails at once.
func detach(path string, force bool) error {
	flags := unix.UMOUNT_NOFOLLOW
	if force {
		flags |= unix.MNT_FORCE | unix.MNT_DETACH
	}
	err := unix.Unmount(path, flags)
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	program, err := helper()
	if err != nil {
		return err
	}
	args := []string{"-u", "--", path}
	if force {
		args = []string{"-u", "-z", "--", path}
	}
	return runHelper(exec.Command(program, args...))
}

// explain says why the mount m at dir could not be unmounted.
func explain(dir string, m *mountinfo.Info, err error) error {
	users := usersOf(m)
	if errors.Is(err, unix.EBUSY) && len(users) == 0 {
		return errkind.WithHint(errkind.New(errkind.Mountpoint, "%s is busy", dir),
			"see who uses it with `fuser -vm %s`; --force takes it away from them", dir)
	}
	if len(users) == 0 {
		return errkind.New(errkind.Mountpoint, "unmount %s: %w", dir, err)
	}
	return errkind.WithHint(errkind.New(errkind.Mountpoint, "%s is busy: used by %s", dir, strings.Join(users, ", ")),
		"leave it or end them; --force takes it away from them")
}

// abort fails whatever still waits on the connection that the device number
// names. It needs fusectl; without that, waits end with their budget or when the
// server does.
func abort(minor int) {
	_ = writeString(fmt.Sprintf("/sys/fs/fuse/connections/%d/abort", minor), "1")
}
