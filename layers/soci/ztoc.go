// Package soci reads and writes ztocs: what a SOCI index says of one gzip layer,
// which lets the layer be listed and entered in the middle without having been
// read before.
//
// Invariant: a ztoc is somebody else's word. The index made of one carries the
// digest of every compressed range, so that no other bytes of the layer are
// decoded than those it speaks of; only a reading of the whole layer shows whether
// it is right about the entries.
//
// The format is that of soci-snapshotter: ztoc/fbs/ztoc.fbs for the flatbuffer,
// ztoc/compression/gzip_zinfo.c for the checkpoints in it.
package soci

import (
	"encoding/binary"
	"fmt"
	"time"

	flatbuffers "github.com/google/flatbuffers/go"
	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/index"
)

// Limits of a ztoc.
const (
	MaxSize     = 256 << 20 // bytes of the flatbuffer; a checkpoint takes 32 KiB
	maxSpanSize = 32 << 20  // bytes of output of one span: it is decoded in memory
)

// algorithm is CompressionInfo.compression_algorithm.
type algorithm int8

const (
	algGzip         algorithm = 1
	algUncompressed algorithm = 2
)

// Slots of the flatbuffer tables, in the order of ztoc.fbs.
const (
	ztocVersion flatbuffers.VOffsetT = 4 + 2*iota
	ztocBuildTool
	ztocCompressedSize
	ztocUncompressedSize
	ztocTOC
	ztocCompressionInfo
)

const tocMetadata flatbuffers.VOffsetT = 4

const (
	fileName flatbuffers.VOffsetT = 4 + 2*iota
	fileType
	fileOffset
	fileSize
	fileLinkname
	fileMode
	fileUID
	fileGID
	fileUname
	fileGname
	fileModTime
	fileDevMajor
	fileDevMinor
	fileXattrs
)

const (
	xattrKey flatbuffers.VOffsetT = 4 + 2*iota
	xattrValue
)

const (
	infoAlgorithm flatbuffers.VOffsetT = 4 + 2*iota
	infoMaxSpan
	infoDigests
	infoCheckpoints
)

// version is the only ztoc version there is.
const version = "0.9"

// Layer is what a ztoc says of a layer.
type Layer struct {
	BlobSize  int64 // of the compressed layer
	SpaceSize int64 // of the tar
	Spans     []index.Span
	Windows   []index.Window
	Builder   *index.Builder

	Compression index.Compression
	HasTable    bool // it lists an eStargz table of contents, or a file of that name
}

// Parse reads a ztoc. One that contradicts itself is Corrupt; one that passes a
// limit, or is of an unknown kind, is Unsupported.
func Parse(data []byte) (l *Layer, err error) {
	if len(data) < 8 || len(data) > MaxSize {
		return nil, errkind.New(errkind.Unsupported, "a ztoc of %d bytes", len(data))
	}
	// The flatbuffers runtime trusts every offset in its input and panics when one
	// points outside. Nothing else panics with a runtime error here.
	defer func() {
		if p := recover(); p != nil {
			l, err = nil, errkind.New(errkind.Corrupt, "malformed ztoc: %v", p)
		}
	}()
	root := flatbuffers.GetUOffsetT(data)
	return parse(table{flatbuffers.Table{Bytes: data, Pos: root}})
}

func parse(z table) (*Layer, error) {
	if v := z.text(ztocVersion); v != version {
		return nil, errkind.New(errkind.Unsupported, "ztoc version %q", v)
	}
	l := &Layer{BlobSize: z.int64(ztocCompressedSize), SpaceSize: z.int64(ztocUncompressedSize), Builder: index.NewBuilder()}
	if l.BlobSize <= 0 || l.SpaceSize < 0 || l.SpaceSize > index.MaxSize {
		return nil, errkind.New(errkind.Corrupt, "ztoc of %d bytes that make %d", l.BlobSize, l.SpaceSize)
	}
	info, ok := z.table(ztocCompressionInfo)
	if !ok {
		return nil, errkind.New(errkind.Corrupt, "ztoc without compression info")
	}
	if err := l.spans(info); err != nil {
		return nil, err
	}
	toc, ok := z.table(ztocTOC)
	if !ok {
		return nil, errkind.New(errkind.Corrupt, "ztoc without a table of contents")
	}
	return l, l.entries(toc)
}

