package layers

import (
	"context"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"path/filepath"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/flock"
	"github.com/peelfs/peelfs/layers/index"
	tarscan "github.com/peelfs/peelfs/layers/scan"
	"github.com/peelfs/peelfs/layers/spanfile"
	"github.com/peelfs/peelfs/layers/toc"
)

// The streaming pass: read and hash | decompress | hash, parse and write, each
// its own goroutine. Buffers of 256 KiB stay in the processor's cache; a depth of
// 4 evens out the stages.
const (
	bufferSize = 256 << 10
	depth      = 4
)

// spanSize is the least length of a span, in bytes of the address space.
const spanSize = 1 << 20

// scanned is a layer that was read from its first byte to its last and holds
// the digests that its source names.
type scanned struct {
	header  index.Header
	builder *index.Builder
	spans   []index.Span
	windows []index.Window
	blob    digest.Digest
	diffID  digest.Digest // of the tar, by the algorithm that the image uses
	data    *tempFile     // nil if the data is not kept

	landmark int // spans that the layer's maker wants fetched at once
}

func (p *scanned) discard() {
	if p.data != nil {
		p.data.discard()
	}
}

func (p *scanned) writeIndex(w io.Writer) error {
	return p.builder.Write(w, p.header, p.spans, p.windows)
}

// adopt moves the data to the layer's directory, complete.
func (p *scanned) adopt(dir string) error {
	lock, err := flock.Open(filepath.Join(dir, lockName))
	if err != nil {
		return err
	}
	defer lock.Close()
	layout := spanfile.Layout{Space: p.header.Space.String(), Size: p.header.SpaceSize, Spans: len(p.spans)}
	if err := spanfile.Adopt(dir, layout, p.data.Name(), lock); err != nil {
		return err
	}
	p.data.renamed = true
	return nil
}

// scan reads the whole layer once: it verifies the blob's digest and the tar's,
// finds the entries and the seek points, and keeps the bytes. A layer that turns
// out to be wrong is read once more from its source, and then decoded by other
// code: a second opinion before anybody is blamed.
func (l *Layer) scan(ctx context.Context) (*scanned, error) {
	select {
	case l.store.pass <- struct{}{}:
		defer func() { <-l.store.pass }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p, err := l.scanOnce(ctx, false)
	if errkind.Is(err, errkind.Corrupt) && ctx.Err() == nil {
		l.store.log.Warn("layer is wrong and is read again", "layer", l.name(), "error", err)
		p, err = l.scanOnce(ctx, true)
	}
	return p, err
}

func (l *Layer) scanOnce(ctx context.Context, secondOpinion bool) (_ *scanned, err error) {
	l.count.requests.Add(1)
	body, at, err := l.src.Blob.ReadRange(ctx, 0, -1)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	if at != 0 {
		return nil, errkind.New(errkind.Internal, "the blob begins at byte %d", at)
	}
	c, err := l.newCollector()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.discard()
		}
	}()
	feed := newFeeder(body, l.algorithm(), &l.count)
	scanErr := l.pipeline(ctx, feed, c.scanned, c, secondOpinion)
	if scanErr != nil && !errkind.Is(scanErr, errkind.Corrupt) {
		return nil, scanErr
	}
	return l.judge(feed, c, scanErr)
}

// algorithm is that of the digest by which the blob is known.
func (l *Layer) algorithm() digest.Algorithm {
	if l.src.Digest != "" {
		return l.src.Digest.Algorithm()
	}
	return digest.Canonical
}

// consumer is the third stage; it takes all pieces, or fails.
type consumer interface {
	collect(ctx context.Context, pieces <-chan piece) error
}

