package main

import (
	"context"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/peelfs/peelfs/cmd/peelfs/mounttab"
	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/mapfault"
	"github.com/peelfs/peelfs/internal/userns"
)

// app is one run of the program: its streams, its environment, and the flags that
// all commands have. Commands are functions that are given it to be made, and a
// console and a session to run.
type app struct {
	in      io.Reader
	console *output.Console
	env     func(string) string
	log     *slog.Logger
	flags   globalFlags
	daemon  *daemon  // nil but in the process behind a mount
	args    []string // the command line, without the program's name
}

func newApp(in io.Reader, out, err io.Writer, env func(string) string) *app {
	return &app{in: in, console: output.New(out, err, env), env: env, log: slog.New(slog.DiscardHandler)}
}

// run is the whole of a command, up to its exit code.
func (a *app) run(args []string) int {
	a.args = args
	ctx, stop := interruptible(context.Background())
	defer stop()
	root := rootCommand(a)
	root.SetArgs(findArguments(root, args))
	err := mapfault.Catch(func() error { return root.ExecuteContext(ctx) })
	return report(ctx, a.console, err)
}

// interruptible ends the context with the first signal to stop; a second one
// ends the process as if nobody had listened.
func interruptible(ctx context.Context) (context.Context, func()) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// cacheDir is the directory given by --cache-dir, else $PEELFS_CACHE, else what the
// system's customs say.
func (a *app) cacheDir() (string, error) {
	switch {
	case a.flags.cacheDir != "":
		return absolutePath(a.flags.cacheDir)
	case a.env("PEELFS_CACHE") != "":
		return absolutePath(a.env("PEELFS_CACHE"))
	case filepath.IsAbs(a.env("XDG_CACHE_HOME")):
		return filepath.Join(a.env("XDG_CACHE_HOME"), "peelfs"), nil
	case userns.OwnsSystem(systemCache):
		return systemCache, nil
	case filepath.IsAbs(a.env("HOME")):
		return filepath.Join(a.env("HOME"), ".cache", "peelfs"), nil
	case os.Geteuid() == 0:
		return systemCache, nil
	}
	return "", errkind.WithHint(errkind.New(errkind.Invalid, "no place for the cache: neither PEELFS_CACHE nor HOME is set"),
		"name a directory with --cache-dir")
}

// systemCache is the cache of root, of the machine or of a container.
const systemCache = "/var/cache/peelfs"

// mounts opens the records of what is mounted, to add one.
func (a *app) mounts() (*mounttab.Table, error) { return mounttab.OpenFirst(mounttab.Dirs(a.env)) }

// mountList tells what is mounted.
func (a *app) mountList() *mountList {
	return &mountList{console: a.console, table: mounttab.Look(mounttab.Dirs(a.env)), recordsOnly: mounttab.Explicit(a.env)}
}

// openLog makes the logger that the flags ask for. Without a file it writes to
// stderr.
func (a *app) openLog() error {
	level, err := a.flags.level(a.console.Quiet)
	if err != nil {
		return err
	}
	handler := a.console.LogHandler(level)
	if a.flags.logFile != "" {
		w, err := os.OpenFile(a.flags.logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return errkind.New(errkind.Invalid, "log file: %w", err)
		}
		handler = slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})
	}
	a.log = slog.New(handler)
	// The standard logger is where net/http complains of servers, which helps
	// only people who debug.
	log.SetFlags(0)
	log.SetOutput(slog.NewLogLogger(handler, slog.LevelDebug).Writer())
	return nil
}
