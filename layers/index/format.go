package index

import (
	_ "crypto/sha256" // go-digest knows an algorithm only if it is linked
	_ "crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	"github.com/zeebo/xxh3"

	"github.com/peelfs/peelfs/internal/errkind"
)

// ErrVersion says that an index file is whole, as far as one can tell, but in
// the format of another version of this program: there is nothing to report, it
// is only to be made again.
var ErrVersion = errors.New("made by another version of peelfs, format")

// An index file is a header and these sections in this order, each padded with
// zeros to a multiple of 8. All numbers are little endian.
const (
	secEntries    = iota // entrySize each; entry 0 is the root
	secAttrs             // attrSize each
	secNames             // a byte of length, then that many bytes; the first is empty
	secTargetEnds        // table of symlink texts and link targets
	secTargets           //
	secXattrEnds         // table of sets of extended attributes
	secXattrs            //
	secExtents           // extentSize each; those of a file are neighbours
	secLinks             // primary u32, other name u32; ascending
	secUnresolved        // u32 each, ascending
	secSpans             // spanSize each, ascending
	secWindowEnds        // table of packed windows, one for each span; or empty
	secWindows           //
	numSections
)

// Sizes of records in bytes.
const (
	entrySize  = 32
	attrSize   = 32
	extentSize = 24
	linkSize   = 8
	spanSize   = 88
)

// recordSizes has the sections that are arrays.
var recordSizes = [numSections]int64{
	secEntries: entrySize, secAttrs: attrSize, secTargetEnds: 4, secXattrEnds: 4, secExtents: extentSize,
	secLinks: linkSize, secUnresolved: 4, secSpans: spanSize, secWindowEnds: 4,
}

// The header, by offsets.
const (
	magic      = "peelidx\n"
	version    = 2
	hdVersion  = 8  // u32, then 4 zero bytes
	hdFileSize = 16 // u64
	hdSum      = 24 // xxh3-64 of all that follows it
	hdSource   = 32 // source, space, compression, flags: a byte each, then 4 zero bytes
	hdBlobSize = 40 // i64
	hdSpace    = 48 // i64
	hdBlob     = 56 // digest
	hdDiffID   = 128
	hdDocument = 200 // digest
	hdSections = 272 // u64 length of each section
	headerSize = 376

	flagHideTOC  = 1
	flagImported = 2
	digestSize   = 72 // algorithm, 7 zero bytes, up to 64 bytes
)

// An entry: name u32, parent u32, attr u32, x u32, then two words whose low 48
// bits are numbers; the high 16 of the first are kind and flags.
//
//	         x             first number    second number
//	dir      child count   first child     0
//	file     0             size            offset of the content
//	sparse   first extent  size            number of extents
//	symlink  target        length of text  0
//	device   rdev          0               0
//	link     target        0               0
//	other name of an entry (HardLink), with that entry's kind:
//	         the entry     0               0
const (
	kindBits    = 4
	kindMask    = 1<<kindBits - 1
	low48       = 1<<48 - 1
	storedFlags = (flagsEnd - 1) &^ HasXattrs
)

var algorithms = []struct {
	name digest.Algorithm
	size int
}{{"", 0}, {digest.SHA256, 32}, {digest.SHA384, 48}, {digest.SHA512, 64}}

// encodeHeader writes all but size, checksum and section lengths.
func encodeHeader(p []byte, h Header) error {
	if h.Source >= numSources || h.Space >= numSpaces || h.Compression >= numCompressions ||
		h.SpaceSize < 0 || h.SpaceSize > MaxSize || h.BlobSize < -1 {
		return errkind.New(errkind.Internal, "index header out of range: %+v", h)
	}
	copy(p, magic)
	binary.LittleEndian.PutUint32(p[hdVersion:], version)
	p[hdSource], p[hdSource+1], p[hdSource+2] = byte(h.Source), byte(h.Space), byte(h.Compression)
	if h.HideTOC {
		p[hdSource+3] |= flagHideTOC
	}
	if h.Imported {
		p[hdSource+3] |= flagImported
	}
	binary.LittleEndian.PutUint64(p[hdBlobSize:], uint64(h.BlobSize))
	binary.LittleEndian.PutUint64(p[hdSpace:], uint64(h.SpaceSize))
	if err := encodeDigest(p[hdBlob:], h.BlobDigest); err != nil {
		return err
	}
	if err := encodeDigest(p[hdDiffID:], h.DiffID); err != nil {
		return err
	}
	return encodeDigest(p[hdDocument:], h.Document)
}

func encodeDigest(p []byte, d digest.Digest) error {
	if d == "" {
		return nil
	}
	if err := d.Validate(); err != nil {
		return errkind.New(errkind.Internal, "digest %q in index header: %w", d, err)
	}
	for i, a := range algorithms {
		if a.name == d.Algorithm() {
			p[0] = byte(i)
			_, err := hex.Decode(p[8:8+a.size], []byte(d.Encoded()))
			return err
		}
	}
	return errkind.New(errkind.Unsupported, "digest algorithm %q", d.Algorithm())
}

