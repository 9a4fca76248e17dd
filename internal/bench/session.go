package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/peelfs/peelfs/internal/peers"
)

// A session is peelfs with a cache and mountpoints of its own.
type session struct {
	peelfs string
	dir    string
	mounts []string
	n      int
	user   bool // an ordinary user's
}

func (l *lab) newSession() (*session, error) {
	dir, err := os.MkdirTemp(l.dir, "peelfs-")
	return &session{peelfs: l.peelfs, dir: dir}, err
}

const nobody = 65534

// newUserSession is a session of a user without rights.
func (l *lab) newUserSession() (*session, error) {
	s, err := l.newSession()
	if err != nil {
		return nil, err
	}
	s.user = true
	for dir := l.dir; dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return nil, err
		}
		if info.Mode().Perm()&0o005 != 0o005 {
			if dir != l.dir {
				return nil, fmt.Errorf("an ordinary user may not enter %s; choose another -cache", dir)
			}
			if err := os.Chmod(dir, 0o755); err != nil {
				return nil, err
			}
		}
	}
	return s, os.Chown(s.dir, nobody, nobody)
}

// run runs peelfs and returns its stdout.
func (s *session) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.peelfs, args...)
	s.adopt(cmd)
	return peers.Finish(cmd)
}

// adopt gives a command the session's environment and user.
func (s *session) adopt(cmd *exec.Cmd) {
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "PEELFS_CACHE="+s.cache(), "HOME="+s.dir, "PEELFS_RUNTIME="+filepath.Join(s.dir, "run"))
	if s.user {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
}

func (s *session) cache() string { return filepath.Join(s.dir, "cache") }

// mount mounts ref at a new directory.
func (s *session) mount(ctx context.Context, ref string) (string, error) {
	s.n++
	dir := filepath.Join(s.dir, "mnt"+strconv.Itoa(s.n))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	if s.user {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			return "", err
		}
	}
	_, err := s.run(ctx, "mount", ref, dir)
	if err == nil {
		s.mounts = append(s.mounts, dir)
	}
	return dir, err
}

// unmountAll ends all mounts of the session.
func (s *session) unmountAll(ctx context.Context) error {
	for _, dir := range s.mounts {
		if _, err := s.run(ctx, "umount", dir); err != nil {
			return err
		}
	}
	s.mounts = nil
	return nil
}

func (s *session) close() {
	for _, dir := range s.mounts {
		_ = exec.Command("umount", "-l", dir).Run()
	}
	_ = os.RemoveAll(s.dir)
}

// warmSession is a session whose cache holds both images.
func (l *lab) warmSession(ctx context.Context) (*session, error) {
	if l.warm != nil {
		return l.warm, nil
	}
	s, err := l.newSession()
	if err != nil {
		return nil, err
	}
	l.warm = s
	for _, i := range []*image{l.many, l.big} {
		if _, err := s.run(ctx, "pull", l.ref(i)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// freshMount is a new mount of an image in the warm session; what was mounted
// there before is not any more.
func (l *lab) freshMount(ctx context.Context, i *image) (string, error) {
	s, err := l.warmSession(ctx)
	if err != nil {
		return "", err
	}
	if err := s.unmountAll(ctx); err != nil {
		return "", err
	}
	return s.mount(ctx, l.ref(i))
}

// overlay is an image mounted with the kernel's overlayfs.
func (l *lab) overlay(ctx context.Context, i *image) (string, error) {
	if err := l.podman.Pull(ctx, l.ref(i)); err != nil {
		return "", err
	}
	return l.podman.Mount(ctx, l.ref(i))
}

// status is what `peelfs status` says about a mount.
type status struct {
	PID          int   `json:"pid"`
	Requests     int64 `json:"requests"`
	BytesFetched int64 `json:"bytesFetched"`
	BytesRead    int64 `json:"bytesRead"`
}

func (s *session) status(ctx context.Context, dir string) (status, error) {
	var st status
	out, err := s.run(ctx, "status", dir, "--format", "json")
	if err != nil {
		return st, err
	}
	return st, json.Unmarshal([]byte(out), &st)
}

// memoryOf reads a field of /proc/PID/status, in bytes.
func memoryOf(pid int, field string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(text), "\n") {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("no %s for process %d", field, pid)
}

// diskUse is what a folder takes on disk, holes left out.
func diskUse(ctx context.Context, dir string) (int64, error) {
	out, err := peers.Run(ctx, nil, "du", "-sx", "--block-size=1", dir)
	if err != nil {
		return 0, err
	}
	size, _, _ := strings.Cut(out, "\t")
	return strconv.ParseInt(size, 10, 64)
}
