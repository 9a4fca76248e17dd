package registry

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/fetch/image"
	"github.com/peelfs/peelfs/fetch/transport"
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
	s := &stream{b: b, ctx: ctx, pos: off, end: first, tries: b.repo.attempts()}
	if err := s.openFirst(); err != nil {
		return nil, 0, err
	}
	if s.cur.whole { // the range was ignored: what comes begins at 0
		return s.wholly(off, end)
	}
	if first != end {
		return newStriped(s, end), off, nil
	}
	return s, off, nil
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

// part is one open response: the bytes of the blob from at up to end. end is -1
// if the response does not say.
type part struct {
	io.ReadCloser
	host    string
	at, end int64
	total   int64 // the size of the blob, -1 if the response does not say
	whole   bool  // the response is the whole blob
}

// open asks once for [off, end); end < 0 is all there is. The part may begin at
// 0 instead, when the server ignores ranges, and may end early.
func (b *blob) open(ctx context.Context, off, end int64) (*part, error) {
	var header http.Header
	switch {
	case off == 0 && end == b.size: // a whole blob is the simplest request there is
	case end < 0:
		header = http.Header{"Range": {"bytes=" + strconv.FormatInt(off, 10) + "-"}}
	default:
		header = rangeHeader(off, end-off)
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
func (b *blob) accept(resp *http.Response, off, end int64) (*part, error) {
	p := &part{ReadCloser: resp.Body, host: resp.Request.URL.Host, end: end}
	switch resp.StatusCode {
	case http.StatusOK:
		p.end, p.whole = b.size, true
		if b.size < 0 {
			p.end = resp.ContentLength
		}
		p.total = p.end
		return p, b.checkSize(resp.ContentLength)
	case http.StatusPartialContent:
		first, last, total, err := parseContentRange(resp.Header.Get("Content-Range"))
		if err != nil {
			return nil, err
		}
		if first != off || end >= 0 && last >= end {
			return nil, errkind.New(errkind.Unavailable, "%s answers for bytes %d-%d when asked for %d-%d", p.host, first, last, off, end-1)
		}
		p.at, p.end, p.total = first, last+1, total
		return p, b.checkSize(total)
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

// parseContentRange reads "bytes 0-99/1000"; the unit may be missing, as it is
// with some old servers, and the total be unknown (-1).
func parseContentRange(s string) (first, last, total int64, err error) {
	bad := func() (int64, int64, int64, error) {
		return 0, 0, 0, errkind.New(errkind.Unavailable, "the server's Content-Range %q is malformed", line(s))
	}
	text := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(s), "bytes"))
	span, size, ok := strings.Cut(strings.TrimPrefix(text, "="), "/")
	from, to, ok2 := strings.Cut(span, "-")
	if !ok || !ok2 {
		return bad()
	}
	first, err1 := strconv.ParseInt(strings.TrimSpace(from), 10, 64)
	last, err2 := strconv.ParseInt(strings.TrimSpace(to), 10, 64)
	total = -1
	var err3 error
	if size = strings.TrimSpace(size); size != "*" {
		total, err3 = strconv.ParseInt(size, 10, 64)
	}
	if err1 != nil || err2 != nil || err3 != nil || first < 0 || last < first || total >= 0 && last >= total {
		return bad()
	}
	return first, last, total, nil
}

// resumeProgress is how many bytes count as progress that forgives failures.
const resumeProgress = 64 << 10

var errNoRange = errors.New("the server ignores ranges")

// stream reads [pos, end) of a blob and mends broken connections: it asks again
// from where it was. It is for one goroutine.
type stream struct {
	b      *blob
	ctx    context.Context // of the whole read
	pos    int64
	end    int64 // -1 if unknown
	strict bool  // a server that ignores the range is an error: errNoRange
	tries  *attempts
	cur    *part
	gained int64 // bytes since the last failure
	err    error // final
}

// openFirst opens the first part, so that errors show before any byte is read.
// Afterwards the end is known unless the server does not know it either.
func (s *stream) openFirst() error {
	for {
		p, err := s.b.open(s.ctx, s.pos, s.end)
		if err == nil {
			s.cur = p
			if s.end < 0 {
				s.end = max(p.end, p.total)
			}
			return nil
		}
		if err = s.tries.again(s.ctx, err); err != nil {
			return err
		}
	}
}

// wholly makes s, which asked for a range from off to end and got everything, a
// body of ReadRange: from 0 on if the range began later, else the range.
func (s *stream) wholly(off, end int64) (io.ReadCloser, int64, error) {
	s.pos, s.end = 0, s.cur.end
	if off == 0 && end >= 0 {
		s.end = end
	}
	return s, 0, nil
}

func (s *stream) Read(p []byte) (int, error) {
	for {
		if s.err != nil {
			return 0, s.err
		}
		if s.end >= 0 && s.pos >= s.end {
			return 0, s.finish(io.EOF)
		}
		if s.cur == nil {
			if err := s.reopen(); err != nil {
				return 0, s.finish(err)
			}
		}
		n, err := s.readPart(p)
		if err != nil {
			s.next(err)
		}
		if n > 0 || len(p) == 0 {
			return n, nil
		}
	}
}

// next decides what follows a part that ended with err: the end, another part,
// or failure.
func (s *stream) next(err error) {
	ended := err == io.EOF && (s.cur.end < 0 || s.pos >= s.cur.end)
	lengthless := ended && s.cur.end < 0
	s.drop()
	switch {
	case s.end >= 0 && s.pos >= s.end, lengthless && s.end < 0:
		s.finish(io.EOF)
	case ended && s.gained > 0: // the server sends less at once than was asked for
		s.gained = 0
	default:
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		s.gained = 0
		if err = s.tries.again(s.ctx, transport.Classify(err, s.b.repo.host)); err != nil {
			s.finish(err)
		}
	}
}

func (s *stream) readPart(p []byte) (int, error) {
	if s.end >= 0 {
		p = p[:min(int64(len(p)), s.end-s.pos)]
	}
	n, err := s.cur.Read(p)
	s.pos += int64(n)
	s.gained += int64(n)
	if s.gained >= resumeProgress {
		s.tries.progress()
	}
	return n, err
}

// reopen continues at pos, by reading up to there if the server ignores ranges.
func (s *stream) reopen() error {
	for {
		p, err := s.b.open(s.ctx, s.pos, s.end)
		if err == nil && p.at < s.pos && s.strict {
			p.Close()
			return errNoRange
		}
		if err == nil {
			err = skip(p, s.pos-p.at)
		}
		if err == nil {
			s.cur = p
			return nil
		}
		if err = s.tries.again(s.ctx, err); err != nil {
			return err
		}
	}
}

// skip reads n bytes away and closes p if that fails.
func skip(p *part, n int64) error {
	if n <= 0 {
		return nil
	}
	_, err := io.CopyN(io.Discard, p, n)
	if err != nil {
		p.Close()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
	}
	return transport.Classify(err, p.host)
}

func (s *stream) drop() {
	if s.cur != nil {
		s.cur.Close()
		s.cur = nil
	}
}

func (s *stream) finish(err error) error {
	s.drop()
	s.err = err
	return err
}

// Close implements io.Closer.
func (s *stream) Close() error {
	s.finish(errkind.New(errkind.Internal, "read of a closed body"))
	return nil
}
