// Package errkind is the one taxonomy of failures.
//
// Every error that a person or a program acts upon carries a Kind, given where
// the cause is known and never changed on the way up. A Kind has three
// projections, each in one table here: the exit code of a command, the errno of
// a file system call, and whether trying again may help.
//
// An error may carry a hint as well: one sentence that says what to do next.
package errkind

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// Kind says what sort of failure an error is. The zero Kind is Internal: an
// error that nobody classified is a broken promise of this program.
type Kind uint8

// The kinds, in the order of docs/design.md.
const (
	Internal    Kind = iota // a broken invariant of this program
	Invalid                 // a malformed reference, flag or argument
	NotFound                // no such name, tag, blob or path
	Denied                  // refused by the registry after a fresh login
	Unavailable             // unreachable, reset, overloaded or cut short
	Platform                // the image has no manifest for the platform
	Timeout                 // a deadline of our own passed
	Mountpoint              // missing, busy, not empty or not a directory
	NoFUSE                  // no /dev/fuse or no fusermount3
	LocalFull               // no space, or no permission, for the cache
	Corrupt                 // a digest, a size or a format does not hold
	Unsupported             // a media type, an encryption or a limit
	Canceled                // interrupted by the user
	numKinds
)

type projection struct {
	name  string
	exit  int
	errno syscall.Errno
	retry bool
}

var projections = [numKinds]projection{
	Internal:    {"internal", 1, syscall.EIO, false},
	Invalid:     {"invalid", 2, syscall.EINVAL, false},
	NotFound:    {"not found", 3, syscall.EIO, false},
	Denied:      {"denied", 4, syscall.EIO, false},
	Unavailable: {"unavailable", 5, syscall.EIO, true},
	Platform:    {"platform", 6, syscall.EIO, false},
	Timeout:     {"timeout", 5, syscall.ETIMEDOUT, true},
	Mountpoint:  {"mountpoint", 10, syscall.EIO, false},
	NoFUSE:      {"no FUSE", 11, syscall.EIO, false},
	LocalFull:   {"local storage", 12, syscall.EIO, false},
	Corrupt:     {"corrupt", 13, syscall.EIO, false},
	Unsupported: {"unsupported", 14, syscall.EIO, false},
	Canceled:    {"canceled", 130, syscall.EINTR, false},
}

// String is the kind's name in logs.
func (k Kind) String() string { return k.projection().name }

// ExitCode is the status with which a command ends that failed so.
func (k Kind) ExitCode() int { return k.projection().exit }

// Errno is what a file system call returns that failed so. It is never ENOSYS
// or ENOENT: the kernel remembers both.
func (k Kind) Errno() syscall.Errno { return k.projection().errno }

// Retryable says whether the same request may succeed a moment later.
func (k Kind) Retryable() bool { return k.projection().retry }

func (k Kind) projection() projection {
	if k >= numKinds {
		return projections[Internal]
	}
	return projections[k]
}

// Error is an error with a kind and, perhaps, a hint.
type Error struct {
	Kind Kind
	Err  error
	Hint string // what to do next, a sentence without a full stop; may be empty
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// New returns an error of kind k with a message made as by fmt.Errorf; %w works.
func New(k Kind, format string, args ...any) error {
	return &Error{Kind: k, Err: fmt.Errorf(format, args...)}
}

// Wrap gives err the kind k, over any kind that it had. Wrap(k, nil) is nil.
func Wrap(k Kind, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: k, Err: err}
}

// WithHint adds to err what the user can do about it; the kind stays.
// WithHint(nil, …) is nil.
func WithHint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: Of(err), Err: err, Hint: fmt.Sprintf(format, args...)}
}

// Of finds the kind of err: the outermost that was given; else what follows
// from a context error or an errno of the local file system; else Internal.
// Of(nil) is Internal too, so ask only of errors.
func Of(err error) Kind {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Kind
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT),
		errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		return LocalFull
	}
	return Internal
}

// Is reports whether err has the kind k.
func Is(err error, k Kind) bool { return err != nil && Of(err) == k }

// Hint is the outermost hint in err's chain, or "".
func Hint(err error) string {
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return ""
		}
		if e.Hint != "" {
			return e.Hint
		}
		err = e.Err
	}
	return ""
}
