package registry

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/fetch/image"
	"github.com/peelfs/peelfs/fetch/transport"
	"github.com/peelfs/peelfs/fetch/transport/ranges"
	"github.com/peelfs/peelfs/internal/errkind"
)

// blob is one blob of a repository. It implements image.Blob.
type blob struct {
	repo *Repository
	d    ocispec.Descriptor
	size int64 // -1 if unknown

	// places are where the blob may be: the registry, then the URLs of a foreign
	// layer. at is the one that had it.
	places []*url.URL
	at     atomic.Int32
}

// Blob is the way to a layer's bytes. A descriptor whose Size is negative has an
// unknown size. URLs are followed for foreign layers only, after the registry
// said that it has no such blob.
func (r *Repository) Blob(d ocispec.Descriptor) image.Blob {
	b := &blob{repo: r, d: d, size: max(d.Size, -1)}
	b.places = []*url.URL{r.url("blobs/" + d.Digest.String())}
	if strings.Contains(d.MediaType, "foreign") || strings.Contains(d.MediaType, "nondistributable") {
		for _, s := range d.URLs {
			if u, err := url.Parse(s); err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" {
				b.places = append(b.places, u)
			}
		}
	}
	return b
}

// Size implements image.Blob.
func (b *blob) Size() (int64, bool) { return max(b.size, 0), b.size >= 0 }

// ReadRange implements image.Blob. A long range may come over several
// connections at once.
func (b *blob) ReadRange(ctx context.Context, off, n int64) (io.ReadCloser, int64, error) {
	end, err := b.bounds(off, n)
	if err != nil {
		return nil, 0, err
	}
	if end == off {
		return http.NoBody, off, nil
	}
	first := end
	if long := end - off; end >= 0 && long >= stripeMin {
		first = off + leadSize
	}
	s := b.body(ctx, off, first)
	if err := s.Begin(); err != nil {
		return nil, 0, err
	}
	if s.Whole() { // the range was ignored: what comes begins at 0
		return s, s.All(off, end, nil), nil
	}
	if first != end {
		return newStriped(ctx, b, s, end), off, nil
	}
	return s, off, nil
}

// body makes the body of [off, end), which asks for nothing yet.
func (b *blob) body(ctx context.Context, off, end int64) *ranges.Body {
	return ranges.New(ctx, b.source(), off, end)
}

func (b *blob) source() ranges.Source {
	return ranges.Source{Open: b.open, Tries: b.repo.attempts(), Patience: b.repo.shared.Transport.Patience}
}

// bounds turns off and n into the end of the range, -1 if that is the unknown end
// of the blob.
func (b *blob) bounds(off, n int64) (int64, error) {
	switch {
	case off < 0, b.size >= 0 && off > b.size, b.size >= 0 && n > b.size-off:
		return 0, errkind.New(errkind.Corrupt, "range %d+%d is outside of blob %s of %d bytes", off, n, b.d.Digest, b.size)
	case n < 0:
		return b.size, nil
	}
	return off + n, nil
}

// open asks once for [off, end); end < 0 is all there is. The part may begin at
// 0 instead, when the server ignores ranges, and may end early.
func (b *blob) open(ctx context.Context, off, end int64) (*ranges.Part, error) {
	var header http.Header
	if off != 0 || end != b.size { // a whole blob is the simplest request there is
		header = ranges.Header(off, end)
	}
	resp, err := b.request(ctx, header)
	if err != nil {
		return nil, err
	}
	p, err := b.accept(resp, off, end)
	if err != nil {
		resp.Body.Close()
	}
	return p, err
}

// request tries the places in order, from the one that worked last, and moves on
// only where a place does not have the blob.
func (b *blob) request(ctx context.Context, header http.Header) (*http.Response, error) {
	for {
		i := b.at.Load()
		resp, err := b.get(ctx, int(i), header)
		if err != nil {
			return nil, err
		}
		missing := resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusForbidden
		if !missing || int(i)+1 >= len(b.places) {
			return resp, nil
		}
		resp.Body.Close()
		b.at.CompareAndSwap(i, i+1)
	}
}

// get asks one place. Only the registry sees credentials.
func (b *blob) get(ctx context.Context, place int, header http.Header) (*http.Response, error) {
	u := *b.places[place]
	if place == 0 {
		u.Scheme = b.repo.shared.Transport.Scheme(u.Host)
		return b.repo.do(ctx, http.MethodGet, &u, header)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, errkind.Wrap(errkind.Corrupt, err)
	}
	maps.Copy(req.Header, header)
	resp, err := (&http.Client{Transport: b.repo.shared.Transport}).Do(req)
	return resp, transport.Classify(err, u.Host)
}

// accept looks at what came. On an error the body is the caller's to close.
func (b *blob) accept(resp *http.Response, off, end int64) (*ranges.Part, error) {
	p := &ranges.Part{ReadCloser: resp.Body, Host: resp.Request.URL.Host, At: 0, End: b.size}
	switch resp.StatusCode {
	case http.StatusOK:
		p.Whole = true
		if b.size < 0 {
			p.End = resp.ContentLength
		}
		p.Total = p.End
		return p, b.checkSize(resp.ContentLength)
	case http.StatusPartialContent:
		r, err := ranges.ParseContentRange(resp.Header.Get("Content-Range"), ranges.Strict)
		if err != nil {
			return nil, err
		}
		if r.First != off || end >= 0 && r.Last >= end {
			return nil, errkind.New(errkind.Unavailable, "%s answers for bytes %d-%d when asked for %d-%d", p.Host, r.First, r.Last, off, end-1)
		}
		p.At, p.End, p.Total = r.First, r.Last+1, r.Total
		return p, b.checkSize(r.Total)
	}
	return nil, b.repo.statusError(resp, "blob "+b.d.Digest.String())
}

// checkSize compares what a server says with what the manifest says.
func (b *blob) checkSize(n int64) error {
	if n < 0 || b.size < 0 || n == b.size {
		return nil
	}
	return errkind.New(errkind.Corrupt, "blob %s has %d bytes instead of %d", b.d.Digest, n, b.size)
}