func (l *Layer) entries(toc table) error {
	n := toc.length(tocMetadata)
	if n > index.MaxEntries {
		return errkind.New(errkind.Unsupported, "%d entries", n)
	}
	end := int64(0)
	for i := range n {
		r, err := record(toc.element(tocMetadata, i))
		if err != nil {
			return err
		}
		if r.Kind == index.File && r.Size > 0 {
			if r.Data < 0 || r.Data > l.SpaceSize-r.Size {
				return errkind.New(errkind.Corrupt, "the content of %q lies outside the layer", r.Name)
			}
			if r.Data < end { // the one before is a sparse file, whose stored size a ztoc does not tell
				return errkind.New(errkind.Unsupported, "the content of %q overlaps that of a file before it", r.Name)
			}
			end = r.Data + r.Size
		}
		l.HasTable = l.HasTable || r.Name == tableName
		if err := l.Builder.Add(r); err != nil {
			return err
		}
	}
	return nil
}

// tableName is the file that holds the table of contents of an eStargz layer.
const tableName = "stargz.index.json"

var kinds = map[string]index.Kind{
	"dir": index.Dir, "reg": index.File, "symlink": index.Symlink, "hardlink": index.Link,
	"char": index.Char, "block": index.Block, "fifo": index.Fifo,
}

func record(f table) (index.Record, error) {
	r := index.Record{Name: f.text(fileName), Kind: kinds[f.text(fileType)], LinkName: f.text(fileLinkname),
		Mode: uint32(f.int64(fileMode)) & 0o7777, UID: f.uint32(fileUID), GID: f.uint32(fileGID),
		Size: f.int64(fileSize), Data: f.int64(fileOffset), Major: uint32(f.int64(fileDevMajor)), Minor: uint32(f.int64(fileDevMinor))}
	if r.Kind == 0 {
		return r, errkind.New(errkind.Unsupported, "%q has the type %q", r.Name, f.text(fileType))
	}
	if r.Size < 0 || r.Size > index.MaxSize {
		return r, errkind.New(errkind.Corrupt, "%q has %d bytes", r.Name, r.Size)
	}
	if r.Kind != index.File {
		r.Size, r.Data = 0, 0
	}
	if s := f.text(fileModTime); s != "" {
		at, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			return r, errkind.New(errkind.Corrupt, "%q has the time %q", r.Name, s)
		}
		r.Sec, r.Nsec = at.Unix(), uint32(at.Nanosecond())
	}
	return r, xattrs(f, &r)
}

// xattrs takes the extended attributes out of what a ztoc calls by that name:
// the PAX records of the entry.
func xattrs(f table, r *index.Record) error {
	const prefix, sparse = "SCHILY.xattr.", "GNU.sparse."
	for i := range f.length(fileXattrs) {
		x := f.element(fileXattrs, i)
		key := x.text(xattrKey)
		if len(key) > len(sparse) && key[:len(sparse)] == sparse {
			return errkind.New(errkind.Unsupported, "%q is a sparse file, whose holes a ztoc does not tell", r.Name)
		}
		if len(key) > len(prefix) && key[:len(prefix)] == prefix {
			r.Xattrs = append(r.Xattrs, index.Xattr{Name: key[len(prefix):], Value: []byte(x.text(xattrValue))})
		}
	}
	return nil
}

// The checkpoints of a gzip layer, little endian: a header of count and span
// size, then fixed records.
const (
	zinfoHeader     = 4 + 8
	windowSize      = 32 << 10
	checkpointSize  = 8 + 8 + 1 + windowSize
	firstCheckpoint = 10 // where deflate data starts behind the shortest gzip header
)

// checkpoint is where a span begins: at bit 8-bits of the byte before in, or at
// in if bits is 0.
type checkpoint struct {
	in, out int64
	bits    uint8
	window  []byte
}

