package fusefs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/peelfs/peelfs/internal/errkind"
	"golang.org/x/sys/unix"
)

// The FUSE device is opened here and not by go-fuse for three reasons: it is
// closed in children, so that one that outlives us does not keep a dead mount
// hanging; the mount is read-only as a mount and not only as a file system; and
// what the set-id helper has to say reaches the user.

const (
	devFUSE = "/dev/fuse"
	fsType  = "fuse.peelfs" // the type in mountinfo: subtype peelfs
	maxRead = 1 << 20       // bytes in one READ
)

// attach mounts a new FUSE connection at dir and returns its descriptor.
func attach(dir string, opt *Options) (fd int, err error) {
	if mayMount() {
		fd, err = mountDirect(dir, opt)
		if !errors.Is(err, unix.EPERM) {
			return fd, err
		}
	}
	if opt.Suid || opt.Dev {
		return -1, errkind.New(errkind.Denied, "mount %s: only root may mount with suid or dev", dir)
	}
	viaHelper, helperErr := mountByHelper(dir, opt)
	if helperErr != nil && err != nil {
		return -1, errkind.WithHint(errkind.Wrap(errkind.NoFUSE, fmt.Errorf("%w; then %w", err, helperErr)),
			"in a container, run it with --device /dev/fuse --cap-add SYS_ADMIN")
	}
	return viaHelper, helperErr
}

// mayMount says whether mount(2) is worth trying: as root, also of a user
// namespace, or with the capability.
func mayMount() bool {
	if os.Geteuid() == 0 {
		return true
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	err := unix.Capget(&hdr, &data[0])
	return err == nil && data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

func openDevice() (int, error) {
	fd, err := unix.Open(devFUSE, unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case err == nil:
		return fd, nil
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return -1, errkind.WithHint(errkind.New(errkind.NoFUSE, "open %s: %w", devFUSE, err),
			"load the module with `modprobe fuse`; in a container, run it with --device /dev/fuse --cap-add SYS_ADMIN")
	}
	return -1, errkind.WithHint(errkind.New(errkind.NoFUSE, "open %s: %w", devFUSE, err),
		"in a container, run it with --device /dev/fuse; else see the permissions of %s", devFUSE)
}

func mountDirect(dir string, opt *Options) (int, error) {
	fd, err := openDevice()
	if err != nil {
		return -1, err
	}
	data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d,max_read=%d", fd, os.Geteuid(), os.Getegid(), maxRead)
	if opt.AllowOther {
		data += ",allow_other,default_permissions"
	}
	if err := unix.Mount(opt.FSName, dir, fsType, opt.mountFlags(), data); err != nil {
		unix.Close(fd)
		return -1, errkind.New(errkind.NoFUSE, "mount %s: %w", dir, err)
	}
	return fd, nil
}

// mountFlags are the flags of the mount, by which it is read-only in itself.
func (o *Options) mountFlags() uintptr {
	flags := uintptr(unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV)
	if o.Suid {
		flags &^= unix.MS_NOSUID
	}
	if o.Dev {
		flags &^= unix.MS_NODEV
	}
	if o.NoExec {
		flags |= unix.MS_NOEXEC
	}
	return flags
}

// helper is the path of the set-id program that mounts and unmounts for users.
func helper() (string, error) {
	for _, name := range []string{"fusermount3", "fusermount"} {
		for _, path := range []string{name, "/bin/" + name, "/usr/bin/" + name} {
			if found, err := exec.LookPath(path); err == nil {
				return found, nil
			}
		}
	}
	return "", errkind.WithHint(errkind.New(errkind.NoFUSE, "there is no fusermount3, which mounts for users"),
		"install the package fuse3")
}

// mountByHelper has fusermount3 mount, which sends the descriptor back over a
// socket that it finds as number 3.
func mountByHelper(dir string, opt *Options) (int, error) {
	if _, err := os.Stat(devFUSE); err != nil {
		_, err := openDevice()
		return -1, err
	}
	if err := errors.Join(otherUsersAllowed(opt), ownDirectory(dir)); err != nil {
		return -1, err
	}
	program, err := helper()
	if err != nil {
		return -1, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, errkind.New(errkind.Internal, "socketpair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	defer theirs.Close()

	cmd := exec.Command(program, "-o", opt.helperOptions(), "--", dir)
	cmd.Env = append(os.Environ(), "_FUSE_COMMFD=3")
	cmd.ExtraFiles = []*os.File{theirs}
	if err := runHelper(cmd); err != nil {
		return -1, errkind.WithHint(errkind.New(errkind.NoFUSE, "mount %s: %w", dir, err),
			"`peelfs doctor` looks at /dev/fuse, %s and the mountpoint", filepath.Base(program))
	}
	theirs.Close() // so that the socket ends if nothing was sent
	return receiveFD(pair[0])
}

func (o *Options) helperOptions() string {
	list := []string{"ro", "nosuid", "nodev", "subtype=peelfs", fmt.Sprintf("max_read=%d", maxRead)}
	if o.NoExec {
		list = append(list, "noexec")
	}
	if o.AllowOther {
		list = append(list, "allow_other", "default_permissions")
	}
	name := strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(o.FSName)
	return strings.Join(append(list, "fsname="+name), ",")
}

// ownDirectory says in our words that fusermount3 mounts only where the user
// could write.
func ownDirectory(dir string) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return missing(dir, err)
	}
	err := unix.Access(dir, unix.W_OK)
	if err == nil && (st.Mode&unix.S_ISVTX == 0 || st.Uid == uint32(os.Getuid())) {
		return nil
	}
	return errkind.WithHint(errkind.New(errkind.Mountpoint, "the mountpoint %s belongs to someone else", dir),
		"users can mount only upon directories of their own")
}

const fuseConf = "/etc/fuse.conf"

// otherUsersAllowed says in our words what fusermount3 would refuse.
func otherUsersAllowed(opt *Options) error {
	if !opt.AllowOther {
		return nil
	}
	conf, err := os.ReadFile(fuseConf)
	if errors.Is(err, os.ErrPermission) || allowsOther(conf) {
		return nil // fusermount3 may read it; let it decide
	}
	return errkind.WithHint(errkind.New(errkind.NoFUSE, "allow_other: %s does not let users do that", fuseConf),
		"have root add the line `user_allow_other` to %s", fuseConf)
}

func allowsOther(conf []byte) bool {
	for line := range strings.Lines(string(conf)) {
		line, _, _ = strings.Cut(line, "#")
		if strings.TrimSpace(line) == "user_allow_other" {
			return true
		}
	}
	return false
}

// runHelper runs cmd; its error is what the program said.
func runHelper(cmd *exec.Cmd) error {
	var said bytes.Buffer
	cmd.Stderr = &said
	err := cmd.Run()
	if err == nil {
		return nil
	}
	text := strings.TrimSpace(said.String())
	if text == "" {
		return fmt.Errorf("%s: %w", filepath.Base(cmd.Path), err)
	}
	return &helperError{text}
}

// helperError is what the set-id helper printed when it refused.
type helperError struct{ text string }

func (e *helperError) Error() string { return e.text }

// receiveFD takes one descriptor from the socket, closed in children.
func receiveFD(socket int) (int, error) {
	var data [4]byte
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, data[:], oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, errkind.New(errkind.NoFUSE, "receive the FUSE device: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return -1, errkind.New(errkind.NoFUSE, "receive the FUSE device: no descriptor came")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, errkind.New(errkind.NoFUSE, "receive the FUSE device: %d descriptors came", len(fds))
	}
	return fds[0], nil
}
