package registryv1

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/peelfs/peelfs/fetch/transport"
	"github.com/peelfs/peelfs/fetch/transport/ranges"
	"github.com/peelfs/peelfs/internal/errkind"
)

// Layer is the layer of one image, compressed or not as the registry has it. It
// is safe for concurrent use and fits image.Blob.
type Layer struct {
	s    *Session
	id   string
	json []byte
	sums []string     // hexadecimal SHA-256 of JSON, newline and layer: one of them must fit
	tars []string     // docker's checksums of the tar: one of them should fit
	said int64        // the size that the registry announced; not positive if it did not
	size atomic.Int64 // the size that an answer proved; -1 before
}

// Layer is the layer of an image of this repository; nothing is fetched. A size
// of 0 is what servers say that do not know it.
func (s *Session) Layer(m ManifestLayer) *Layer {
	l := &Layer{s: s, id: m.ID, json: m.JSON, said: m.Size}
	for _, c := range m.Checksums {
		if sum, ok := strings.CutPrefix(c, "sha256:"); ok && len(sum) == 64 {
			l.sums = append(l.sums, strings.ToLower(sum))
		} else if tarSumVersion(c) != "" {
			l.tars = append(l.tars, c)
		}
	}
	l.size.Store(-1)
	return l
}

// Size is the length in bytes, if an answer has proved it or the registry said it.
func (l *Layer) Size() (int64, bool) {
	if n := l.size.Load(); n >= 0 {
		return n, true
	}
	return max(l.said, 0), l.said > 0
}

// Alias names the layer in caches: by its registry, its identifier, and what that
// registry promised of it. A layer that was read when the registry promised
// something else, or nothing, has another name, so a server that was wrong once is
// asked again when it has been mended.
func (l *Layer) Alias() string {
	alias := "v1:" + l.s.opt.Host + "/" + l.id
	if l.said > 0 {
		alias += ",size=" + strconv.FormatInt(l.said, 10)
	}
	for _, sum := range slices.Sorted(slices.Values(append(slices.Clone(l.sums), l.tars...))) {
		alias += "," + sum
	}
	return alias
}

// ReadRange opens n bytes at off, to the end if n < 0. The body begins at the
// offset at: off, or 0 where the server ignores ranges and sends the whole layer.
// A body that holds the whole layer fails before its end if the registry's
// checksum of it does not fit, or, where there is none, if it is not as long as
// the registry says. A checksum of the kind that is of the tar is only warned of,
// and not computed beside a better one. A connection that breaks is made again
// within the session's retry policy.
func (l *Layer) ReadRange(ctx context.Context, off, n int64) (io.ReadCloser, int64, error) {
	size := l.size.Load()
	if off < 0 || size >= 0 && (off > size || n > size-off) {
		return nil, 0, errkind.New(errkind.Corrupt, "range %d+%d is outside of layer %s of %d bytes", off, n, l.id, size)
	}
	if n == 0 || size > 0 && off == size {
		return http.NoBody, off, nil
	}
	end := off + n
	if n < 0 || off == 0 && l.isSize(n) {
		end = -1
	}
	b := &checkedBody{l: l, Body: ranges.New(ctx, ranges.Source{Open: l.open, Tries: l.s.tries(), Patience: l.s.opt.Network.Patience}, off, end)}
	if err := b.Begin(); err != nil {
		return nil, 0, err
	}
	if !b.Whole() {
		return b, off, nil
	}
	b.check = l.check()
	return b, b.All(off, end, b.check), nil
}

// isSize reports whether n is the size of the layer as far as it is known.
func (l *Layer) isSize(n int64) bool {
	size, known := l.Size()
	return known && n == size
}

// span is what to ask for: the bytes from lo to hi, both included, or all.
type span struct {
	lo, hi int64
	all    bool
}

// choose turns the range [off, end), which is not empty, into one that old servers
// answer right: closed, within the layer, two bytes at least, and none where all
// is wanted.
func (l *Layer) choose(off, end int64) span {
	size, known := l.Size()
	switch {
	case end < 0 && !known, off == 0 && (end < 0 || known && end == size), end < 0 && off >= size:
		return span{all: true}
	case end < 0:
		return closed(off, size)
	}
	return closed(off, end)
}

