package stream

import (
	"context"
	"errors"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/tarindex"
)

// collector is the third stage of Index: it hashes the tar, hands it to the sink,
// and collects the entries, while the second stage adds the spans.
type collector struct {
	layer   *Layer
	sink    Sink // may be nil
	tar     hash.Hash
	named   hash.Hash // of the tar too, by the algorithm namedBy; nil if that is SHA-256
	namedBy digest.Algorithm
	ctx     func() error
	pieces  <-chan piece
	cur     piece
	rest    []byte // unread part of cur
	pos     int64  // of rest in the tar
	size    int64  // bytes of the tar so far
	slices  *slicer
}

func newCollector(l *Layer, opt Options, sink Sink) *collector {
	c := &collector{layer: l, sink: sink, tar: digest.SHA256.Hash(), slices: newSlicer()}
	if by := opt.TarAlgorithm; by != "" && by != digest.SHA256 {
		c.named, c.namedBy = by.Hash(), by
	}
	return c
}

// collect reads the tar to its end, and what follows the end too.
func (c *collector) collect(ctx context.Context, pieces <-chan piece) error {
	c.pieces, c.ctx = pieces, ctx.Err
	if err := tarindex.Tar(c, c.layer.Entries); err != nil {
		return err
	}
	for {
		if err := c.advance(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
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
	if err := send(c.sink, c.layer, p, c.size); err != nil {
		return err
	}
	if c.layer.Compression == index.Uncompressed {
		c.slices.write(p.bytes)
	}
	c.size += int64(len(p.bytes))
	return nil
}

// send hands a piece of the tar to a sink that may be nil.
func send(s Sink, l *Layer, p piece, off int64) error {
	if s == nil {
		return nil
	}
	if off == 0 {
		s.Begin(l.Compression)
	}
	return s.Write(p.bytes, off)
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

// finish tells the layer what is known at the end of its tar.
func (c *collector) finish() {
	if c.layer.Compression == index.Uncompressed {
		c.layer.Spans = c.slices.finish()
	}
	c.layer.TarSize = c.size
	c.layer.DiffID = digest.NewDigest(digest.SHA256, c.tar)
	c.layer.NamedDiffID = c.layer.DiffID
	if c.named != nil {
		c.layer.NamedDiffID = digest.NewDigest(c.namedBy, c.named)
	}
}

// copier is the third stage of Decode.
type copier struct {
	layer *Layer
	sink  Sink
	off   int64
}

func (c *copier) collect(_ context.Context, pieces <-chan piece) error {
	for p := range pieces {
		err := send(c.sink, c.layer, p, c.off)
		c.off += int64(len(p.bytes))
		p.release()
		if err != nil {
			return err
		}
	}
	return nil
}
