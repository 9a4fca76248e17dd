package registryv1

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

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
	size atomic.Int64 // -1 while unknown
}

// Layer is the layer of an image of this repository; nothing is fetched.
func (s *Session) Layer(m ManifestLayer) *Layer {
	l := &Layer{s: s, id: m.ID, json: m.JSON}
	for _, c := range m.Checksums {
		if sum, ok := strings.CutPrefix(c, "sha256:"); ok && len(sum) == 64 {
			l.sums = append(l.sums, strings.ToLower(sum))
		} else if tarSumVersion(c) != "" {
			l.tars = append(l.tars, c)
		}
	}
	l.size.Store(max(m.Size, -1))
	return l
}

// Size is the length in bytes, if the registry said it.
func (l *Layer) Size() (int64, bool) {
	n := l.size.Load()
	return max(n, 0), n >= 0
}

// Alias names the layer within all registries; see the function Alias.
func (l *Layer) Alias() string { return Alias(l.s.opt.Host, l.id) }

// ReadRange opens n bytes at off, to the end if n < 0. The body begins at the
// offset at: off, or 0 where the server ignores ranges and sends the whole layer.
// A body that holds the whole layer fails before its end if the registry's
// checksum of it does not fit; one of the kind that is of the tar is only
// warned of, and not computed beside a better one. A connection that breaks is made again within the
// session's retry budget.
func (l *Layer) ReadRange(ctx context.Context, off, n int64) (io.ReadCloser, int64, error) {
	size, known := l.Size()
	if off < 0 || known && (off > size || n > size-off) {
		return nil, 0, errkind.New(errkind.Corrupt, "range %d+%d is outside of layer %s of %d bytes", off, n, l.id, size)
	}
	if n == 0 || known && off == size {
		return io.NopCloser(strings.NewReader("")), off, nil
	}
	b := &body{ctx: ctx, l: l, budget: l.s.newBudget()}
	if err := b.begin(l.choose(off, n)); err != nil {
		return nil, 0, err
	}
	if err := b.trim(off, n); err != nil {
		b.Close()
		return nil, 0, err
	}
	return b, b.pos, nil
}

// span is what to ask for: the bytes from lo to hi, both included, or all.
type span struct {
	lo, hi int64
	all    bool
}

// choose turns a range that is not empty into one that old servers answer right:
// closed, within the layer, two bytes at least, and none where all is wanted.
func (l *Layer) choose(off, n int64) span {
	size, known := l.Size()
	switch {
	case n < 0 && !known, off == 0 && known && (n < 0 || n == size):
		return span{all: true}
	case n < 0:
		return closed(off, size)
	}
	return closed(off, off+n)
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

// part is one answer of a server: the layer, or a stretch of it.
type part struct {
	src   io.ReadCloser
	at    int64 // offset in the layer of the first byte
	end   int64 // offset after the last byte that counts, -1 if the server does not say
	whole bool
}

// open asks for a span. A server that has no such range is asked for all.
func (l *Layer) open(ctx context.Context, b *budget, sp span) (part, error) {
	rq := request{path: "images/" + l.id + "/layer", what: "layer " + l.id, stream: true, ranged: true}
	if !sp.all {
		rq.header = http.Header{"Range": {rangeHeader(sp.lo, sp.hi)}}
	}
	var resp *http.Response
	err := l.s.ask(ctx, b, rq, func(r *http.Response, _ []byte) error {
		resp = r
		return nil
	})
	if err != nil {
		return part{}, err
	}
	if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && !sp.all {
		resp.Body.Close()
		return l.open(ctx, b, span{all: true})
	}
	p, err := l.read(resp, sp)
	if err != nil {
		resp.Body.Close()
	}
	return p, err
}

func (l *Layer) read(resp *http.Response, sp span) (part, error) {
	size, known := l.Size()
	switch resp.StatusCode {
	case http.StatusRequestedRangeNotSatisfiable:
		// The registry in Python says so of a layer without bytes, asked for all of it.
		if known && size > 0 {
			return part{}, errkind.New(errkind.Unavailable, "layer %s: the server says it is empty, not of %d bytes", l.id, size)
		}
		return part{src: resp.Body, whole: true}, nil
	case http.StatusPartialContent:
		return l.readPart(resp, sp)
	}
	end := resp.ContentLength
	if known && end >= 0 && end != size && len(l.sums) == 0 {
		return part{}, errkind.New(errkind.Corrupt, "layer %s has %d bytes, but X-Docker-Size says %d", l.id, end, size)
	}
	if known && end < 0 {
		end = size
	}
	return part{src: resp.Body, end: end, whole: true}, nil
}

// readPart takes Content-Range for what it is worth. Content-Length is not asked:
// it may be one too many.
func (l *Layer) readPart(resp *http.Response, sp span) (part, error) {
	p := part{src: resp.Body, at: sp.lo, end: sp.hi + 1}
	v := resp.Header.Get("Content-Range")
	if v == "" && !sp.all {
		return p, nil
	}
	r, ok := parseContentRange(v)
	if !ok || sp.all || r.lo > sp.lo || r.hi < sp.lo {
		return part{}, errkind.New(errkind.Unsupported, "layer %s: asked for %s, got %q", l.id, rangeHeader(sp.lo, sp.hi), v)
	}
	p.at = r.lo
	if r.total >= 0 {
		l.learn(r.total)
		p.end = min(p.end, r.total)
	}
	return p, nil
}

// learn keeps a size that the server told only now.
func (l *Layer) learn(size int64) { l.size.CompareAndSwap(-1, size) }
