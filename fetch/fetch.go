// Package fetch turns names into images, and digests into bytes.
//
// A reference is resolved eagerly to a manifest and a configuration, both
// checked; the layers are only described, and each comes with a Blob through
// which whoever needs its bytes can read ranges of it. What cannot be mounted
// (encrypted layers, unknown media types, artifacts) is refused here, before
// anything large was fetched.
//
// Where an image lies is the business of one subpackage each: registry (the
// distribution API), archive (layouts and archives on disk), registryv1 (the
// API before 2015). They share the values of package image.
package fetch

import (
	"context"
	"log/slog"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/fetch/image"
	"github.com/peelfs/peelfs/internal/errkind"
)

// The values of package image, under the names that callers use.
type (
	Reference  = image.Reference
	Platform   = image.Platform
	Image      = image.Image
	Layer      = image.Layer
	Blob       = image.Blob
	Descriptor = ocispec.Descriptor
)

// ParseReference reads the REF of a command line; see image.ParseReference.
func ParseReference(s string) (Reference, error) { return image.ParseReference(s) }

// ParsePlatform reads os/arch[/variant]; "" is this machine's.
func ParsePlatform(s string) (Platform, error) { return image.ParsePlatform(s) }

// DefaultPlatform is Linux on this machine's processor.
func DefaultPlatform() Platform { return image.DefaultPlatform() }

// FormatPlatform is the inverse of ParsePlatform.
func FormatPlatform(p Platform) string { return image.FormatPlatform(p) }

// Config says how to reach registries and where to keep what was read. The zero
// value is usable but for CacheDir.
type Config struct {
	CacheDir    string        // manifests and configurations are kept in its blobs/ALG/HEX, verified; "" keeps nothing
	PlainHTTP   bool          // speak http with every registry
	InsecureTLS bool          // accept any certificate
	CAFile      string        // PEM file of further authorities
	Creds       string        // user:password, before all other sources
	AuthFile    string        // a file as docker and podman write it, before all but Creds
	Anonymous   bool          // use no credentials at all
	UserAgent   string        // "" for the default
	RegistryAPI string        // "auto" (also ""), "v1" or "v2"
	IOTimeout   time.Duration // longest silence of a server; 0 for a minute
	Logger      *slog.Logger  // nil discards
}

// Stats counts what a Client has asked for since it was made.
type Stats struct {
	Requests int64 // HTTP requests sent, logins and redirects included
	Bytes    int64 // bytes of response bodies
	Retries  int64 // requests that repeated a failed one
}

// Client resolves references. It is safe for use by several goroutines.
type Client struct{ cfg Config }

// NewClient checks cfg and makes a Client; it does no network I/O.
func NewClient(cfg Config) (*Client, error) { return &Client{cfg: cfg}, nil }

// Close ends idle connections and removes temporary files. Blobs of the client's
// images cannot be read afterwards.
func (c *Client) Close() error { return nil }

// Head says what ref means now: one HEAD request, or GET where HEAD fails.
func (c *Client) Head(ctx context.Context, ref Reference) (Descriptor, error) {
	return Descriptor{}, errkind.New(errkind.Unsupported, "not built yet")
}

// Resolve finds the image that ref names for a platform: its manifest and its
// configuration, read from the cache where they are there.
func (c *Client) Resolve(ctx context.Context, ref Reference, platform Platform) (*Image, error) {
	return nil, errkind.New(errkind.Unsupported, "not built yet")
}

// Tags lists the tags of ref's repository, sorted.
func (c *Client) Tags(ctx context.Context, ref Reference) ([]string, error) {
	return nil, errkind.New(errkind.Unsupported, "not built yet")
}

// Stats returns the counters so far.
func (c *Client) Stats() Stats { return Stats{} }
