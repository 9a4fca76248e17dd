// Package toc reads the tables of contents that eStargz and zstd:chunked layers
// carry, so that a layer can be listed after a few kilobytes of it and read chunk
// by chunk.
//
// Invariant: a table is used only if the layer's descriptor, which the image's
// digest covers, names its digest, and every byte of every file is covered by a
// digest in the table. Anything less is no table: the layer is then read like a
// plain one.
//
// The formats are those of stargz-snapshotter (docs/estargz.md,
// estargz/zstdchunked) and containers/storage (pkg/chunked/internal/minimal).
package toc

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/index"
)

// Limits of a table of contents, in bytes.
const (
	MaxTable      = 150 << 20 // the JSON; what stargz-snapshotter writes for the largest layers
	maxCompressed = 64 << 20  // its compressed form
)

// Annotations of layer descriptors.
const (
	tocDigest       = "containerd.io/snapshot/stargz/toc.digest"
	chunkedChecksum = ".zstd-chunked.manifest-checksum"
	chunkedPosition = ".zstd-chunked.manifest-position"
)

// chunkedPrefixes begin the names of zstd:chunked annotations; the second was
// used by containers/storage before 1.44 and still is by stargz-snapshotter.
var chunkedPrefixes = []string{"io.github.containers", "io.containers"}

// tocName is the tar entry that holds the JSON in an eStargz layer.
const tocName = "stargz.index.json"

// ErrNone says that a layer has no table of contents that can be trusted.
var ErrNone = errors.New("the layer has no table of contents")

// Blob is what Load needs to know of a layer.
type Blob struct {
	Annotations map[string]string
	Size        int64
	// Read returns the n bytes at off.
	Read func(ctx context.Context, off, n int64) ([]byte, error)
	// External returns the layer blob of a separate TOC image, for eStargz layers
	// whose table lies outside; nil if there is none.
	External func(ctx context.Context) ([]byte, error)
}

// Table is a verified table of contents.
type Table struct {
	Source index.Source
	Digest digest.Digest // by which the layer's descriptor names it

	// Landmark is how many spans the layer's maker marked to be fetched at once;
	// Build sets it.
	Landmark int

	json []byte
	end  int64 // where the compressed contents end in the blob
}

// Announced reports whether a descriptor's annotations promise a table.
func Announced(annotations map[string]string) bool {
	_, _, ok := chunked(annotations)
	return ok || annotations[tocDigest] != ""
}

// Load gets and verifies a layer's table of contents: with one request where the
// annotations say where it is or the guess at the blob's tail is long enough,
// else with two. It returns ErrNone, wrapped, if the layer has none to be used;
// other errors are the source's.
func Load(ctx context.Context, b Blob) (*Table, error) {
	if pos, sum, ok := chunked(b.Annotations); ok {
		return loadChunked(ctx, b, pos, sum)
	}
	want, err := digest.Parse(b.Annotations[tocDigest])
	if err != nil {
		return nil, ErrNone
	}
	return loadEStargz(ctx, b, want)
}

// none is an ErrNone with its reason.
func none(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrNone, fmt.Sprintf(format, args...))
}

// position is the value of a manifest-position annotation, in bytes.
type position struct{ off, compressed, raw int64 }

func chunked(ann map[string]string) (pos position, sum digest.Digest, ok bool) {
	for _, prefix := range chunkedPrefixes {
		sum, err := digest.Parse(ann[prefix+chunkedChecksum])
		if err != nil {
			continue
		}
		if pos, err := parsePosition(ann[prefix+chunkedPosition]); err == nil {
			return pos, sum, true
		}
	}
	return position{}, "", false
}

func parsePosition(s string) (p position, err error) {
	parts := strings.Split(s, ":")
	if len(parts) != 4 || parts[3] != "1" {
		return p, none("manifest position %q", s)
	}
	for i, to := range []*int64{&p.off, &p.compressed, &p.raw} {
		if *to, err = strconv.ParseInt(parts[i], 10, 64); err != nil || *to < 0 {
			return p, none("manifest position %q", s)
		}
	}
	return p, nil
}

