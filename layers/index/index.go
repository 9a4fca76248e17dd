// Package index is the layer index: all that a layer says about its files, in
// one packed file that is mapped and never changes.
//
// A Builder takes the records of a layer in the order of its tar and applies
// every rule within a layer; what is left to the merged view is only what one
// layer does to those below it. An Index reads the file. Open proves all that
// its methods rely on, so that a file from anywhere can be read without panic,
// endless loop or a byte out of bounds; what such a file says may still be
// untrue, and only the digests of spans guard the content.
//
// The numbers of entries depend on what the layer holds and on nothing else:
// not on what the index was made from, nor on the order of the tar.
package index

import (
	"encoding/binary"
	"io/fs"
	"iter"
	"os"
	"slices"
	"sort"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/mapfault"
)

// Index is an index file, mapped and checked. All methods but Close may be
// called by many goroutines at once; Entry, Name, Find, Target and Xattr
// allocate nothing. Bytes returned alias the map and are valid until Close.
type Index struct {
	header  Header
	sum     uint64
	data    []byte
	n       uint32
	sec     [numSections][]byte
	entries []byte
	attrs   []byte
	names   []byte
	targets table
	xattrs  table
	windows table
	linked  uint32 // entries that are Linked
	mapped  []byte // what Close unmaps; nil if the bytes are not ours
	file    mappedFile
	cut     atomic.Bool // the file was found to be cut short or unreadable
}

// Entry is what the index says of one name. For a HardLink all but Parent, Link
// and the flags HardLink and Linked are those of the entry that it is another
// name of.
type Entry struct {
	Kind           Kind
	Flags          Flags
	Mode, UID, GID uint32 // Mode is permission, set-id and sticky bits only
	Sec            int64
	Nsec           uint32
	Size           int64  // of a File, holes included; of a Symlink, the length of its text
	Data           int64  // of a File that is not Sparse: offset in the address space
	Rdev           uint32 // of a Char or Block: device number as stat has it
	Parent         uint32
	First, Count   uint32 // of a Dir: its children are entries First to First+Count-1
	Link           uint32 // of a HardLink: the entry that it is another name of
}

// Major is the major number of a Char or Block.
func (e Entry) Major() uint32 { return e.Rdev >> 8 & 0xfff }

// Minor is the minor number of a Char or Block.
func (e Entry) Minor() uint32 { return e.Rdev&0xff | e.Rdev>>12&0xfff00 }

// Open maps the index at path and checks it. The error is NotFound if there is
// no file, and Corrupt if it is no index of this version, or a damaged one. The
// file must not change while it is mapped; Close unmaps it. Methods of an Index
// whose file was cut all the same fault: see package mapfault, and Sound.
func Open(path string) (*Index, error) {
	data, file, err := mapFile(path)
	if err != nil {
		return nil, err
	}
	var x *Index
	err = mapfault.Catch(func() (err error) {
		x, err = OpenBytes(data)
		return err
	})
	if err != nil {
		_ = unix.Munmap(data)
		return nil, errkind.New(errkind.Of(err), "%s: %w", path, err)
	}
	x.mapped, x.file = data, file
	return x, nil
}

func mapFile(path string) (data []byte, file mappedFile, err error) {
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil, file, errkind.Wrap(errkind.NotFound, err)
	}
	if err != nil {
		return nil, file, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, file, err
	}
	if st.Mode().Type() != fs.FileMode(0) || st.Size() < headerSize || st.Size() > MaxFile {
		return nil, file, corrupt("%s is not an index file", path)
	}
	data, err = unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, file, &os.PathError{Op: "mmap", Path: path, Err: err}
	}
	return data, mappedFile{path, st}, nil
}

