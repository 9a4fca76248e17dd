package fusefs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"github.com/peelfs/peelfs/internal/errkind"
	"golang.org/x/sys/unix"
)

// probeTime is how long a mount may take to answer statfs.
const probeTime = 2 * time.Second

// CheckMountpoint says why dir cannot be mounted upon (kind Mountpoint), nil if
// it can. A dead mount of ours is no obstacle.
func CheckMountpoint(dir string) error {
	path, err := Canonical(dir)
	if err != nil {
		return missing(dir, err)
	}
	m, err := mountAt(path)
	if err != nil {
		return err
	}
	if m != nil && m.FSType != "autofs" {
		if isOurs(m) {
			dead, err := isDead(m)
			if dead || err != nil && !errors.Is(err, errForeign) {
				return err
			}
		}
		return taken(dir, m)
	}
	return checkDirectory(dir, path)
}

func taken(dir string, m *mountinfo.Info) error {
	err := errkind.New(errkind.Mountpoint, "%s is a mountpoint already: %s (%s)", dir, m.Source, m.FSType)
	if isOurs(m) {
		return errkind.WithHint(err, "unmount it with `peelfs umount %s`", dir)
	}
	return errkind.WithHint(err, "choose another directory, or unmount that first")
}

func missing(dir string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errkind.WithHint(errkind.New(errkind.Mountpoint, "the mountpoint %s does not exist", dir),
			"make it with `mkdir -p %s`", dir)
	}
	return errkind.New(errkind.Mountpoint, "mountpoint: %w", err)
}

func checkDirectory(dir, path string) error {
	f, err := os.OpenFile(path, unix.O_DIRECTORY, 0) // a fifo, for one, is not opened
	if errors.Is(err, unix.ENOTDIR) {
		return errkind.WithHint(errkind.New(errkind.Mountpoint, "the mountpoint %s is not a directory", dir),
			"give an empty directory")
	}
	if err != nil {
		return missing(dir, err)
	}
	defer f.Close()
	names, err := f.Readdirnames(1)
	if err != nil && err != io.EOF {
		return errkind.New(errkind.Mountpoint, "mountpoint: %w", err)
	}
	if len(names) > 0 {
		return errkind.WithHint(errkind.New(errkind.Mountpoint, "the mountpoint %s is not empty (it has %q)", dir, names[0]),
			"a mount would hide what is there; give an empty directory")
	}
	return nil
}

// Dead says whether dir is a peelfs mount whose server is gone. The error says
// that this cannot be told.
func Dead(dir string) (bool, error) {
	path, err := Canonical(dir)
	if err != nil {
		return false, missing(dir, err)
	}
	m, err := mountAt(path)
	if m == nil || err != nil || !isOurs(m) {
		return false, err
	}
	return isDead(m)
}

// ClearDead detaches dead mounts of ours at dir, if there are any, one upon the
// other perhaps. Their users keep
// what the kernel has cached.
func ClearDead(dir string) error {
	for range 64 {
		dead, err := Dead(dir)
		if !dead || err != nil {
			return err
		}
		path, err := Canonical(dir)
		if err != nil {
			return missing(dir, err)
		}
		if err := detach(path, true); err != nil {
			return errkind.WithHint(errkind.New(errkind.Mountpoint, "%s is a mount whose server is gone, and cannot be cleared: %w", dir, err),
				"its user, or root, can run `umount -l %s`", dir)
		}
	}
	return errkind.New(errkind.Mountpoint, "%s has too many dead mounts upon each other", dir)
}

// maxLinks is how many symbolic links a path may take, as for the kernel.
const maxLinks = 40

// Canonical returns dir without symbolic links, as mountinfo has it. It does not look
// at the attributes of dir itself, but only reads it as a symbolic link: a mount may
// be dead, or take its time to tell even about its root.
func Canonical(dir string) (string, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for range maxLinks {
		parent, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			return "", err
		}
		path = filepath.Join(parent, filepath.Base(path))
		target, err := os.Readlink(path)
		if errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if err != nil {
			return path, nil
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(parent, target)
		}
		path = target
	}
	return "", fmt.Errorf("%s: %w", dir, unix.ELOOP)
}

