package fetch

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/fetch/archive"
	"github.com/peelfs/peelfs/fetch/blobcache"
	"github.com/peelfs/peelfs/fetch/login"
	"github.com/peelfs/peelfs/fetch/registry"
	"github.com/peelfs/peelfs/fetch/tarfile"
	"github.com/peelfs/peelfs/fetch/transport"
	"github.com/peelfs/peelfs/fetch/transport/retry"
	"github.com/peelfs/peelfs/internal/errkind"
)

// RetryPolicy says how failures that may pass are met.
type RetryPolicy = retry.Policy

// Config says how to reach registries and where to keep what was read. The zero
// value is usable but for CacheDir.
type Config struct {
	CacheDir    string        // manifests and configurations are kept in its blobs/ALG/HEX, verified; "" keeps nothing
	PlainHTTP   bool          // speak http with every registry; loopback ones are spoken to by http anyway
	HTTPS       bool          // speak https with loopback registries too
	InsecureTLS bool          // accept any certificate, and redirects to http
	CAFile      string        // PEM file of further authorities
	Creds       string        // user:password, before all other sources
	AuthFile    string        // a file as docker and podman write it, before all but Creds
	Anonymous   bool          // use no credentials at all
	UserAgent   string        // "" for the default
	RegistryAPI string        // "auto" (also ""): v2, and v1 where there is no v2; or "v1" or "v2"
	SOCI        string        // which SOCI indexes are used: "v2", those that the image names; "on", those that name the image too; "auto" (also ""), as "v2" for pinned references and as "on" for others; or "off"
	IOTimeout   time.Duration // longest silence of a server; 0 for a minute
	Retry       RetryPolicy   // zero fields have defaults
	Logger      *slog.Logger  // nil discards
}

// Stats counts what a Client has asked for since it was made.
type Stats struct {
	Requests int64 // HTTP requests sent, logins and redirects included
	Bytes    int64 // bytes of response bodies
	Retries  int64 // requests that repeated a failed one
}

// Client resolves references. It is safe for use by several goroutines.
type Client struct {
	cfg    Config
	log    *slog.Logger
	net    *transport.Transport
	find   *login.Finder
	shared *registry.Shared
	cache  blobcache.Cache

	mu struct {
		sync.Mutex
		closed bool
		repos  map[string]*registry.Repository // by name: they remember logins
		files  map[string]*tarfile.File        // by label
		dirs   []*archive.Dir
	}
}

// HasBlob reports whether the manifest or configuration d is in the cache, so that
// Resolve need not ask for it.
func (c *Client) HasBlob(d digest.Digest) bool { return c.cache.Has(d) }

// NewClient checks cfg and makes a Client; it does no network I/O. Errors are of
// kind Invalid.
func NewClient(cfg Config) (*Client, error) {
	switch cfg.RegistryAPI {
	case "":
		cfg.RegistryAPI = "auto"
	case "auto", "v1", "v2":
	default:
		return nil, errkind.New(errkind.Invalid, "registry API %q is none of auto, v1 and v2", cfg.RegistryAPI)
	}
	switch cfg.SOCI {
	case "":
		cfg.SOCI = "auto"
	case "auto", "on", "v2", "off":
	default:
		return nil, errkind.New(errkind.Invalid, "--soci=%s is none of auto, on, v2 and off", cfg.SOCI)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	find, err := login.NewFinder(login.Options{Creds: cfg.Creds, AuthFile: cfg.AuthFile, Anonymous: cfg.Anonymous, Logger: cfg.Logger})
	if err != nil {
		return nil, err
	}
	return openClient(cfg, find)
}

// Patient returns another client with the configuration of c, but for how long it
// waits for servers. The two look credentials up as one, so that what is amiss with
// those is warned of once. Each is closed by itself.
func (c *Client) Patient(policy RetryPolicy, ioTimeout time.Duration) (*Client, error) {
	cfg := c.cfg
	cfg.Retry, cfg.IOTimeout = policy, ioTimeout
	return openClient(cfg, c.find)
}

// openClient makes a Client of a checked configuration.
func openClient(cfg Config, find *login.Finder) (*Client, error) {
	net, err := transport.New(transport.Options{PlainHTTP: cfg.PlainHTTP, HTTPS: cfg.HTTPS, InsecureTLS: cfg.InsecureTLS, CAFile: cfg.CAFile,
		UserAgent: cfg.UserAgent, IOTimeout: cfg.IOTimeout, Logger: cfg.Logger})
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, log: cfg.Logger, net: net, find: find, cache: blobcache.New(cfg.CacheDir),
		shared: &registry.Shared{Transport: net, Credentials: find, Policy: cfg.Retry, Logger: cfg.Logger}}
	c.mu.repos = map[string]*registry.Repository{}
	c.mu.files = map[string]*tarfile.File{}
	return c, nil
}