// OpenBytes is Open of an index in memory, which must not change while it is used.
func OpenBytes(data []byte) (*Index, error) {
	sec, err := checkFrame(data)
	if err != nil {
		return nil, err
	}
	h, err := decodeHeader(data)
	if err != nil {
		return nil, err
	}
	if len(sec[secEntries])/entrySize > MaxEntries {
		return nil, corrupt("too many entries")
	}
	x := &Index{
		header: h, sum: binary.LittleEndian.Uint64(data[hdSum:]), data: data, sec: sec, n: uint32(len(sec[secEntries]) / entrySize),
		entries: sec[secEntries], attrs: sec[secAttrs], names: sec[secNames],
		targets: table{sec[secTargetEnds], sec[secTargets]},
		xattrs:  table{sec[secXattrEnds], sec[secXattrs]},
		windows: table{sec[secWindowEnds], sec[secWindows]},
	}
	if err := x.check(); err != nil {
		return nil, err
	}
	return x, nil
}

// Close unmaps the file. Nothing of the Index may be used during or after it.
func (x *Index) Close() error {
	data := x.mapped
	*x = Index{}
	if data == nil {
		return nil
	}
	return unix.Munmap(data)
}

// Header says what it is an index of.
func (x *Index) Header() Header { return x.header }

// Checksum is that of the file: two indexes with the same one are the same.
func (x *Index) Checksum() uint64 { return x.sum }

// Bytes are those of the file, not to be changed.
func (x *Index) Bytes() []byte { return x.data }

// Len is the number of entries; ids are below it, and 0 is the root.
func (x *Index) Len() int { return int(x.n) }

// Entry returns entry id, the zero Entry if there is none.
func (x *Index) Entry(id uint32) Entry {
	if id >= x.n {
		return Entry{}
	}
	r := x.raw(id)
	e := Entry{Kind: r.kind, Flags: r.flags & storedFlags, Parent: r.parent}
	if r.flags&HardLink != 0 {
		e.Link = r.x
		r = x.object(id)
		e.Flags |= r.flags & Sparse
	}
	if a := getAttr(x.attrs[int(r.attr)*attrSize:]); r.kind != Whiteout && r.kind != Link {
		e.Mode, e.UID, e.GID, e.Sec, e.Nsec = a.mode, a.uid, a.gid, a.sec, a.nsec
		if a.xattrs != 0 {
			e.Flags |= HasXattrs
		}
	}
	switch r.kind {
	case Dir:
		e.First, e.Count = uint32(r.size), r.x
	case File:
		e.Size = int64(r.size)
		if r.flags&Sparse == 0 {
			e.Data = int64(r.data)
		}
	case Symlink:
		e.Size = int64(r.size)
	case Char, Block:
		e.Rdev = r.x
	}
	return e
}

// raw returns the record of an entry that exists.
func (x *Index) raw(id uint32) entry { return getEntry(x.entries[int(id)*entrySize:]) }

// object returns the record that has the attributes of id: its own, or that of
// the entry that it is another name of; the zero entry if there is none.
func (x *Index) object(id uint32) entry {
	if id >= x.n {
		return entry{}
	}
	r := x.raw(id)
	if r.flags&HardLink != 0 {
		r = x.raw(r.x)
	}
	return r
}

// Name is the last element of the path of id, empty for the root.
func (x *Index) Name(id uint32) []byte {
	if id >= x.n {
		return nil
	}
	name, _ := x.nameAt(binary.LittleEndian.Uint32(x.entries[int(id)*entrySize:]))
	return name
}

func (x *Index) nameAt(at uint32) ([]byte, bool) {
	if uint64(at) >= uint64(len(x.names)) {
		return nil, false
	}
	rest := x.names[at+1:]
	n := int(x.names[at])
	if n > len(rest) {
		return nil, false
	}
	return rest[:n:n], true
}

// Find finds name among the children of the directory dir, whiteouts included.
func (x *Index) Find(dir uint32, name string) (id uint32, ok bool) {
	if dir >= x.n {
		return 0, false
	}
	d := x.raw(dir)
	if d.kind != Dir {
		return 0, false
	}
	lo := uint32(d.size)
	end := lo + d.x
	for hi := end; lo < hi; {
		mid := lo + (hi-lo)/2
		switch got := x.Name(mid); {
		case string(got) < name:
			lo = mid + 1
		case string(got) == name:
			return mid, true
		default:
			hi = mid
		}
	}
	return 0, false
}

