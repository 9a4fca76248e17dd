package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/fetch"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers"
	"github.com/peelfs/peelfs/layers/view"
	"github.com/peelfs/peelfs/tagstore"
)

// session is what commands work with. Its parts are made without any I/O but
// for the layer store, which is opened when first asked for.
type session struct {
	choices
	console *output.Console // for what is worth telling of a name
	log     *slog.Logger
	dir     string // the cache
	client  *fetch.Client
	quick   *fetch.Client // gives up soon: to ask where there is an answer to fall back on
	tags    *tagstore.Store
	opening sync.Mutex    // held while store is opened
	store   *layers.Store // nil until layers is called
	access  []string      // how registries are asked, and as whom
}

// choices are what flags mean that have few values.
type choices struct {
	policy   tagstore.Policy
	platform fetch.Platform
	symlinks view.Symlinks
	limit    int64 // of the cache, bytes
}

// choices reads the flags, before anything is asked of anybody.
func (s *sessionFlags) choices() (c choices, err error) {
	if c.policy, err = tagstore.ParsePolicy(s.pull); err != nil {
		return c, err
	}
	if c.platform, err = fetch.ParsePlatform(s.platform); err != nil {
		return c, err
	}
	if c.limit, err = parseSize(s.cacheSize); err != nil {
		return c, err
	}
	if s.ioTimeout < 0 {
		return c, errkind.WithHint(errkind.New(errkind.Invalid, "--io-timeout=%s is negative", s.ioTimeout), "leave it out for the default")
	}
	switch s.symlinks {
	case "rewrite":
		c.symlinks = view.Rewrite
	case "", "raw":
		c.symlinks = view.Raw
	default:
		return c, errkind.WithHint(errkind.New(errkind.Invalid, "--symlinks=%s is not known", s.symlinks), "use rewrite or raw")
	}
	return c, nil
}

// checkFiles holds that a file of credentials that was named is there: without it
// the registry would be asked as anybody.
func (s *sessionFlags) checkFiles() error {
	if s.authFile == "" {
		return nil
	}
	if _, err := os.Stat(s.authFile); err != nil {
		return errkind.WithHint(errkind.New(errkind.Invalid, "--authfile: %w", err), "leave it out to use docker's and podman's files, or give --anonymous")
	}
	return nil
}

// quickTime is how long a registry may be silent when there is an answer to fall
// back on.
const quickTime = 10 * time.Second

// openSession opens a session as the flags say; the caller closes it. Paths among
// the flags become absolute, so that another session can be opened with them later.
func openSession(a *app, f *sessionFlags) (*session, error) {
	choices, err := f.choices()
	if err != nil {
		return nil, err
	}
	dir, err := a.cacheDir()
	if err == nil {
		a.flags.cacheDir = dir
		err = errors.Join(absolute(&f.caFile, &f.authFile), f.checkFiles())
	}
	if err != nil {
		return nil, err
	}
	// A read must outlive an attempt of the client, or there is only one.
	config := fetch.Config{
		CacheDir: dir, PlainHTTP: f.plainHTTP, HTTPS: f.https(), InsecureTLS: !f.tlsVerify, CAFile: f.caFile,
		Creds: f.creds, AuthFile: f.authFile, Anonymous: f.anonymous,
		RegistryAPI: f.registryAPI, SOCI: f.soci, IOTimeout: f.ioTimeout / 2, UserAgent: "peelfs/" + version, Logger: a.log,
	}
	client, err := fetch.NewClient(config)
	if err != nil {
		return nil, err
	}
	silence := config.IOTimeout
	if silence == 0 || silence > quickTime {
		silence = quickTime
	}
	quick, err := client.Patient(fetch.RetryPolicy{Attempts: 2, Budget: quickTime}, silence)
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	tags := tagstore.Open(filepath.Join(dir, "tags"), tagstore.Options{})
	return &session{choices: choices, access: access(&f.registryFlags, a.env), console: a.console, log: a.log, dir: dir, client: client, quick: quick, tags: tags}, nil
}

// layers opens the layer store, at the first call. It may be called concurrently.
func (s *session) layers() (*layers.Store, error) {
	s.opening.Lock()
	defer s.opening.Unlock()
	if s.store != nil {
		return s.store, nil
	}
	store, err := layers.OpenStore(s.dir, layers.Options{Size: s.limit, Logger: s.log})
	s.store = store
	return store, err
}

// writable is nil if the cache can be written, for commands that change it.
func (s *session) writable() error {
	store, err := s.layers()
	if err != nil {
		return err
	}
	return store.Writable()
}

func (s *session) close() error {
	var err error
	if s.store != nil {
		err = s.store.Close()
	}
	return errors.Join(err, s.client.Close(), s.quick.Close())
}

// withSession runs do with a session, which is closed afterwards.
func withSession(a *app, f *sessionFlags, do func(*session) error) error {
	s, err := openSession(a, f)
	if err != nil {
		return err
	}
	return errors.Join(do(s), s.close())
}

// inSession is the body of a command that needs a session, opened as f says.
func inSession(a *app, f *sessionFlags, do func(context.Context, *output.Console, *session, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		return withSession(a, f, func(s *session) error { return do(cmd.Context(), a.console, s, args) })
	}
}

// withStore is the body of a command that needs the layer store, and no registry.
func withStore(a *app, do func(context.Context, *output.Console, *session, *layers.Store, []string) error) func(*cobra.Command, []string) error {
	return inSession(a, defaultSession(), func(ctx context.Context, c *output.Console, s *session, args []string) error {
		store, err := s.layers()
		if err != nil {
			return err
		}
		return do(ctx, c, s, store, args)
	})
}