// Close ends idle connections and closes archives. Blobs of the client's images
// cannot be read afterwards.
func (c *Client) Close() error {
	c.mu.Lock()
	files, dirs := c.mu.files, c.mu.dirs
	c.mu.files, c.mu.dirs, c.mu.closed = nil, nil, true
	c.mu.Unlock()
	var errs []error
	for _, f := range files {
		errs = append(errs, f.Close())
	}
	for _, d := range dirs {
		errs = append(errs, d.Close())
	}
	c.net.Close()
	return errors.Join(errs...)
}

// Stats returns the counters so far.
func (c *Client) Stats() Stats {
	s := c.net.Stats()
	return Stats{Requests: s.Requests, Bytes: s.Bytes, Retries: c.shared.Retries()}
}

// repository is the one that ref names; it lives as long as the client.
func (c *Client) repository(ref Reference) *registry.Repository {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.mu.repos[ref.Name()]
	if r == nil {
		r = registry.Open(c.shared, ref)
		c.mu.repos[ref.Name()] = r
	}
	return r
}

func (c *Client) tmpDir() string {
	if c.cfg.CacheDir == "" {
		return ""
	}
	return filepath.Join(c.cfg.CacheDir, "tmp")
}

// tarFile opens an archive, once for each state of it.
func (c *Client) tarFile(ctx context.Context, path string) (*tarfile.File, error) {
	label, err := tarfile.LabelOf(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	c.mu.Lock()
	known := c.mu.files[label]
	c.mu.Unlock()
	if known != nil {
		return known, nil
	}
	f, err := tarfile.Open(ctx, path, c.tmpDir())
	if err != nil {
		return nil, err
	}
	return c.keep(label, f)
}

// daemonFile is what the docker daemon saves for ref.
func (c *Client) daemonFile(ctx context.Context, ref Reference) (*tarfile.File, error) {
	name := ref.Daemon()
	f, err := archive.Daemon(ctx, os.Getenv("DOCKER_HOST"), name, c.tmpDir())
	if err != nil {
		return nil, err
	}
	return c.keep("docker-daemon:"+name+"@"+time.Now().String(), f)
}

// keep makes f the client's, unless another has come first.
func (c *Client) keep(label string, f *tarfile.File) (*tarfile.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		f.Close()
		return nil, errkind.New(errkind.Internal, "client is closed")
	}
	if known := c.mu.files[label]; known != nil {
		f.Close()
		return known, nil
	}
	c.mu.files[label] = f
	return f, nil
}

func (c *Client) dir(path string) (*archive.Dir, error) {
	d, err := archive.OpenDir(path)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		d.Close()
		return nil, errkind.New(errkind.Internal, "client is closed")
	}
	c.mu.dirs = append(c.mu.dirs, d)
	return d, nil
}

// Prune removes cached manifests and configurations that keep does not want and
// that were stored before since; it returns the bytes freed. With dryRun nothing
// goes.
func (c *Client) Prune(keep func(digest.Digest) bool, since time.Time, dryRun bool) (int64, error) {
	return c.cache.Prune(keep, since, dryRun)
}
