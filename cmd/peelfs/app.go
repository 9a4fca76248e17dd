package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/peelfs/peelfs/cmd/peelfs/mounttab"
	"github.com/peelfs/peelfs/cmd/peelfs/progress"
	"github.com/peelfs/peelfs/fetch"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers"
	"github.com/peelfs/peelfs/layers/view"
	"github.com/peelfs/peelfs/tagstore"
)

// app is one run of the program: its streams, its environment, and the flags
// that commands share.
type app struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) string
	log      *slog.Logger
	flags    flags
	daemon   *daemon  // nil but in the process behind a mount
	args     []string // the command line, without the program's name
}

// flags are those that several commands have. A command that does not offer one
// leaves its default.
type flags struct {
	cacheDir, cacheSize string
	logFile, logLevel   string
	quiet               bool
	verbose             int
	progress, format    string

	platform, pull         string
	plainHTTP, tlsVerify   bool
	caFile, creds          string
	authFile, registryAPI  string
	anonymous              bool
	ioTimeout              time.Duration
	symlinks, prefetch     string
	soci                   string
	allowOther, foreground bool
	shape                  shapeFlags
}

func newApp(in io.Reader, out, err io.Writer, env func(string) string) *app {
	return &app{in: in, out: out, err: err, env: env, log: slog.New(slog.DiscardHandler)}
}

// run is the whole of a command, up to its exit code.
func (a *app) run(args []string) int {
	a.args = args
	ctx, stop := interruptible(context.Background())
	defer stop()
	root := a.rootCommand()
	root.SetArgs(withTwoDashes(root, args))
	return a.report(ctx, root.ExecuteContext(ctx))
}

// interruptible ends the context with the first signal to stop; a second one
// ends the process as if nobody had listened.
func interruptible(ctx context.Context) (context.Context, func()) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// cacheDir is $PEELFS_CACHE, or what the system's customs say.
func (a *app) cacheDir() (string, error) {
	switch {
	case a.flags.cacheDir != "":
		return filepath.Abs(a.flags.cacheDir)
	case a.env("PEELFS_CACHE") != "":
		return filepath.Abs(a.env("PEELFS_CACHE"))
	case filepath.IsAbs(a.env("XDG_CACHE_HOME")):
		return filepath.Join(a.env("XDG_CACHE_HOME"), "peelfs"), nil
	case os.Geteuid() == 0:
		return "/var/cache/peelfs", nil
	case filepath.IsAbs(a.env("HOME")):
		return filepath.Join(a.env("HOME"), ".cache", "peelfs"), nil
	}
	return "", errkind.WithHint(errkind.New(errkind.Invalid, "no place for the cache: neither PEELFS_CACHE nor HOME is set"),
		"name a directory with --cache-dir")
}

// session is what commands work with. Its parts are made without any I/O but
// for the layer store, which is opened when first asked for.
type session struct {
	choices
	app    *app
	dir    string // the cache
	client *fetch.Client
	quick  *fetch.Client // gives up soon: to ask where there is an answer to fall back on
	tags   *tagstore.Store
	store  *layers.Store // nil until layers is called
}

// choices are what flags mean that have few values.
type choices struct {
	policy   tagstore.Policy
	platform fetch.Platform
	symlinks view.Symlinks
	limit    int64 // of the cache, bytes
}

// choices reads the flags, before anything is asked of anybody.
func (f *flags) choices() (c choices, err error) {
	if c.policy, err = tagstore.ParsePolicy(f.pull); err != nil {
		return c, err
	}
	if c.platform, err = fetch.ParsePlatform(f.platform); err != nil {
		return c, err
	}
	if c.limit, err = parseSize(f.cacheSize); err != nil {
		return c, err
	}
	switch f.prefetch {
	case "", "auto", "none", "all":
	default:
		return c, errkind.WithHint(errkind.New(errkind.Invalid, "--prefetch=%s is not known", f.prefetch), "use auto, none or all")
	}
	switch f.symlinks {
	case "rewrite":
		c.symlinks = view.Rewrite
	case "", "raw": // commands that look into an image show what it has
		c.symlinks = view.Raw
	default:
		return c, errkind.WithHint(errkind.New(errkind.Invalid, "--symlinks=%s is not known", f.symlinks), "use rewrite or raw")
	}
	return c, nil
}

