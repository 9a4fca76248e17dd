package soci

import (
	"archive/tar"
	"encoding/binary"
	"errors"
	"io"
	"strings"

	flatbuffers "github.com/google/flatbuffers/go"
	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/inflate"
)

// DefaultSpanSize is the least output of a span in the ztocs that we make, in
// bytes. Every checkpoint carries 32 KiB of history, which a ztoc holds
// unpacked: with spans as long as these it is a hundredth of the tar at most.
const DefaultSpanSize = 4 << 20

// Options of Build. The zero value is usable.
type Options struct {
	SpanSize  int64            // 0 for DefaultSpanSize
	BuildTool string           // who made it, for people
	Algorithm digest.Algorithm // of Built.DiffID; "" for sha256
}

// Built is a new ztoc and what the layer turned out to be.
type Built struct {
	Ztoc     []byte
	BlobSize int64         // bytes of the compressed layer
	DiffID   digest.Digest // of the tar
	SpanSize int64
}

// Build reads a gzip layer from its first byte to its last and makes its ztoc.
//
// It reads the layer itself and not our index of it, because soci-snapshotter
// derives the place of each tar header from the entries in front of it, and
// compares that header with the ztoc: it needs the entries as they come in the
// stream, those included that others replace. Checkpoints follow from inflate's
// spans as its package comment says; unused bytes of their windows are zero.
//
// Unsupported is a layer that a ztoc cannot express: one that is not gzip, that
// has sparse files or global PAX headers, or bytes behind its last gzip member.
func Build(r io.Reader, opt Options) (*Built, error) {
	if opt.SpanSize <= 0 {
		opt.SpanSize = DefaultSpanSize
	}
	if opt.SpanSize > maxSpanSize/2 {
		return nil, errkind.New(errkind.Invalid, "spans of %d bytes are too long for a ztoc", opt.SpanSize)
	}
	if opt.Algorithm == "" {
		opt.Algorithm = digest.SHA256
	}
	b := &builder{b: flatbuffers.NewBuilder(64 << 10)}
	in := &counter{r: r}
	gz := inflate.NewReader(in, inflate.Options{SpanSize: opt.SpanSize, OnSpan: b.addSpan})
	sum := opt.Algorithm.Digester()
	out := &counter{r: io.TeeReader(gz, sum.Hash())}
	if err := b.addEntries(out); err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, out); err != nil { // the padding, which the last span holds too
		return nil, err
	}
	if n := gz.Trailing(); n > 0 {
		return nil, errkind.New(errkind.Unsupported, "%d bytes follow the gzip data", n)
	}
	if len(b.digests) == 0 {
		return nil, errkind.New(errkind.Unsupported, "an empty layer")
	}
	return &Built{Ztoc: b.finish(opt.BuildTool, opt.SpanSize, in.n, out.n), BlobSize: in.n, DiffID: sum.Digest(), SpanSize: opt.SpanSize}, nil
}

// counter counts what was read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// addSpan turns a span into a checkpoint: zlib names the first whole byte and
// counts the bits in front of it.
func (b *builder) addSpan(s inflate.Span) error {
	if s.OutLen > maxSpanSize || s.InLen > maxSpanSize {
		return errkind.New(errkind.Unsupported, "a deflate block of %d bytes", s.OutLen)
	}
	in, bits := s.In, uint8(0)
	if s.Bits > 0 {
		in, bits = s.In+1, 8-s.Bits
	}
	p := make([]byte, checkpointSize)
	binary.LittleEndian.PutUint64(p, uint64(in))
	binary.LittleEndian.PutUint64(p[8:], uint64(s.Out))
	p[16] = bits
	copy(p[17+windowSize-len(s.Window):], s.Window)
	if len(b.checkpoints)+len(p) > MaxSize/2 {
		return errkind.New(errkind.Unsupported, "more than %d checkpoints", len(b.digests))
	}
	b.checkpoints = append(b.checkpoints, p...)
	b.digests = append(b.digests, digest.NewDigestFromBytes(digest.SHA256, s.Digest[:]))
	return nil
}

// typeNames are those of tar's types.
var typeNames = map[byte]string{
	tar.TypeDir: "dir", tar.TypeReg: "reg", tar.TypeSymlink: "symlink", tar.TypeLink: "hardlink",
	tar.TypeChar: "char", tar.TypeBlock: "block", tar.TypeFifo: "fifo",
}

func (b *builder) addEntries(r *counter) error {
	tr := tar.NewReader(r)
	for {
		hdr, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil && !(errors.Is(err, tar.ErrInsecurePath) && hdr != nil) {
			var kinded *errkind.Error
			if errors.As(err, &kinded) {
				return err
			}
			return errkind.New(errkind.Corrupt, "layer is not a valid tar at byte %d: %w", r.n, err)
		}
		if typeNames[hdr.Typeflag] == "" || isSparse(hdr) {
			return errkind.New(errkind.Unsupported, "%.200q is a tar entry of type %q, which a ztoc cannot express", hdr.Name, hdr.Typeflag)
		}
		b.addEntry(hdr, r.n)
		if b.b.Offset() > MaxSize/2 {
			return errkind.New(errkind.Unsupported, "more than %d bytes of names and attributes", MaxSize/2)
		}
	}
}

// isSparse: the entries of old GNU tar have a type of their own.
func isSparse(hdr *tar.Header) bool {
	for key := range hdr.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}
