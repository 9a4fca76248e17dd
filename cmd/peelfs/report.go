package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/peelfs/peelfs/internal/errkind"
)

// report says what failed and what to do, and returns the exit code.
func (a *app) report(ctx context.Context, err error) int {
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
		a.complain(errors.New("interrupted"))
	default:
		a.complain(err)
	}
	return kind.ExitCode()
}

func isBrokenPipe(err error) bool { return errors.Is(err, syscall.EPIPE) }

// complain writes an error for people: what failed, and a hint.
func (a *app) complain(err error) {
	text := strings.TrimRight(err.Error(), "\n")
	fmt.Fprintf(a.err, "%s %s\n", a.colour(red, "peelfs:"), text)
	if hint := errkind.Hint(err); hint != "" {
		fmt.Fprintf(a.err, "%s %s\n", a.colour(cyan, "hint:"), hint)
	}
}

// exitError ends the program with the code of another process that has said
// what was wrong.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// silentError is an error whose message was shown already.
type silentError struct{ err error }

func (e *silentError) Error() string { return e.err.Error() }
func (e *silentError) Unwrap() error { return e.err }

// shown reports err now, so that the command can go on, and marks it as said.
func (a *app) shown(err error) error {
	a.complain(err)
	return &silentError{err}
}

// warn says what is not as it should be, unless told to be quiet.
func (a *app) warn(format string, args ...any) {
	if !a.flags.quiet {
		fmt.Fprintf(a.err, "%s %s\n", a.colour(yellow, "warning:"), fmt.Sprintf(format, args...))
	}
}

// say tells what goes on, unless told to be quiet.
func (a *app) say(format string, args ...any) {
	if !a.flags.quiet {
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}

const (
	red    = "31"
	yellow = "33"
	cyan   = "36"
)

// colour paints s on terminals whose user wants colours.
func (a *app) colour(code, s string) string {
	forced := a.env("CLICOLOR_FORCE") != "" && a.env("CLICOLOR_FORCE") != "0"
	if a.env("NO_COLOR") != "" || !forced && (!isTerminal(a.err) || a.env("TERM") == "dumb") {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
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
func (a *app) eachOf(ctx context.Context, args []string, do func(string) error) error {
	var first firstErr
	for _, arg := range args {
		err := do(arg)
		if err == nil {
			continue
		}
		if ctx.Err() != nil || errors.Is(err, syscall.EPIPE) {
			return err
		}
		first.add(a.shown(err))
	}
	return first.err
}