// mountAt is the mount that shows at path, nil if none does. There may be others
// below it at the same path.
func mountAt(path string) (*mountinfo.Info, error) {
	found, err := mountsAt(path)
	if len(found) == 0 || err != nil {
		return nil, err
	}
	if id, ok := mountID(path); ok {
		for _, m := range found {
			if m.ID == id {
				return m, nil
			}
		}
		return nil, nil // they are below one that is mounted over a directory above
	}
	return topmost(found), nil
}

// mountsAt are all mounts at path, in the order in which they were made.
func mountsAt(path string) ([]*mountinfo.Info, error) {
	found, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) { return m.Mountpoint != path, false })
	if err != nil {
		return nil, errkind.New(errkind.Internal, "read the list of mounts: %w", err)
	}
	return found, nil
}

// mountID is the kernel's number of the mount that path leads to. It asks nothing
// of that mount.
func mountID(path string) (id int, ok bool) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, false
	}
	defer unix.Close(fd)
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, "mnt_id:"); found {
			id, err = strconv.Atoi(strings.TrimSpace(value))
			return id, err == nil
		}
	}
	return 0, false
}

// topmost is the mount that no other of them lies upon.
func topmost(mounts []*mountinfo.Info) *mountinfo.Info {
	covered := map[int]bool{}
	for _, m := range mounts {
		covered[m.Parent] = true
	}
	top := mounts[len(mounts)-1]
	for _, m := range mounts {
		if !covered[m.ID] {
			top = m
		}
	}
	return top
}

func isOurs(m *mountinfo.Info) bool { return m.FSType == fsType }

// isDead asks the mount for its statistics, which nothing caches. A server
// answers that at once whatever else it waits for.
func isDead(m *mountinfo.Info) (bool, error) {
	answer := make(chan error, 1)
	// A mount that hangs keeps this goroutine: nothing can call it back.
	go func() { answer <- probe(m) }()
	timer := time.NewTimer(probeTime)
	defer timer.Stop()
	select {
	case err := <-answer:
		return verdict(m, err)
	case <-timer.C:
		return false, errkind.WithHint(errkind.New(errkind.Mountpoint, "the mount at %s does not answer", m.Mountpoint),
			"end it with `peelfs umount --force %s`", m.Mountpoint)
	}
}

func verdict(m *mountinfo.Info, err error) (bool, error) {
	switch {
	case err == nil:
		return false, nil
	case errors.Is(err, unix.ENOTCONN), errors.Is(err, unix.ECONNABORTED):
		return true, nil
	}
	return false, errkind.New(errkind.Mountpoint, "cannot tell whether the mount at %s is alive: %w", m.Mountpoint, err)
}

var errForeign = errors.New("it belongs to another user")

// probe does statfs as the user who mounted: to others, root included, the
// kernel answers zeros, dead or alive.
func probe(m *mountinfo.Info) error {
	fd, err := unix.Open(m.Mountpoint, unix.O_PATH|unix.O_CLOEXEC|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if os.Geteuid() == 0 {
		// The thread is not unlocked: it ends with this goroutine, and its
		// borrowed identity with it.
		runtime.LockOSThread()
		if borrowIdentity(option(m, "user_id"), option(m, "group_id")) != nil {
			return errForeign // of a user that this user namespace does not have
		}
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return err
	}
	if st.Namelen == 0 {
		return errForeign
	}
	return nil
}

// borrowIdentity sets the user and group of the calling thread alone.
func borrowIdentity(uid, gid int) error {
	if uid == os.Geteuid() && gid == os.Getegid() {
		return nil
	}
	g, u := uintptr(gid), uintptr(uid)
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, g, g, g); e != 0 {
		return e
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, u, u, u); e != 0 {
		return e
	}
	return nil
}

// option is a number among the file system's options, 0 if it is not there.
func option(m *mountinfo.Info, name string) int {
	for o := range strings.SplitSeq(m.VFSOptions, ",") {
		if v, ok := strings.CutPrefix(o, name+"="); ok {
			n, _ := strconv.Atoi(v)
			return n
		}
	}
	return 0
}
