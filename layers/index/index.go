// Package index is the packed index of one layer.
package index

import (
	"iter"

	"github.com/peelfs/peelfs/internal/errkind"
)

// Index is an index file, mapped and checked.
type Index struct{}

// Entry is an entry.
type Entry struct {
	Kind           Kind
	Flags          Flags
	Mode, UID, GID uint32
	Sec            int64
	Nsec           uint32
	Size           int64 // of a File, holes included; of a Symlink, the length of its text
	Data           int64 // of a File that is not Sparse: offset in the address space
	Rdev           uint32
	Parent         uint32
	First, Count   uint32 // of a Dir: its children are entries First to First+Count-1
	Link           uint32 // of a HardLink: the entry that it is another name of
}

// Major is the major number of a Char or Block.
func (e Entry) Major() uint32 { return e.Rdev >> 8 & 0xfff }

// Minor is the minor number of a Char or Block.
func (e Entry) Minor() uint32 { return e.Rdev&0xff | e.Rdev>>12&0xfff00 }

// Open maps the index at path.
func Open(path string) (*Index, error) { return nil, errkind.New(errkind.Internal, "not built") }

// OpenBytes reads an index in memory.
func OpenBytes(data []byte) (*Index, error) {
	return nil, errkind.New(errkind.Internal, "not built")
}

// Close unmaps it.
func (x *Index) Close() error { return nil }

// Header says what it is an index of.
func (x *Index) Header() Header { return Header{} }

// Len is the number of entries; ids are below it, 0 is the root.
func (x *Index) Len() int { return 0 }

// Entry returns entry id, the zero Entry if there is none. For a HardLink all but Parent,
// Flags&HardLink and Link are those of the entry that it is a name of.
func (x *Index) Entry(id uint32) Entry { return Entry{} }

// Name is the last path element of id, empty for the root. It aliases the map.
func (x *Index) Name(id uint32) []byte { return nil }

// Find finds name in the directory dir, whiteouts included.
func (x *Index) Find(dir uint32, name string) (id uint32, ok bool) { return 0, false }

// Target is a Symlink's text, or a Link's cleaned target path (no leading slash).
func (x *Index) Target(id uint32) []byte { return nil }

// Xattrs yields name and value of id's extended attributes by ascending name; they alias the map.
func (x *Index) Xattrs(id uint32) iter.Seq2[[]byte, []byte] {
	return func(func([]byte, []byte) bool) {}
}

// Xattr is the value of one attribute; it aliases the map.
func (x *Index) Xattr(id uint32, name string) ([]byte, bool) { return nil, false }

// Extents are the data of a Sparse file, ascending; nil for any other.
func (x *Index) Extents(id uint32) []Extent { return nil }

// Links are the other names of the Linked entry id; nil for any other.
func (x *Index) Links(id uint32) []uint32 { return nil }

// Unresolved are the entries of Kind Link.
func (x *Index) Unresolved() []uint32 { return nil }

// Path is the whole path of id, without a leading slash; "" for the root.
func (x *Index) Path(id uint32) string { return "" }

// Spans is the number of spans.
func (x *Index) Spans() int { return 0 }

// Span returns span i, 0 <= i < Spans().
func (x *Index) Span(i int) Span { return Span{} }

// SpansOf are the spans first <= i < last that overlap n bytes at off of the address space.
func (x *Index) SpansOf(off, n int64) (first, last int) { return 0, 0 }

// Window is span i's window unpacked, nil if it has none.
func (x *Index) Window(i int) ([]byte, error) { return nil, nil }