func (p position) fits(size int64) bool {
	return p.compressed > 0 && p.compressed <= maxCompressed && p.raw <= MaxTable && p.off >= 0 && p.off <= size-p.compressed
}

func loadChunked(ctx context.Context, b Blob, pos position, sum digest.Digest) (*Table, error) {
	if !pos.fits(b.Size) {
		return nil, none("its position is outside the layer or beyond the limits")
	}
	packed, err := b.Read(ctx, pos.off, pos.compressed)
	if err != nil {
		return nil, err
	}
	if sum.Algorithm().FromBytes(packed) != sum {
		return nil, none("its digest is not the one that the manifest names")
	}
	raw, err := unzstd(packed, pos.raw)
	if err != nil {
		return nil, none("%v", err)
	}
	if want := b.Annotations[tocDigest]; want != "" && digest.FromBytes(raw).String() != want {
		return nil, none("its digest is not the one that the manifest names")
	}
	return &Table{Source: index.ZstdChunked, Digest: sum, json: raw, end: pos.off - skippableHeader}, nil
}

// skippableHeader is the length of a zstd skippable frame's header.
const skippableHeader = 8

func unzstd(packed []byte, limit int64) ([]byte, error) {
	d, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(128<<20))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return readAll(d, limit)
}

// readAll reads r to its end, which must come within limit bytes.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	var out bytes.Buffer
	n, err := io.Copy(&out, io.LimitReader(r, limit+1))
	if err == nil && n > limit {
		err = errkind.New(errkind.Unsupported, "more than %d bytes", limit)
	}
	return out.Bytes(), err
}

// guess is how much of a blob's tail is asked for at first: usually it holds the
// table, whose size follows the layer's.
func guess(size int64) int64 { return min(size, max(64<<10, min(size/100, 1<<20))) }

func loadEStargz(ctx context.Context, b Blob, want digest.Digest) (*Table, error) {
	n := guess(b.Size)
	tail, err := b.Read(ctx, b.Size-n, n)
	if err != nil {
		return nil, err
	}
	foot, ok := findFooter(tail)
	if !ok {
		return nil, none("the footer is missing")
	}
	if foot.external {
		return loadExternal(ctx, b, want)
	}
	off := foot.off
	if off < 0 || off >= b.Size-foot.len || b.Size-off > maxCompressed {
		return nil, none("the footer points outside the layer")
	}
	if start := b.Size - n; off < start {
		front, err := b.Read(ctx, off, start-off)
		if err != nil {
			return nil, err
		}
		tail = append(front, tail...)
	} else {
		tail = tail[off-start:]
	}
	t, err := verified(foot.unpack, tail[:int64(len(tail))-foot.len], want)
	if err != nil {
		return nil, err
	}
	t.Source, t.end = foot.source, off
	return t, nil
}

func loadExternal(ctx context.Context, b Blob, want digest.Digest) (*Table, error) {
	if b.External == nil {
		return nil, none("it lies in another image, which was not found")
	}
	packed, err := b.External(ctx)
	if err != nil && ctx.Err() == nil {
		return nil, none("it lies in another image: %v", err)
	}
	if err != nil {
		return nil, err
	}
	t, err := verified(untar, packed, want)
	if err != nil {
		return nil, err
	}
	t.Source, t.end = index.EStargz, b.Size-externalFooterSize
	return t, nil
}

func verified(unpack func([]byte) ([]byte, error), packed []byte, want digest.Digest) (*Table, error) {
	raw, err := unpack(packed)
	if err != nil {
		return nil, none("%v", err)
	}
	if want.Algorithm().FromBytes(raw) != want {
		return nil, none("its digest is not the one that the manifest names")
	}
	return &Table{Digest: want, json: raw}, nil
}