// Target is a Symlink's text, or a Link's cleaned target path without a leading
// slash; nil for other kinds.
func (x *Index) Target(id uint32) []byte {
	r := x.object(id)
	if r.kind != Symlink && r.kind != Link {
		return nil
	}
	return x.targets.at(int(r.x))
}

// Xattrs yields name and value of the extended attributes of id, by ascending
// name.
func (x *Index) Xattrs(id uint32) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		set := x.xattrSet(id)
		for {
			name, value, rest, ok := nextXattr(set)
			if !ok || !yield(name, value) {
				return
			}
			set = rest
		}
	}
}

// Xattr is the value of one extended attribute.
func (x *Index) Xattr(id uint32, name string) (value []byte, ok bool) {
	set := x.xattrSet(id)
	for {
		got, value, rest, ok := nextXattr(set)
		if !ok {
			return nil, false
		}
		if string(got) == name {
			return value, true
		}
		set = rest
	}
}

func (x *Index) xattrSet(id uint32) []byte {
	r := x.object(id)
	if r.kind == 0 || r.kind == Whiteout || r.kind == Link {
		return nil
	}
	return x.xattrs.at(int(getAttr(x.attrs[int(r.attr)*attrSize:]).xattrs) - 1)
}

// Extents are the data of a Sparse file, ascending; nil for any other entry.
func (x *Index) Extents(id uint32) []Extent {
	r := x.object(id)
	if r.flags&Sparse == 0 {
		return nil
	}
	list := make([]Extent, r.data)
	for i := range list {
		list[i] = x.extent(&r, i)
	}
	return list
}

// ExtentsFrom yields those extents of a Sparse file, ascending, that end behind byte off
// of the file; none for any other entry. It makes no list of them, and finds the
// first one by halving.
func (x *Index) ExtentsFrom(id uint32, off int64) iter.Seq[Extent] {
	return func(yield func(Extent) bool) {
		r := x.object(id)
		if r.flags&Sparse == 0 {
			return
		}
		n := int(r.data)
		first := sort.Search(n, func(i int) bool {
			e := x.extent(&r, i)
			return e.Logical+e.Len > off
		})
		for i := first; i < n; i++ {
			if !yield(x.extent(&r, i)) {
				return
			}
		}
	}
}

// extent returns number i of the extents of the file r.
func (x *Index) extent(r *entry, i int) Extent {
	return getExtent(x.sec[secExtents][(int(r.x)+i)*extentSize:])
}

// Links are the other names of the Linked entry id, ascending; nil for any
// other entry.
func (x *Index) Links(id uint32) []uint32 {
	if id >= x.n || x.raw(id).flags&Linked == 0 {
		return nil
	}
	p := x.sec[secLinks]
	i := sort.Search(len(p)/linkSize, func(i int) bool { return binary.LittleEndian.Uint32(p[i*linkSize:]) >= id })
	var list []uint32
	for p = p[i*linkSize:]; len(p) > 0 && binary.LittleEndian.Uint32(p) == id; p = p[linkSize:] {
		list = append(list, binary.LittleEndian.Uint32(p[4:]))
	}
	return list
}

// Unresolved are the entries of Kind Link, ascending.
func (x *Index) Unresolved() []uint32 {
	p := x.sec[secUnresolved]
	list := make([]uint32, len(p)/4)
	for i := range list {
		list[i] = binary.LittleEndian.Uint32(p[4*i:])
	}
	return list
}

// Path is the whole path of id without a leading slash, "" for the root.
func (x *Index) Path(id uint32) string {
	var path []byte // backwards
	for id > 0 && id < x.n {
		if path != nil {
			path = append(path, '/')
		}
		at := len(path)
		path = append(path, x.Name(id)...)
		slices.Reverse(path[at:])
		id = x.raw(id).parent
	}
	slices.Reverse(path)
	return string(path)
}
