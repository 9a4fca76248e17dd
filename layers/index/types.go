package index

import "github.com/opencontainers/go-digest"

// Kind is the type of an entry. The zero Kind is no entry at all.
type Kind uint8

// The kinds of entries. Link and Whiteout never show in a merged view: a Link
// stands for an object of a lower layer, a Whiteout for its absence.
const (
	Dir Kind = iota + 1
	File
	Symlink
	Char
	Block
	Fifo
	Link     // a hard link whose target is not in this layer
	Whiteout // lower layers' object of this name is gone
	numKinds
)

var kindNames = [numKinds]string{"none", "dir", "file", "symlink", "char", "block", "fifo", "link", "whiteout"}

// String is the kind's name in messages.
func (k Kind) String() string {
	if k >= numKinds {
		return "invalid"
	}
	return kindNames[k]
}

// Flags say more about an entry than its Kind.
type Flags uint16

// The flags of entries.
const (
	// Implied: a directory without an entry of its own, so that its attributes
	// are the defaults and override nothing.
	Implied Flags = 1 << iota
	// Opaque: a directory that hides all that lower layers have in it.
	Opaque
	// Replaces: a directory, or a Link, whose layer also has a whiteout of its
	// name. The directory hides what lower layers have in it just as Opaque
	// does; the Link is a Whiteout when it leads to nothing.
	Replaces
	// MarkersOnly: an implied directory that holds nothing but whiteouts, or is
	// Opaque; it changes the directory of a lower layer and makes none.
	MarkersOnly
	// HardLink: another name of the entry Entry.Link.
	HardLink
	// Linked: an entry that other entries are hard links to; see Index.Links.
	Linked
	// Sparse: a file whose content is in Index.Extents, the rest being zeros.
	Sparse
	// HasXattrs: Index.Xattrs yields something.
	HasXattrs

	flagsEnd
)

// Xattr is one extended attribute; Value is bytes, not text.
type Xattr struct {
	Name  string
	Value []byte
}

// Extent is one stretch of data of a sparse file: Len bytes at Logical in the
// file are those at Data in the layer's address space. All are in bytes.
type Extent struct{ Logical, Data, Len int64 }

// Record is one entry as its source (a tar, a table of contents) has it. The
// Builder cleans names, refuses bad ones, and interprets markers.
type Record struct {
	Name         string // raw path: "./a", "/a", "a/b/", "d/.wh.x"
	Kind         Kind   // Link for any hard link; never Whiteout
	LinkName     string // a symlink's text; a hard link's target, a raw path
	Mode         uint32 // permission, set-id and sticky bits: 07777
	UID, GID     uint32
	Sec          int64  // modification time since 1970, may be negative
	Nsec         uint32 // below 1e9
	Size         int64  // of a File, holes included
	Major, Minor uint32 // of a Char or Block
	Xattrs       []Xattr
	Data         int64    // where the content starts in the address space
	Extents      []Extent // of a sparse file, ascending; nil if the content is contiguous
}

// Source says what an index was made from.
type Source uint8

// The sources.
const (
	Scan        Source = iota // our own pass over the layer
	EStargz                   // the table of contents of an eStargz layer
	ZstdChunked               // that of a zstd:chunked layer, either dialect
	SOCI                      // a SOCI ztoc beside the layer
	numSources
)

var sourceNames = [numSources]string{"scan", "estargz", "zstd:chunked", "soci"}

// String is the source's name in messages.
func (s Source) String() string { return nameOf(sourceNames[:], int(s)) }

// Space names the address space that data offsets and spans are in.
type Space uint8

// The address spaces.
const (
	Tar    Space = iota // offsets in the uncompressed tar
	Packed              // file contents laid out by us, each at a multiple of 4096
	numSpaces
)

var spaceNames = [numSpaces]string{"tar", "packed"}

// String is the suffix of the file that holds the space's data.
func (s Space) String() string { return nameOf(spaceNames[:], int(s)) }

// Compression is how the blob encodes its spans.
type Compression uint8

// The compressions of blobs.
const (
	Uncompressed Compression = iota
	Gzip
	Zstd
	Bzip2
	Xz
	numCompressions
)

var compressionNames = [numCompressions]string{"none", "gzip", "zstd", "bzip2", "xz"}

// String is the compression's name in messages.
func (c Compression) String() string { return nameOf(compressionNames[:], int(c)) }

func nameOf(names []string, i int) string {
	if i >= len(names) {
		return "invalid"
	}
	return names[i]
}

// Header says what the index is an index of.
type Header struct {
	Source      Source
	Space       Space
	Compression Compression
	HideTOC     bool          // the layer's own table of contents and landmarks are left out
	BlobDigest  digest.Digest // "" if unknown
	BlobSize    int64         // bytes; -1 if unknown
	DiffID      digest.Digest // "" if unknown
	SpaceSize   int64         // length of the address space, and so of the data file
	Document    digest.Digest // of the table of contents or ztoc that the index was made from; "" for a Scan

	// Imported marks an index that came from another machine: only the layer's
	// own bytes can prove what it says.
	Imported bool
}

// DigestOf says which bytes Span.Digest is the sha256 of.
type DigestOf uint8

// The bytes that a span's digest can cover.
const (
	DigestNone       DigestOf = iota // nothing: Span.Digest is zero
	DigestCompressed                 // the range [In, In+InLen) of the blob
	DigestOutput                     // the range [Out, Out+OutLen) of the address space
	numDigestOf
)

// SpanFlags say how a span differs from an ordinary one.
type SpanFlags uint8

// SpanZeros marks a span of zeros: it has no input.
const SpanZeros SpanFlags = 1

// Span is a stretch of the layer's address space with what it takes to produce
// it alone. Spans ascend in Out and do not overlap; the packed space has gaps.
type Span struct {
	Out, OutLen int64 // the stretch, in the address space
	In, InLen   int64 // the range of the blob that produces it
	Bits        uint8 // low bits of the byte at In that belong to the span before (deflate)
	Skip        int64 // bytes to drop from the decoded range before Out begins
	Sum         uint64
	Digest      [32]byte // sha256 of what DigestOf says
	DigestOf    DigestOf
	Flags       SpanFlags
}

// Window is a deflate window packed for the index by a WindowPacker; nil where
// decoding a span needs no history.
type Window []byte

// Limits. A layer that passes one is Unsupported when its index is built, an index
// that does is Corrupt when it is read; names and targets that pass theirs are
// refused one by one.
const (
	MaxEntries    = 1 << 24 // names, and records, of one layer; an id has 24 bits
	MaxName       = 255     // bytes of a path element, NAME_MAX
	MaxPath       = 1 << 16 // bytes of a raw path
	MaxSymlink    = 4095    // bytes of a symlink's text, PATH_MAX - 1
	MaxXattrName  = 255     // bytes, XATTR_NAME_MAX
	MaxXattrValue = 1 << 16 // bytes, XATTR_SIZE_MAX
	MaxXattrList  = 1 << 16 // bytes of all names of one entry, XATTR_LIST_MAX
	MaxSize       = 1<<48 - 1
	MaxText       = 1 << 29 // bytes of all names; of all targets; of all xattrs
	MaxExtents    = 1 << 24 // of all files
	MaxSpans      = 1 << 24
	WindowSize    = 32 << 10 // bytes of a deflate window
	MaxFile       = 1 << 33  // bytes of an index
)
