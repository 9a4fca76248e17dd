package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/internal/errkind"
)

// report says what failed and what to do, and returns the exit code.
func report(ctx context.Context, c *output.Console, err error) int {
	switch {
	case err == nil:
		return 0
	case isBrokenPipe(err): // who read us has seen enough
		return 0
	}
	var exit *exitError
	if errors.As(err, &exit) {
		return exit.code
	}
	kind := errkind.Of(err)
	if ctx.Err() != nil && kind != errkind.Canceled && errors.Is(err, context.Canceled) {
		kind = errkind.Canceled
	}
	var silent *silentError
	switch {
	case errors.As(err, &silent):
	case ctx.Err() != nil && kind == errkind.Canceled:
		c.Complain(errors.New("interrupted"))
	default:
		c.Complain(err)
	}
	return kind.ExitCode()
}

func isBrokenPipe(err error) bool { return errors.Is(err, syscall.EPIPE) }

// exitError ends the program with the code of another process that has said
// what was wrong.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// silentError is an error whose message was shown already.
type silentError struct{ err error }

func (e *silentError) Error() string { return e.err.Error() }
func (e *silentError) Unwrap() error { return e.err }

// shown reports err now, so that the command can go on, and marks it as said.
func shown(c *output.Console, err error) error {
	c.Complain(err)
	return &silentError{err}
}

// firstErr keeps the first error of a list of targets that are all tried.
type firstErr struct{ err error }

func (f *firstErr) add(err error) {
	if f.err == nil {
		f.err = err
	}
}

// eachOf does one thing for each argument, goes on after failures, says each of
// them, and returns the first.
func eachOf(ctx context.Context, c *output.Console, args []string, do func(string) error) error {
	var first firstErr
	for _, arg := range args {
		err := do(arg)
		if err == nil {
			continue
		}
		if ctx.Err() != nil || errors.Is(err, syscall.EPIPE) {
			return err
		}
		first.add(shown(c, err))
	}
	return first.err
}
