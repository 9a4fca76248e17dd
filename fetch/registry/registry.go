// Package registry reads images by the OCI distribution protocol, which is also
// docker's registry API version 2.
//
// A repository is asked for as little as possible: one HEAD for a name, one GET
// for a document. Blobs are read by closed single ranges over connections that
// may break: what comes out of a body is contiguous and complete, or an error
// (it is verified by those who see all of it). No server decides how much
// memory is used.
package registry

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/fetch/image"
	"github.com/peelfs/peelfs/fetch/login"
	"github.com/peelfs/peelfs/fetch/manifest"
	"github.com/peelfs/peelfs/fetch/transport"
	"github.com/peelfs/peelfs/fetch/transport/retry"
	"github.com/peelfs/peelfs/internal/errkind"
)

// dockerHub is what users call the registry whose API is at dockerHubHost.
const (
	dockerHub     = "docker.io"
	dockerHubHost = "registry-1.docker.io"
)

// Shared is what all repositories of a client have in common. Set its fields
// before use; none may change afterwards.
type Shared struct {
	Transport   *transport.Transport
	Credentials *login.Finder
	Policy      retry.Policy
	Logger      *slog.Logger // for what a user should know of answers that are not errors

	retries atomic.Int64
	spare   atomic.Int64 // connections in use beyond the first of each stream
}

// Retries is how many requests repeated a failed one.
func (s *Shared) Retries() int64 { return s.retries.Load() }

// Retried counts a request that is about to be repeated.
func (s *Shared) Retried() { s.retries.Add(1) }

// Repository is one repository of one registry. It is safe for concurrent use.
type Repository struct {
	shared *Shared
	login  *login.Client
	domain string // as users say
	host   string // as the API is reached
	name   string
	met    atomic.Bool // the registry has answered
}

// Open makes the Repository that ref is in. It sends nothing.
func Open(shared *Shared, ref image.Reference) *Repository {
	host := ref.Domain()
	if host == dockerHub {
		host = dockerHubHost
	}
	return &Repository{
		shared: shared, domain: ref.Domain(), host: host, name: ref.Repository(),
		login: login.NewClient(shared.Transport, shared.Credentials, ref.Domain(), host, ref.Repository()),
	}
}

func (r *Repository) url(path string) *url.URL {
	return &url.URL{Scheme: r.shared.Transport.Scheme(r.host), Host: r.host, Path: "/v2/" + r.name + "/" + path}
}

// do sends one request. It does not retry, but finds out whether a registry on
// this machine wants TLS.
func (r *Repository) do(ctx context.Context, method string, u *url.URL, header http.Header) (*http.Response, error) {
	resp, err := r.send(ctx, method, u, header)
	doubt := err != nil && ctx.Err() == nil && !errkind.Is(err, errkind.Timeout) || err == nil && resp.StatusCode == http.StatusBadRequest
	if u.Scheme != "http" || !doubt || !r.shared.Transport.UseTLS(u.Host) {
		return resp, err
	}
	if err == nil {
		resp.Body.Close()
	}
	tls := *u
	tls.Scheme = "https"
	return r.send(ctx, method, &tls, header)
}

func (r *Repository) send(ctx context.Context, method string, u *url.URL, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, errkind.Wrap(errkind.Internal, err)
	}
	maps.Copy(req.Header, header)
	resp, err := r.login.Do(req)
	if err == nil {
		r.met.Store(true)
	}
	return resp, err
}

// retry runs f until it succeeds or fails for good.
func (r *Repository) retry(ctx context.Context, f func() error) error {
	a := r.attempts()
	for {
		err := f()
		if err == nil {
			return nil
		}
		if err = a.Again(ctx, err); err != nil {
			return err
		}
	}
}

func (r *Repository) attempts() *retry.Attempts { return r.shared.Policy.Start(r) }

// Met implements retry.Server.
func (r *Repository) Met() bool { return r.met.Load() }

// Retried implements retry.Server.
func (r *Repository) Retried() { r.shared.Retried() }

// SpeaksV2 reports whether the registry has this protocol at all. It is one
// request, for when nothing was found; where it fails, the answer is yes.
func (r *Repository) SpeaksV2(ctx context.Context) bool {
	u := r.url("")
	u.Path = "/v2/"
	resp, err := r.do(ctx, http.MethodGet, u, nil)
	if err != nil {
		return true
	}
	resp.Body.Close()
	return resp.StatusCode != http.StatusNotFound || resp.Header.Get("Docker-Distribution-Api-Version") != ""
}

func acceptManifests() http.Header { return http.Header{"Accept": {manifest.Accept}} }

// Head says what a tag or a digest means now. The descriptor has Data if the
// manifest had to be read for that; otherwise the server's word stands for its
// digest and size, to be checked when it is read.
func (r *Repository) Head(ctx context.Context, target string) (ocispec.Descriptor, error) {
	var d ocispec.Descriptor
	err := r.retry(ctx, func() (err error) {
		d, err = r.head(ctx, target)
		return err
	})
	return d, err
}