func decodeHeader(p []byte) (Header, error) {
	h := Header{
		Source: Source(p[hdSource]), Space: Space(p[hdSource+1]), Compression: Compression(p[hdSource+2]),
		HideTOC:   p[hdSource+3]&flagHideTOC != 0,
		Imported:  p[hdSource+3]&flagImported != 0,
		BlobSize:  int64(binary.LittleEndian.Uint64(p[hdBlobSize:])),
		SpaceSize: int64(binary.LittleEndian.Uint64(p[hdSpace:])),
	}
	var err error
	if h.BlobDigest, err = decodeDigest(p[hdBlob:]); err != nil {
		return h, err
	}
	if h.DiffID, err = decodeDigest(p[hdDiffID:]); err != nil {
		return h, err
	}
	if h.Document, err = decodeDigest(p[hdDocument:]); err != nil {
		return h, err
	}
	// A header that could not be written must not be read.
	if p[hdSource+3] > flagHideTOC|flagImported || encodeHeader(make([]byte, headerSize), h) != nil {
		return h, corrupt("header out of range")
	}
	return h, nil
}

func decodeDigest(p []byte) (digest.Digest, error) {
	if p[0] == 0 {
		return "", nil
	}
	if int(p[0]) >= len(algorithms) {
		return "", corrupt("unknown digest algorithm")
	}
	a := algorithms[p[0]]
	return digest.NewDigestFromBytes(a.name, p[8:8+a.size]), nil
}

// ReadHeader reads what the index at path says it is an index of, without looking
// at the rest, which may be damaged. The error is NotFound if there is no file,
// and Corrupt if it does not begin like an index of this version.
func ReadHeader(path string) (Header, error) {
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return Header{}, errkind.Wrap(errkind.NotFound, err)
	}
	if err != nil {
		return Header{}, err
	}
	defer f.Close()
	head := make([]byte, headerSize)
	if _, err := io.ReadFull(f, head); err != nil || string(head[:len(magic)]) != magic {
		return Header{}, corrupt("%s is not an index file", path)
	}
	if v := binary.LittleEndian.Uint32(head[hdVersion:]); v != version {
		return Header{}, corrupt("%w: %d, not %d", ErrVersion, v, version)
	}
	return decodeHeader(head)
}

// checkFrame checks what must hold before any section can be looked at, and
// returns the sections.
func checkFrame(data []byte) (sec [numSections][]byte, err error) {
	switch {
	case len(data) < headerSize || string(data[:len(magic)]) != magic:
		return sec, corrupt("not an index file")
	case binary.LittleEndian.Uint32(data[hdVersion:]) != version:
		return sec, corrupt("%w: %d, not %d", ErrVersion, binary.LittleEndian.Uint32(data[hdVersion:]), version)
	case binary.LittleEndian.Uint64(data[hdFileSize:]) != uint64(len(data)):
		return sec, corrupt("%d bytes long, not %d", len(data), binary.LittleEndian.Uint64(data[hdFileSize:]))
	case binary.LittleEndian.Uint64(data[hdSum:]) != xxh3.Hash(data[hdSource:]):
		return sec, corrupt("checksum does not match")
	}
	at := int64(headerSize)
	for i := range sec {
		n := binary.LittleEndian.Uint64(data[hdSections+8*i:])
		if n > uint64(int64(len(data))-at) {
			return sec, corrupt("section %d ends outside the file", i)
		}
		if s := recordSizes[i]; s > 0 && int64(n)%s != 0 {
			return sec, corrupt("section %d has part of a record", i)
		}
		sec[i] = data[at : at+int64(n) : at+int64(n)]
		if at = align8(at + int64(n)); at > int64(len(data)) {
			return sec, corrupt("section %d is not padded", i)
		}
	}
	if at != int64(len(data)) {
		return sec, corrupt("bytes after the last section")
	}
	return sec, nil
}

func align8(n int64) int64 { return (n + 7) &^ 7 }

func corrupt(format string, args ...any) error {
	return errkind.New(errkind.Corrupt, "layer index: "+format, args...)
}

// table is a numbered list of byte strings: item i ends at ends[i].
type table struct{ ends, data []byte }

func (t table) len() int { return len(t.ends) / 4 }

// at returns item i, nil if there is none.
func (t table) at(i int) []byte {
	if i < 0 || i >= t.len() {
		return nil
	}
	from := uint32(0)
	if i > 0 {
		from = binary.LittleEndian.Uint32(t.ends[4*i-4:])
	}
	to := binary.LittleEndian.Uint32(t.ends[4*i:])
	if from > to || uint64(to) > uint64(len(t.data)) {
		return nil
	}
	return t.data[from:to:to]
}

// valid reports whether the items are all of data, in order.
func (t table) valid() bool {
	end := uint32(0)
	for p := t.ends; len(p) > 0; p = p[4:] {
		next := binary.LittleEndian.Uint32(p)
		if next < end {
			return false
		}
		end = next
	}
	return uint64(end) == uint64(len(t.data))
}

// add appends an item.
func (t *table) add(item []byte) error {
	if int64(len(t.data))+int64(len(item)) > 1<<32-1 {
		return errkind.New(errkind.Unsupported, "layer index: more than 4 GiB in one section")
	}
	t.data = append(t.data, item...)
	t.ends = binary.LittleEndian.AppendUint32(t.ends, uint32(len(t.data)))
	return nil
}
