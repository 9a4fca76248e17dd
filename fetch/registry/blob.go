package registry

import (
	"bufio"
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
	"github.com/peelfs/peelfs/fetch/transport/retry"
	"github.com/peelfs/peelfs/internal/errkind"
)

// blob is one blob of a repository. It implements image.Blob.
type blob struct {
	repo *Repository
	d    ocispec.Descriptor
	size int64 // -1 if unknown

	// places are where the blob may be: the registry, then the URLs of its
	// descriptor. at is the one that had it last.
	places []*url.URL
	at     atomic.Int32
}

// Blob is the way to a layer's bytes. A descriptor whose Size is negative has an
// unknown size. URLs of the descriptor are asked, one after the other, where the
// registry, or the one before, fails in whatever way.
func (r *Repository) Blob(d ocispec.Descriptor) image.Blob {
	b := &blob{repo: r, d: d, size: max(d.Size, -1)}
	b.places = []*url.URL{r.url("blobs/" + d.Digest.String())}
	for _, s := range d.URLs[:min(len(d.URLs), maxURLs)] {
		if u, err := url.Parse(s); err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" {
			b.places = append(b.places, u)
		}
	}
	return b
}

// maxURLs is how many URLs of a descriptor are asked at most.
const maxURLs = 16

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

// open asks each place once for [off, end), from the one on that had the blob
// last, until one gives it; end < 0 is all there is. The part may begin at 0
// instead, when the server ignores ranges, and may end early.
func (b *blob) open(ctx context.Context, off, end int64) (*ranges.Part, error) {
	first := int(b.at.Load())
	var worst error
	for i := range b.places {
		place := (first + i) % len(b.places)
		p, err := b.openAt(ctx, place, off, end)
		if err == nil {
			b.at.Store(int32(place))
			return p, nil
		}
		if ctx.Err() != nil {
			return nil, retry.Canceled(ctx)
		}
		worst = worse(worst, err)
	}
	return nil, worst
}

// worse is the error to report of two places: one that may pass, else the first
// that says more than that there is no such thing.
func worse(a, b error) error {
	switch {
	case a == nil, errkind.Of(b).Retryable() && !errkind.Of(a).Retryable():
		return b
	case errkind.Is(a, errkind.NotFound) && !errkind.Of(a).Retryable():
		return b
	}
	return a
}

// openAt asks one place. An answer that is an encoded form of the blob is decoded
// if it is whole, and asked for as a whole if it is a stretch of that form.
func (b *blob) openAt(ctx context.Context, place int, off, end int64) (*ranges.Part, error) {
	var header http.Header
	if off != 0 || end != b.size { // a whole blob is the simplest request there is
		header = ranges.Header(off, end)
	}
	resp, err := b.get(ctx, place, header)
	if err == nil && b.isEncodedPart(resp) {
		resp.Body.Close()
		resp, err = b.get(ctx, place, nil)
	}
	if err != nil {
		return nil, err
	}
	p, err := b.accept(resp, off, end)
	if err != nil {
		resp.Body.Close()
	}
	return p, err
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
	t := b.repo.shared.Transport
	resp, err := (&http.Client{Transport: t, CheckRedirect: t.CheckRedirect}).Do(req)
	return resp, transport.Classify(err, u.Host)
}

// accept looks at what came. On an error the body is the caller's to close.
func (b *blob) accept(resp *http.Response, off, end int64) (*ranges.Part, error) {
	p := &ranges.Part{ReadCloser: resp.Body, Host: resp.Request.URL.Host}
	switch resp.StatusCode {
	case http.StatusOK:
		return p, b.whole(p, resp)
	case http.StatusPartialContent:
		r, err := ranges.ParseContentRange(resp.Header.Get("Content-Range"), ranges.Strict)
		if err == nil && (r.First != off || end >= 0 && r.Last >= end) {
			err = errkind.New(errkind.Unavailable, "%s answers for bytes %d-%d when asked for %d-%d", p.Host, r.First, r.Last, off, end-1)
		}
		if err != nil {
			return nil, about("blob "+b.d.Digest.String(), err)
		}
		p.At, p.End, p.Total = r.First, r.Last+1, r.Total
		return p, b.checkSize(p.Host, r.Total)
	}
	return nil, b.repo.statusError(resp, "blob "+b.d.Digest.String())
}

// whole makes p the whole blob, as resp has it.
func (b *blob) whole(p *ranges.Part, resp *http.Response) error {
	p.End, p.Whole = b.size, true
	encoded := b.isEncoded(resp)
	p.ReadCloser = resp.Body
	if encoded {
		plain, err := transport.Decode(resp.Body, transport.Encoding(resp.Header))
		if err != nil {
			return about("blob "+b.d.Digest.String(), err)
		}
		p.ReadCloser = decoded{plain, resp.Body}
		resp.ContentLength = -1
	}
	if b.size < 0 {
		p.End = resp.ContentLength
	}
	p.Total = p.End
	if b.size >= 0 && resp.ContentLength == b.size {
		return nil // whatever it is called
	}
	if err := transport.Page(resp); err != nil {
		return about("blob "+b.d.Digest.String(), err)
	}
	return b.checkSize(p.Host, resp.ContentLength)
}

// isEncoded reports whether resp is an encoded form of the blob, which nobody has
// asked for, and not only labelled so: its length tells, or else its first bytes.
func (b *blob) isEncoded(resp *http.Response) bool {
	encoding := transport.Encoding(resp.Header)
	switch {
	case encoding == "", b.size >= 0 && resp.ContentLength == b.size:
		return false
	case b.size >= 0 && resp.ContentLength >= 0:
		return true
	}
	peek := bufio.NewReaderSize(resp.Body, 4<<10)
	head, _ := peek.Peek(4 << 10) // an error comes again
	resp.Body = decoded{peek, resp.Body}
	return transport.IsEncoded(head, encoding, strings.Contains(b.d.MediaType, strings.TrimPrefix(encoding, "x-")))
}

// isEncodedPart reports whether resp is a stretch of an encoded form of the blob,
// which is of no use: places in it are not those of the blob.
func (b *blob) isEncodedPart(resp *http.Response) bool {
	if resp.StatusCode != http.StatusPartialContent || transport.Encoding(resp.Header) == "" {
		return false
	}
	r, err := ranges.ParseContentRange(resp.Header.Get("Content-Range"), ranges.Lenient)
	return err == nil && r.Total >= 0 && b.size >= 0 && r.Total != b.size
}

// decoded is a body whose bytes pass through something on their way.
type decoded struct {
	io.Reader
	io.Closer
}

// checkSize compares what a server says with what the manifest says.
func (b *blob) checkSize(host string, n int64) error {
	if n < 0 || b.size < 0 || n == b.size {
		return nil
	}
	return retry.Doubtful(errkind.New(errkind.Corrupt, "blob %s has %d bytes at %s instead of %d", b.d.Digest, n, host, b.size))
}