func (r *Repository) head(ctx context.Context, target string) (ocispec.Descriptor, error) {
	resp, err := r.do(ctx, http.MethodHead, r.url("manifests/"+target), acceptManifests())
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		d := ocispec.Descriptor{
			MediaType: resp.Header.Get("Content-Type"),
			Digest:    digest.Digest(resp.Header.Get("Docker-Content-Digest")),
			Size:      resp.ContentLength,
		}
		if manifest.CheckDigest(d.Digest) == nil && d.Size > 0 && !perhapsConverted(d.MediaType) && transport.Encoding(resp.Header) == "" {
			return d, nil
		}
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return ocispec.Descriptor{}, r.statusError(resp, r.describe(target))
	}
	return r.getManifest(ctx, target) // also for the words of an error: a HEAD has none
}

// perhapsConverted: a manifest of schema 1 may have been made of another for this
// one request, and is then found under its tag and not under its digest.
func perhapsConverted(contentType string) bool {
	t, _, _ := strings.Cut(contentType, ";")
	return manifest.IsSchema1(strings.TrimSpace(t))
}

// Manifest reads the manifest that d describes. The bytes are not checked
// against the digest: a signed manifest has its own rule for that.
func (r *Repository) Manifest(ctx context.Context, d ocispec.Descriptor) (ocispec.Descriptor, error) {
	var got ocispec.Descriptor
	err := r.retry(ctx, func() (err error) {
		got, err = r.getManifest(ctx, d.Digest.String())
		return err
	})
	return got, err
}

// getManifest returns a descriptor with Data. Its digest is the one that the
// target or the server named, or else computed.
func (r *Repository) getManifest(ctx context.Context, target string) (ocispec.Descriptor, error) {
	none := ocispec.Descriptor{}
	resp, err := r.do(ctx, http.MethodGet, r.url("manifests/"+target), acceptManifests())
	if err != nil {
		return none, err
	}
	if resp.StatusCode != http.StatusOK {
		return none, r.statusError(resp, r.describe(target))
	}
	raw, err := r.readAll(resp, manifest.MaxManifest, "manifest of "+r.describe(target), digest.Digest(target))
	if err != nil {
		return none, err
	}
	d := ocispec.Descriptor{MediaType: resp.Header.Get("Content-Type"), Size: int64(len(raw)), Data: raw}
	if want := digest.Digest(target); manifest.CheckDigest(want) == nil {
		d.Digest = want
	} else if said := digest.Digest(resp.Header.Get("Docker-Content-Digest")); manifest.CheckDigest(said) == nil {
		d.Digest = said
	} else {
		d.Digest = digest.FromBytes(raw)
	}
	return d, nil
}

// readAll reads a whole body of at most limit bytes and closes it. want is the
// digest of the bytes, if that is known; it is not checked, but tells an encoding
// from the label of one.
func (r *Repository) readAll(resp *http.Response, limit int64, what string, want digest.Digest) ([]byte, error) {
	if resp.ContentLength > limit {
		resp.Body.Close()
		return nil, about(what, transport.TooLarge(limit))
	}
	var good func([]byte) bool
	if manifest.CheckDigest(want) == nil {
		good = func(raw []byte) bool { return want.Algorithm().FromBytes(raw) == want }
	}
	raw, err := transport.ReadDocument(resp, limit, good)
	return raw, about(what, err)
}

// about says what an error is about.
func about(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// BlobSize asks how long a blob is; one HEAD request, which is not repeated.
func (r *Repository) BlobSize(ctx context.Context, d digest.Digest) (int64, error) {
	resp, err := r.do(ctx, http.MethodHead, r.url("blobs/"+d.String()), nil)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.ContentLength < 0 || transport.Encoding(resp.Header) != "" {
		return 0, errkind.New(errkind.Unavailable, "blob %s: no size (status %d)", d, resp.StatusCode)
	}
	return resp.ContentLength, nil
}

// Bytes reads a whole small blob, unverified.
func (r *Repository) Bytes(ctx context.Context, d ocispec.Descriptor, limit int64) ([]byte, error) {
	var raw []byte
	err := r.retry(ctx, func() error {
		resp, err := r.do(ctx, http.MethodGet, r.url("blobs/"+d.Digest.String()), nil)
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return r.statusError(resp, "blob "+d.Digest.String())
		}
		raw, err = r.readAll(resp, min(limit, d.Size), "blob "+d.Digest.String(), d.Digest)
		if err == nil && int64(len(raw)) < d.Size {
			err = retry.Doubtful(errkind.New(errkind.Corrupt, "blob %s has %d bytes instead of %d", d.Digest, len(raw), d.Size))
		}
		return err
	})
	return raw, err
}

// describe names a tag or a digest of the repository in messages.
func (r *Repository) describe(target string) string {
	sep := ":"
	if strings.Contains(target, ":") {
		sep = "@"
	}
	return r.domain + "/" + r.name + sep + target
}