func (l *Layer) spans(info table) error {
	switch a := algorithm(info.int8(infoAlgorithm, int8(algGzip))); a {
	case algGzip:
		l.Compression = index.Gzip
	case algUncompressed:
		return errkind.New(errkind.Unsupported, "a ztoc of an uncompressed layer")
	default:
		return errkind.New(errkind.Unsupported, "compression %d", a)
	}
	points, err := checkpoints(info.bytes(infoCheckpoints))
	if err != nil {
		return err
	}
	if n := info.length(infoDigests); n != len(points) || int(info.int32(infoMaxSpan)) != n-1 {
		return errkind.New(errkind.Corrupt, "%d checkpoints, %d digests", len(points), n)
	}
	var pack index.WindowPacker
	for i, p := range points {
		next := checkpoint{in: l.BlobSize, out: l.SpaceSize}
		if i+1 < len(points) {
			next = points[i+1]
		}
		s, err := span(p, next, info.textAt(infoDigests, i))
		if err != nil {
			return fmt.Errorf("span %d: %w", i, err)
		}
		if s.OutLen == 0 {
			continue
		}
		l.Spans = append(l.Spans, s)
		l.Windows = append(l.Windows, pack.Pack(p.used()))
	}
	return nil
}

// used is the window, or nil at the start of the stream.
func (p checkpoint) used() []byte {
	if p.out == 0 {
		return nil
	}
	return p.window
}

func span(p, next checkpoint, sum string) (index.Span, error) {
	s := index.Span{Out: p.out, OutLen: next.out - p.out, In: p.in, Bits: (8 - p.bits) & 7, DigestOf: index.DigestCompressed}
	if p.bits > 0 {
		s.In--
	}
	s.InLen = next.in - s.In
	d, err := digest.Parse(sum)
	if err != nil || d.Algorithm() != digest.SHA256 {
		return s, errkind.New(errkind.Corrupt, "digest %q", sum)
	}
	copyHex(s.Digest[:], d.Encoded())
	if p.bits > 7 || s.In <= 0 || s.InLen <= 0 || s.OutLen < 0 {
		return s, errkind.New(errkind.Corrupt, "bytes [%d, %d) make [%d, %d)", s.In, next.in, p.out, next.out)
	}
	if s.OutLen > maxSpanSize || s.InLen > maxSpanSize {
		return s, errkind.New(errkind.Unsupported, "%d bytes", s.OutLen)
	}
	return s, nil
}

// checkpoints reads the zinfo of both versions: the first leaves out the first
// checkpoint.
func checkpoints(b []byte) ([]checkpoint, error) {
	if len(b) < zinfoHeader || (len(b)-zinfoHeader)%checkpointSize != 0 {
		return nil, errkind.New(errkind.Corrupt, "%d bytes of checkpoints", len(b))
	}
	count, n := int(int32(binary.LittleEndian.Uint32(b))), (len(b)-zinfoHeader)/checkpointSize
	var points []checkpoint
	switch count {
	case n + 1:
		points = append(points, checkpoint{in: firstCheckpoint})
	case n:
	default:
		return nil, errkind.New(errkind.Corrupt, "%d of %d checkpoints", n, count)
	}
	for b = b[zinfoHeader:]; len(b) > 0; b = b[checkpointSize:] {
		p := checkpoint{in: int64(binary.LittleEndian.Uint64(b)), out: int64(binary.LittleEndian.Uint64(b[8:])), bits: b[16], window: b[17:checkpointSize]}
		if p.in <= 0 || p.out < 0 || len(points) > 0 && (p.in <= points[len(points)-1].in || p.out < points[len(points)-1].out) {
			return nil, errkind.New(errkind.Corrupt, "checkpoint %d goes backwards", len(points))
		}
		points = append(points, p)
	}
	if len(points) == 0 || points[0].out != 0 {
		return nil, errkind.New(errkind.Corrupt, "no checkpoint at the start")
	}
	return points, nil
}
