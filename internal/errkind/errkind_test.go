package errkind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
)

func TestOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Kind
	}{
		{New(NotFound, "no tag %q", "x"), NotFound},
		{fmt.Errorf("open: %w", New(Denied, "401")), Denied},
		{Wrap(Corrupt, New(Unavailable, "short")), Corrupt},
		{WithHint(New(Platform, "none"), "use --platform"), Platform},
		{fmt.Errorf("get: %w", context.Canceled), Canceled},
		{context.DeadlineExceeded, Timeout},
		{&os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, LocalFull},
		{&os.PathError{Op: "open", Path: "x", Err: syscall.EACCES}, LocalFull},
		{errors.New("what"), Internal},
	} {
		if got := Of(c.err); got != c.want {
			t.Errorf("Of(%v) = %v, want %v", c.err, got, c.want)
		}
	}
}

func TestEveryKindIsProjected(t *testing.T) {
	for k := Kind(0); k < numKinds; k++ {
		if k.String() == "" || k.ExitCode() == 0 || k.Errno() == 0 {
			t.Errorf("kind %d has no full row", k)
		}
		if e := k.Errno(); e == syscall.ENOSYS || e == syscall.ENOENT {
			t.Errorf("kind %v maps to %v, which the kernel would remember", k, e)
		}
	}
}

func TestHintSurvivesWrapping(t *testing.T) {
	err := fmt.Errorf("mount: %w", WithHint(New(NoFUSE, "no fusermount3"), "install fuse3"))
	if got := Hint(err); got != "install fuse3" {
		t.Errorf("Hint = %q", got)
	}
	if got := Hint(Wrap(Internal, err)); got != "install fuse3" {
		t.Errorf("Hint below a kind without one = %q", got)
	}
	if WithHint(nil, "x") != nil || Wrap(Internal, nil) != nil {
		t.Error("nil must stay nil")
	}
}