// closed is the range of the bytes from lo up to end, or of one more.
func closed(lo, end int64) span {
	switch {
	case end-lo > 1:
		return span{lo: lo, hi: end - 1}
	case lo > 0:
		return span{lo: lo - 1, hi: lo}
	}
	return span{lo: 0, hi: 1}
}

// open asks once for a part. A server that has no such range is asked for all.
func (l *Layer) open(ctx context.Context, off, end int64) (*ranges.Part, error) {
	sp := l.choose(off, end)
	p, err := l.openSpan(ctx, sp)
	if p == nil && err == nil {
		p, err = l.openSpan(ctx, span{all: true})
	}
	return p, err
}

// openSpan asks for a span. The part is nil where the server has no such range.
func (l *Layer) openSpan(ctx context.Context, sp span) (*ranges.Part, error) {
	rq := request{path: "images/" + l.id + "/layer", what: "layer " + l.id, stream: true, ranged: true, once: true}
	if !sp.all {
		rq.header = ranges.Header(sp.lo, sp.hi+1)
	}
	var resp *http.Response
	err := l.s.ask(ctx, rq, func(r *http.Response, _ []byte) error {
		resp = r
		return nil
	})
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && !sp.all {
		resp.Body.Close()
		return nil, nil
	}
	p, err := l.part(resp, sp)
	if err != nil {
		resp.Body.Close()
	}
	return p, err
}

// part looks at what came.
func (l *Layer) part(resp *http.Response, sp span) (*ranges.Part, error) {
	p := &ranges.Part{ReadCloser: resp.Body, Host: resp.Request.URL.Host, Total: -1}
	switch resp.StatusCode {
	case http.StatusRequestedRangeNotSatisfiable:
		// The registry in Python says so of a layer without bytes, asked for all of it.
		if l.said > 0 {
			return nil, errkind.New(errkind.Unavailable, "layer %s: the server says it is empty, not of %d bytes", l.id, l.said)
		}
		p.ReadCloser, p.Whole = emptyOf(resp), true
		return p, nil
	case http.StatusPartialContent:
		return p, l.ranged(p, resp, sp)
	}
	p.End, p.Whole = resp.ContentLength, true
	if known := p.End >= 0 && p.End == l.said; !known {
		if err := transport.Page(resp); err != nil {
			return nil, err
		}
	}
	if p.End >= 0 && l.said > 0 && p.End != l.said && len(l.sums) == 0 {
		return nil, l.otherSize(p.End)
	}
	return p, nil
}

// emptyOf is the body of an answer that stands for no bytes: what it has is an
// error's text.
func emptyOf(resp *http.Response) io.ReadCloser {
	resp.Body.Close()
	return http.NoBody
}

func (l *Layer) otherSize(n int64) error {
	return errkind.New(errkind.Corrupt, "layer %s has %d bytes, but X-Docker-Size says %d", l.id, n, l.said)
}

// ranged takes Content-Range for what it is worth. Content-Length is not asked: it
// may be one too many.
func (l *Layer) ranged(p *ranges.Part, resp *http.Response, sp span) error {
	p.At, p.End = sp.lo, sp.hi+1
	v := resp.Header.Get("Content-Range")
	if v == "" && !sp.all {
		return nil
	}
	r, err := ranges.ParseContentRange(v, ranges.Lenient)
	if err == nil && (sp.all || r.First > sp.lo || r.Last < sp.lo) {
		err = errkind.New(errkind.Unavailable, "%s answers for bytes %d-%d when asked for %d-%d", p.Host, r.First, r.Last, sp.lo, sp.hi)
	}
	if err != nil {
		return errkind.New(errkind.Of(err), "layer %s: %w", l.id, err)
	}
	p.At = r.First
	if r.Total >= 0 {
		l.size.CompareAndSwap(-1, r.Total)
		p.Total = r.Total
		p.End = min(p.End, r.Total)
	}
	return nil
}

var _ Network = (*transport.Transport)(nil)