// quickTime is how long a registry may be silent when there is an answer to fall
// back on.
const quickTime = 10 * time.Second

func (a *app) open() (*session, error) {
	choices, err := a.flags.choices()
	if err != nil {
		return nil, err
	}
	dir, err := a.cacheDir()
	if err != nil {
		return nil, err
	}
	config := fetch.Config{
		CacheDir: dir, PlainHTTP: a.flags.plainHTTP, InsecureTLS: !a.flags.tlsVerify, CAFile: a.flags.caFile,
		Creds: a.flags.creds, AuthFile: a.flags.authFile, Anonymous: a.flags.anonymous,
		RegistryAPI: a.flags.registryAPI, SOCI: a.flags.soci, IOTimeout: a.flags.ioTimeout, UserAgent: "peelfs/" + version, Logger: a.log,
	}
	client, err := fetch.NewClient(config)
	if err != nil {
		return nil, err
	}
	config.Retry = fetch.RetryPolicy{Attempts: 2, Budget: quickTime}
	if config.IOTimeout == 0 || config.IOTimeout > quickTime {
		config.IOTimeout = quickTime
	}
	quick, err := fetch.NewClient(config)
	if err != nil {
		return nil, err
	}
	tags := tagstore.Open(filepath.Join(dir, "tags"), tagstore.Options{})
	return &session{choices: choices, app: a, dir: dir, client: client, quick: quick, tags: tags}, nil
}

// layers opens the layer store.
func (s *session) layers() (*layers.Store, error) {
	if s.store != nil {
		return s.store, nil
	}
	store, err := layers.OpenStore(s.dir, layers.Options{Size: s.limit, Logger: s.app.log})
	s.store = store
	return store, err
}

func (s *session) close() error {
	var err error
	if s.store != nil {
		err = s.store.Close()
	}
	return errors.Join(err, s.client.Close(), s.quick.Close())
}

// mounts opens the records of what is mounted.
func (a *app) mounts() (*mounttab.Table, error) {
	return mounttab.Open(mounttab.DefaultDir(a.env, os.Geteuid()))
}

// display shows progress on stderr.
func (a *app) display() (*progress.Display, error) {
	mode, err := progress.ParseMode(a.flags.progress)
	if a.flags.quiet {
		mode = progress.None
	}
	return progress.New(a.err, mode, isTerminal(a.err), func() int { return columns(a.err) }), err
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// columns is the width of the terminal behind w, 80 if there is none.
func columns(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return 80
}

// openLog makes the logger that the flags ask for. Without a file it writes to
// stderr.
func (a *app) openLog() error {
	level, err := a.level()
	if err != nil {
		return err
	}
	w := a.err
	if a.flags.logFile != "" {
		w, err = os.OpenFile(a.flags.logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return errkind.New(errkind.Invalid, "log file: %w", err)
		}
	}
	a.log = slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
	return nil
}

func (a *app) level() (level slog.Level, err error) {
	switch {
	case a.flags.logLevel != "":
		if err := level.UnmarshalText([]byte(a.flags.logLevel)); err != nil {
			return level, errkind.WithHint(errkind.New(errkind.Invalid, "log level %q is not known", a.flags.logLevel),
				"use debug, info, warn or error")
		}
		return level, nil
	case a.flags.verbose > 1:
		return slog.LevelDebug, nil
	case a.flags.verbose == 1:
		return slog.LevelInfo, nil
	case a.flags.quiet:
		return slog.LevelError, nil
	}
	return slog.LevelWarn, nil
}

// with runs body with a session and closes it.
func (a *app) with(body func(*session) error) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	return errors.Join(body(s), s.close())
}

// runE is a command's body with the session that it needs.
func (a *app) runE(body func(ctx context.Context, s *session, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		return a.with(func(s *session) error { return body(cmd.Context(), s, args) })
	}
}