// pipeline runs the three stages. When a later stage finds the layer corrupt,
// the feeder still reads to the end: what the blob's digest turns out to be says
// whose fault it is. The first such finding is the one returned; what the other
// stage then makes of a stream that ends early is no news.
func (l *Layer) pipeline(ctx context.Context, feed *feeder, p *scanned, c consumer, secondOpinion bool) error {
	g, ctx := errgroup.WithContext(ctx)
	pieces := make(chan piece, depth)
	var finding error
	var once sync.Once
	stage := func(err error) error {
		if !errkind.Is(err, errkind.Corrupt) {
			return err
		}
		once.Do(func() { finding = err; close(feed.stopped) })
		return nil
	}
	g.Go(func() error { return feed.run(ctx) })
	g.Go(func() error {
		defer close(pieces)
		return stage(decompress(ctx, feed, p, pieces, secondOpinion))
	})
	g.Go(func() error {
		err := stage(c.collect(ctx, pieces))
		for p := range pieces {
			p.release()
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	return finding
}

// judge compares what was read with what the source promised.
func (l *Layer) judge(feed *feeder, c *collector, scanErr error) (*scanned, error) {
	blob, n := feed.digest()
	if want := l.src.size(); want >= 0 && n != want {
		return nil, errkind.New(errkind.Corrupt, "the blob has %d bytes instead of %d", n, want)
	}
	if l.src.Digest != "" && blob != l.src.Digest {
		return nil, errkind.WithHint(errkind.New(errkind.Corrupt, "the bytes that the source sent have the digest %s", blob),
			"the registry or a proxy in front of it altered the layer; try another mirror or push the image again")
	}
	if scanErr != nil {
		return nil, errkind.WithHint(scanErr, "the layer has the right digest, so the image itself is broken; build and push it again")
	}
	p := c.result()
	if contradict(p.diffID, l.src.DiffID) {
		return nil, wrongDiffID(l.src, p.diffID)
	}
	p.blob, p.header.BlobDigest, p.header.BlobSize = blob, blob, n
	p.header.HideTOC = toc.Announced(l.src.Annotations) || toc.HasFooter(feed.tail)
	if len(p.spans) == 1 && p.spans[0].DigestOf == index.DigestNone {
		p.spans[0].InLen = n
		of, sum := index.DigestOutput, p.header.DiffID
		if blob.Algorithm() == digest.SHA256 {
			of, sum = index.DigestCompressed, blob
		}
		p.spans[0].DigestOf = of
		_, _ = hex.Decode(p.spans[0].Digest[:], []byte(sum.Encoded()))
	}
	return p, nil
}

func wrongDiffID(src Source, got digest.Digest) error {
	return errkind.WithHint(errkind.New(errkind.Corrupt, "its tar has the digest %s, the image config says %s", got, src.DiffID),
		"the image config does not belong to these layers; build and push the image again")
}

// feeder is the first stage: it reads the blob, hashes it, and hands it on as an
// io.Reader for the second stage.
type feeder struct {
	body    io.Reader
	hash    hash.Hash
	alg     digest.Algorithm
	count   *counters
	n       int64
	full    chan []byte
	free    chan []byte
	stopped chan struct{} // closed: read on without handing on
	tail    []byte        // the last bytes of the blob so far
	cur     []byte        // unread part of the buffer that Read is at
	whole   []byte        // that buffer
}

func newFeeder(body io.Reader, alg digest.Algorithm, count *counters) *feeder {
	f := &feeder{body: body, alg: alg, hash: alg.Hash(), count: count,
		full: make(chan []byte, depth), free: make(chan []byte, depth+2), stopped: make(chan struct{})}
	for range cap(f.free) {
		f.free <- make([]byte, bufferSize)
	}
	return f
}

func (f *feeder) run(ctx context.Context) error {
	defer close(f.full)
	for {
		var buf []byte
		select {
		case buf = <-f.free:
		case <-f.stopped:
			return f.drain()
		case <-ctx.Done():
			return ctx.Err()
		}
		n, err := io.ReadFull(f.body, buf)
		f.account(buf[:n])
		if n > 0 {
			select {
			case f.full <- buf[:n]:
			case <-f.stopped:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (f *feeder) account(b []byte) {
	f.hash.Write(b)
	f.n += int64(len(b))
	f.count.fetched.Add(int64(len(b)))
	f.tail = append(f.tail, b[max(0, len(b)-toc.FooterSize):]...)
	f.tail = f.tail[max(0, len(f.tail)-toc.FooterSize):]
}

func (f *feeder) drain() error {
	buf := make([]byte, bufferSize)
	for {
		n, err := f.body.Read(buf)
		f.account(buf[:n])
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// digest of the blob and its length; only after run has returned.
func (f *feeder) digest() (digest.Digest, int64) {
	return digest.NewDigest(f.alg, f.hash), f.n
}

// Read implements io.Reader for the second stage.
func (f *feeder) Read(p []byte) (int, error) {
	for len(f.cur) == 0 {
		if f.whole != nil {
			f.free <- f.whole[:bufferSize]
			f.whole = nil
		}
		buf, ok := <-f.full
		if !ok {
			return 0, io.EOF
		}
		f.cur, f.whole = buf, buf
	}
	n := copy(p, f.cur)
	f.cur = f.cur[n:]
	return n, nil
}

// collector is the third stage: it hashes the tar, writes it, and collects the
// entries, while the second stage adds the spans.
type collector struct {
	*scanned
	tar        hash.Hash
	named      hash.Hash // of the tar too, by the image's algorithm namedBy; nil if that is sha256
	namedBy    digest.Algorithm
	pieces     <-chan piece
	ctx        func() error
	cur        piece
	rest       []byte // unread part of cur
	pos        int64  // of rest in the tar
	size       int64  // bytes of the tar so far
	sink       sink
	pieceSpans *slicer // finds the spans of an uncompressed blob
}

func (l *Layer) newCollector() (*collector, error) {
	c := &collector{scanned: &scanned{builder: index.NewBuilder()}, tar: digest.SHA256.Hash(), pieceSpans: newSlicer()}
	if d := l.src.DiffID; d != "" && d.Algorithm() != digest.SHA256 {
		c.named, c.namedBy = d.Algorithm().Hash(), d.Algorithm()
	}
	if l.store.opt.IndexOnly {
		return c, nil
	}
	t, err := newTempFile(filepath.Join(l.store.dir, "tmp"))
	if isFull(err) {
		return c, nil // the index alone serves reads
	}
	if err != nil {
		return nil, cacheError(l.store.dir, err)
	}
	c.data, c.sink = t, sink{file: t.File, room: l.store.room}
	return c, nil
}

// collect reads the tar to its end, and what follows the end too.
func (c *collector) collect(ctx context.Context, pieces <-chan piece) error {
	c.pieces, c.ctx = pieces, ctx.Err
	if err := tarscan.Tar(c, c.builder); err != nil {
		return err
	}
	for {
		if err := c.advance(); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
	}
	return c.keep()
}

// keep decides whether the data file, now complete, is kept.
func (c *collector) keep() error {
	if c.data == nil {
		return nil
	}
	if c.sink.err == nil {
		c.sink.err = c.data.Truncate(c.size)
	}
	if c.sink.err == nil {
		return nil
	}
	c.data.discard()
	c.data = nil
	if isFull(c.sink.err) && !slices.ContainsFunc(c.spans, tooLarge) {
		return nil // the index alone serves reads, span by span, uncached
	}
	return writeError(c.sink.err)
}

// advance takes the next piece of the tar.
func (c *collector) advance() error {
	if c.cur.bytes != nil {
		c.cur.release()
	}
	c.cur = piece{}
	p, ok := <-c.pieces
	if !ok {
		if err := c.ctx(); err != nil {
			return err
		}
		return io.EOF
	}
	c.cur, c.rest = p, p.bytes
	c.tar.Write(p.bytes)
	if c.named != nil {
		c.named.Write(p.bytes)
	}
	if c.data != nil {
		c.sink.must = !seekable(c.header.Compression)
		c.sink.write(p.bytes, c.size)
	}
	if c.header.Compression == index.Uncompressed {
		c.pieceSpans.write(p.bytes)
	}
	c.size += int64(len(p.bytes))
	return nil
}

// Read implements io.Reader for the tar parser.
func (c *collector) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		if err := c.advance(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	c.pos += int64(n)
	return n, nil
}

// Seek implements io.Seeker for the tar parser, forward from where it is.
func (c *collector) Seek(n int64, whence int) (int64, error) {
	if whence != io.SeekCurrent || n < 0 {
		return 0, errors.ErrUnsupported
	}
	for n > 0 {
		if len(c.rest) == 0 {
			if err := c.advance(); err == io.EOF {
				break
			} else if err != nil {
				return 0, err
			}
		}
		k := min(n, int64(len(c.rest)))
		c.rest = c.rest[k:]
		c.pos += k
		n -= k
	}
	return c.pos, nil
}

func (c *collector) result() *scanned {
	if c.header.Compression == index.Uncompressed {
		c.spans = c.pieceSpans.finish()
	}
	c.header.Source, c.header.Space = index.Scan, index.Tar
	c.header.SpaceSize = c.size
	c.header.DiffID = digest.NewDigest(digest.SHA256, c.tar)
	c.diffID = c.header.DiffID
	if c.named != nil {
		c.diffID = digest.NewDigest(c.namedBy, c.named)
	}
	return c.scanned
}
