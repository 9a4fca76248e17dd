package registry

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/fetch/image"
	"github.com/peelfs/peelfs/fetch/login"
	"github.com/peelfs/peelfs/fetch/transport"
	"github.com/peelfs/peelfs/internal/errkind"
)

// Pusher writes small blobs and manifests to a repository. It logs in anew, for
// more than reading needs. It is safe for concurrent use.
type Pusher struct{ r *Repository }

// OpenPusher makes the Pusher for the repository that ref is in. It sends nothing.
func OpenPusher(shared *Shared, ref image.Reference) *Pusher {
	r := Open(shared, ref)
	r.login = login.NewClient(shared.Transport, shared.Credentials, r.domain, r.host, r.name, login.Push)
	return &Pusher{r}
}

// Blob puts data into the repository, unless it is there.
func (p *Pusher) Blob(ctx context.Context, data []byte) (ocispec.Descriptor, error) {
	d := ocispec.Descriptor{MediaType: "application/octet-stream", Digest: digest.FromBytes(data), Size: int64(len(data))}
	return d, p.r.retry(ctx, func() error {
		resp, err := p.r.do(ctx, http.MethodHead, p.r.url("blobs/"+d.Digest.String()), nil)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
		return p.upload(ctx, d.Digest, data)
	})
}

// upload sends a blob in one piece: POST for the place, PUT to it.
func (p *Pusher) upload(ctx context.Context, d digest.Digest, data []byte) error {
	what := "upload of " + d.String()
	resp, err := p.send(ctx, http.MethodPost, p.r.url("blobs/uploads/"), nil, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusAccepted {
		return p.r.statusError(resp, what)
	}
	resp.Body.Close()
	to, err := resp.Request.URL.Parse(resp.Header.Get("Location"))
	if err != nil || resp.Header.Get("Location") == "" {
		return errkind.New(errkind.Unavailable, "%s: %s does not say where to", what, p.r.host)
	}
	if to.Host == resp.Request.URL.Host {
		to.Scheme = resp.Request.URL.Scheme // behind a proxy a registry may not know its own
	}
	if !transport.SameOrigin(to, resp.Request.URL) {
		return errkind.New(errkind.Unsupported, "%s: %s sends uploads to another host, %s", what, p.r.host, to.Host)
	}
	q := to.Query()
	q.Set("digest", d.String())
	to.RawQuery = q.Encode()
	resp, err = p.send(ctx, http.MethodPut, to, http.Header{"Content-Type": {"application/octet-stream"}}, data)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusCreated {
		return p.r.statusError(resp, what)
	}
	return resp.Body.Close()
}

// Manifest puts a manifest into the repository under a tag, or, if tag is "",
// under its digest alone. It reports whether the registry has understood that the
// manifest has a subject.
func (p *Pusher) Manifest(ctx context.Context, tag, mediaType string, raw []byte) (d ocispec.Descriptor, subject bool, err error) {
	d = ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	target := tag
	if tag == "" {
		target = d.Digest.String()
	}
	err = p.r.retry(ctx, func() error {
		resp, err := p.send(ctx, http.MethodPut, p.r.url("manifests/"+target), http.Header{"Content-Type": {mediaType}}, raw)
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusAccepted {
			return p.r.statusError(resp, p.r.describe(target))
		}
		subject = resp.Header.Get("OCI-Subject") != ""
		return resp.Body.Close()
	})
	return d, subject, err
}

// Tagged reads the manifest that a tag names.
func (p *Pusher) Tagged(ctx context.Context, tag string) (ocispec.Descriptor, error) {
	return p.r.Tagged(ctx, tag)
}

func (p *Pusher) send(ctx context.Context, method string, u *url.URL, header http.Header, data []byte) (*http.Response, error) {
	var body io.Reader
	if data != nil {
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, errkind.Wrap(errkind.Internal, err)
	}
	maps.Copy(req.Header, header)
	resp, err := p.r.login.Do(req)
	if err == nil {
		p.r.met.Store(true)
	}
	return resp, err
}