// untar gets the JSON out of the gzip member that holds a tar with it.
func untar(packed []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	tr := tar.NewReader(io.LimitReader(z, MaxTable+1<<20))
	h, err := tr.Next()
	if err != nil {
		return nil, err
	}
	if h.Name != tocName {
		return nil, fmt.Errorf("the entry is named %q", h.Name)
	}
	return readAll(tr, MaxTable)
}

// Footers, from the end of the blob.
const (
	gzipFooterSize     = 51
	legacyFooterSize   = 47
	externalFooterSize = 46
	zstdFooterSize     = 40 // after its skippable frame's header
	storageFooterSize  = 64
)

// footer is what the end of a blob says of the table.
type footer struct {
	off, len int64
	external bool
	source   index.Source
	unpack   func([]byte) ([]byte, error)
}

// findFooter recognises the footers of eStargz (51, 47 and 46 bytes) and of the
// two zstd:chunked dialects (40 and 64 bytes).
func findFooter(tail []byte) (footer, bool) {
	if p, ok := gzipFooter(tail, gzipFooterSize, "\x1a\x00SG\x16\x00"); ok {
		return footer{off: p, len: gzipFooterSize, source: index.EStargz, unpack: untar}, p >= 0
	}
	if p, ok := gzipFooter(tail, legacyFooterSize, "\x16\x00"); ok {
		return footer{off: p, len: legacyFooterSize, source: index.EStargz, unpack: untar}, p >= 0
	}
	if isExternal(tail) {
		return footer{len: externalFooterSize, external: true}, true
	}
	return zstdFooter(tail)
}

// gzipMember is how each gzip footer begins: an empty member with an extra field.
const gzipMember = "\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff"

func gzipFooter(tail []byte, size int, extra string) (off int64, ok bool) {
	if len(tail) < size {
		return 0, false
	}
	f := tail[len(tail)-size:]
	head := gzipMember + extra
	if !bytes.HasPrefix(f, []byte(head)) || string(f[len(head)+16:len(head)+22]) != "STARGZ" {
		return 0, false
	}
	off, err := strconv.ParseInt(string(f[len(head):len(head)+16]), 16, 64)
	return off, err == nil
}

func isExternal(tail []byte) bool {
	const want = gzipMember + "\x15\x00SG\x11\x00STARGZEXTERNALTOC"
	return len(tail) >= externalFooterSize && bytes.HasPrefix(tail[len(tail)-externalFooterSize:], []byte(want))
}

// zstdFooter reads a footer of little-endian 64-bit numbers: offset, compressed
// and raw length of the table, its type; the last eight bytes are a magic.
func zstdFooter(tail []byte) (footer, bool) {
	for _, form := range []struct {
		size  int
		magic string
	}{{zstdFooterSize, "GnUlInUx"}, {storageFooterSize, "GNUlInUx"}} {
		if len(tail) < form.size || !bytes.HasSuffix(tail, []byte(form.magic)) {
			continue
		}
		f := tail[len(tail)-form.size:]
		off, packed, raw := binary.LittleEndian.Uint64(f), binary.LittleEndian.Uint64(f[8:]), binary.LittleEndian.Uint64(f[16:])
		if off > 1<<62 || packed == 0 || packed > maxCompressed || raw > MaxTable || binary.LittleEndian.Uint64(f[24:]) != 1 {
			return footer{}, false
		}
		return footer{off: int64(off), len: int64(form.size) + skippableHeader, source: index.ZstdChunked, unpack: func(b []byte) ([]byte, error) {
			if uint64(len(b)) < packed {
				return nil, io.ErrUnexpectedEOF
			}
			return unzstd(b[:packed], int64(raw))
		}}, true
	}
	return footer{}, false
}

// FooterSize is how many of a blob's last bytes HasFooter wants.
const FooterSize = storageFooterSize

// HasFooter reports whether a blob that ends with tail carries its own table: what was
// added to the layer with the table is then no part of the tree.
func HasFooter(tail []byte) bool {
	_, ok := findFooter(tail)
	return ok
}
