// Package flock locks byte ranges of a file between processes.
//
// The locks are open-file-description locks (fcntl(2), F_OFD_SETLK): they belong
// to one open file, end when it is closed or its process dies, and do not
// conflict with other locks of the same open file. Within a process, callers
// therefore take turns by other means; between processes, a lock here says who
// has the turn.
package flock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// File is an open lock file. Its methods are safe for concurrent use.
type File struct{ f *os.File }

// Open opens the lock file at path and makes it if it is missing.
func Open(path string) (*File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	return &File{f}, nil
}

// OpenReadOnly opens the lock file at path for reading, where it cannot be written.
// Of such a file only the shared locks can be taken.
func OpenReadOnly(path string) (*File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return &File{f}, nil
}

// New locks ranges of a file that is open for reading and writing; the caller
// keeps the file open and closes it.
func New(f *os.File) *File { return &File{f} }

// Close drops every lock of l.
func (l *File) Close() error { return l.f.Close() }

// TryLock takes the exclusive lock on bytes [off, off+n) if no other open file
// has any lock on them; n of 0 means to the end of all offsets.
func (l *File) TryLock(off, n int64) (bool, error) { return l.set(unix.F_WRLCK, off, n) }

// TryRLock takes the shared lock on bytes [off, off+n) if no other open file has
// the exclusive one.
func (l *File) TryRLock(off, n int64) (bool, error) { return l.set(unix.F_RDLCK, off, n) }

// IsLocked reports whether another open file has a lock on any of the bytes
// [off, off+n). It takes none.
func (l *File) IsLocked(off, n int64) (bool, error) {
	lk := unix.Flock_t{Type: unix.F_WRLCK, Whence: 0, Start: off, Len: n}
	if err := unix.FcntlFlock(l.f.Fd(), unix.F_OFD_GETLK, &lk); err != nil {
		return false, fmt.Errorf("look for locks of %s: %w", l.f.Name(), err)
	}
	return lk.Type != unix.F_UNLCK, nil
}

// Unlock drops l's locks on bytes [off, off+n).
func (l *File) Unlock(off, n int64) error {
	_, err := l.set(unix.F_UNLCK, off, n)
	return err
}

// Lock waits for the exclusive lock on bytes [off, off+n), or for the end of
// ctx. It asks again and again, 1 to 20 ms apart: the kernel's own wait would
// hold a thread and could not be cancelled.
func (l *File) Lock(ctx context.Context, off, n int64) error {
	return l.wait(ctx, func() (bool, error) { return l.TryLock(off, n) })
}

// RLock waits like Lock for the shared lock.
func (l *File) RLock(ctx context.Context, off, n int64) error {
	return l.wait(ctx, func() (bool, error) { return l.TryRLock(off, n) })
}

func (l *File) wait(ctx context.Context, try func() (bool, error)) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		if ok, err := try(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

func (l *File) set(kind int16, off, n int64) (bool, error) {
	lk := unix.Flock_t{Type: kind, Whence: 0, Start: off, Len: n}
	for {
		err := unix.FcntlFlock(l.f.Fd(), unix.F_OFD_SETLK, &lk)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
			return false, nil
		default:
			return false, fmt.Errorf("lock %s: %w", l.f.Name(), err)
		}
	}
}

// Same reports whether fi describes the open lock file.
func (l *File) Same(fi os.FileInfo) bool {
	own, err := l.f.Stat()
	return err == nil && os.SameFile(own, fi)
}
