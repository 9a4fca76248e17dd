package index

import (
	"bytes"
	"encoding/binary"
)

// check proves, in one pass over each section, what the readers of an Index
// rely on: every reference stays within its section; a child comes after its
// parent, so that walks end; the ranges of children are disjoint and each child
// names the directory whose range it is in; names are sorted and can be names;
// a hard link leads to an entry that is none; content, extents and spans are
// within the layer. It is linear in the size of the file whatever it holds.
func (x *Index) check() error {
	for _, f := range []func() error{x.checkSizes, x.checkTables, x.checkAttrs, x.checkSpans, x.checkEntries, x.checkLinks, x.checkUnresolved} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

func (x *Index) checkSizes() error {
	switch {
	case x.n == 0 || x.n > MaxEntries:
		return corrupt("%d entries", x.n)
	case len(x.names) == 0 || len(x.names) > MaxText+MaxEntries:
		return corrupt("%d bytes of names", len(x.names))
	case len(x.sec[secExtents])/extentSize > MaxExtents || x.Spans() > MaxSpans:
		return corrupt("too many extents or spans")
	}
	return nil
}

func (x *Index) checkTables() error {
	if !x.targets.valid() || !x.xattrs.valid() || !x.windows.valid() {
		return corrupt("a table is not in order")
	}
	if n := x.windows.len(); n != 0 && n != x.Spans() {
		return corrupt("%d windows for %d spans", n, x.Spans())
	}
	for i := range x.targets.len() {
		if t := x.targets.at(i); len(t) == 0 || len(t) > MaxPath || bytes.IndexByte(t, 0) >= 0 {
			return corrupt("target %d is none", i)
		}
	}
	for i := range x.xattrs.len() {
		if !validXattrs(x.xattrs.at(i)) {
			return corrupt("bad extended attributes in set %d", i)
		}
	}
	return nil
}

func (x *Index) checkAttrs() error {
	if len(x.attrs) == 0 {
		return corrupt("no attributes")
	}
	for p := x.attrs; len(p) > 0; p = p[attrSize:] {
		if a := getAttr(p); a.mode > 0o7777 || a.nsec >= 1e9 || int64(a.xattrs) > int64(x.xattrs.len()) {
			return corrupt("attributes out of range")
		}
	}
	return nil
}

func (x *Index) checkSpans() error {
	end := int64(0)
	for i := range x.Spans() {
		s := x.Span(i)
		if err := s.check(end, x.header); err != nil {
			return corrupt("span %d: %w", i, err)
		}
		end = s.Out + s.OutLen
	}
	return nil
}

// tally is what must come out right once all entries were seen.
type tally struct {
	children, extents, hardLinks, linked, links uint32
	parent                                      uint32   // of the entry before
	name                                        []byte   // of the entry before
	pathLen                                     []uint32 // by entry, bytes of its whole path
	cleanTargets                                []bool   // by target, whether it is a cleaned path
}

func (x *Index) checkEntries() error {
	t := &tally{pathLen: make([]uint32, x.n)}
	if len(x.sec[secUnresolved]) > 0 {
		t.cleanTargets = make([]bool, x.targets.len())
		for i := range t.cleanTargets {
			t.cleanTargets[i] = cleanPath(x.targets.at(i))
		}
	}
	if r := x.raw(0); r.kind != Dir || r.parent != 0 || x.names[0] != 0 || r.name != 0 {
		return corrupt("entry 0 is not the root")
	}
	for id := range x.n {
		r := x.raw(id)
		if why := x.checkPlace(id, &r, t); why != "" {
			return corrupt("entry %d: %s", id, why)
		}
		if why := x.checkObject(id, &r, t); why != "" {
			return corrupt("entry %d, a %v: %s", id, r.kind, why)
		}
	}
	if t.children != x.n-1 || int(t.extents)*extentSize != len(x.sec[secExtents]) ||
		int(t.hardLinks)*linkSize != len(x.sec[secLinks]) || int(t.links)*4 != len(x.sec[secUnresolved]) {
		return corrupt("counts of children, extents or links do not add up")
	}
	x.linked = t.linked
	return nil
}

// checkPlace checks where the entry is. Since ranges of children start after
// their directory, their lengths add up to all entries but the root, and each
// entry is in its parent's, no two ranges overlap.
func (x *Index) checkPlace(id uint32, r *entry, t *tally) string {
	if id == 0 {
		return ""
	}
	if r.parent >= id {
		return "comes before its parent"
	}
	name, ok := x.nameAt(r.name)
	if !ok || !validName(name) {
		return "impossible name"
	}
	if t.parent == r.parent && id > 1 && string(t.name) >= string(name) {
		return "names are not sorted"
	}
	if p := x.raw(r.parent); p.kind != Dir || uint64(id) < p.size || uint64(id)-p.size >= uint64(p.x) {
		return "is no child of its parent"
	}
	t.parent, t.name = r.parent, name
	t.pathLen[id] = t.pathLen[r.parent] + 1 + uint32(len(name))
	if t.pathLen[id] > MaxPath+1 {
		return "path too long"
	}
	return ""
}

// flagsOf are the flags that an entry of each kind may have.
var flagsOf = [numKinds]Flags{
	Dir:     Implied | Opaque | Replaces | MarkersOnly,
	File:    HardLink | Linked | Sparse,
	Symlink: HardLink | Linked,
	Char:    HardLink | Linked,
	Block:   HardLink | Linked,
	Fifo:    HardLink | Linked,
	Link:    Replaces,
}

func (x *Index) checkObject(id uint32, r *entry, t *tally) string {
	switch {
	case r.kind == 0 || r.kind >= numKinds:
		return "unknown kind"
	case r.flags&^flagsOf[r.kind] != 0:
		return "impossible flags"
	case int64(r.attr) >= int64(len(x.attrs)/attrSize):
		return "attributes are missing"
	case r.data > low48:
		return "data out of range"
	case r.flags&HardLink != 0:
		return x.checkHardLink(id, r, t)
	}
	if r.flags&Linked != 0 {
		t.linked++
	}
	ok := true
	switch r.kind {
	case Dir:
		ok = r.data == 0 && x.checkDir(id, r, t)
	case File:
		ok = x.checkFile(r, t)
	case Symlink:
		ok = r.data == 0 && r.size == uint64(len(x.targets.at(int(r.x)))) && r.size > 0 && r.size <= MaxSymlink
	case Link:
		t.links++
		ok = r.data == 0 && r.size == 0 && int64(r.x) < int64(len(t.cleanTargets)) && t.cleanTargets[r.x]
	case Char, Block:
		ok = r.data == 0 && r.size == 0
	case Fifo, Whiteout:
		ok = r.data == 0 && r.size == 0 && r.x == 0
	}
	if !ok {
		return "fields out of range"
	}
	return ""
}

func (x *Index) checkDir(id uint32, r *entry, t *tally) bool {
	if r.flags&(Implied|MarkersOnly) == MarkersOnly {
		return false
	}
	if r.x == 0 {
		return r.size == 0
	}
	if r.size <= uint64(id) || r.size+uint64(r.x) > uint64(x.n) {
		return false
	}
	t.children += r.x // both below 2^25
	return t.children < x.n
}

func (x *Index) checkFile(r *entry, t *tally) bool {
	space := uint64(x.header.SpaceSize)
	if r.flags&Sparse == 0 {
		return r.x == 0 && r.size+r.data <= space && (r.size > 0 || r.data == 0)
	}
	all := uint64(len(x.sec[secExtents]) / extentSize)
	if r.size == 0 || r.x != t.extents || r.data > all-uint64(t.extents) {
		return false
	}
	t.extents += uint32(r.data)
	end := int64(0)
	for i := range uint32(r.data) {
		e := getExtent(x.sec[secExtents][(r.x+i)*extentSize:])
		if e.Logical < end || e.Len <= 0 || e.Len > int64(r.size) || e.Logical > int64(r.size)-e.Len ||
			e.Data < 0 || e.Len > int64(space) || e.Data > int64(space)-e.Len {
			return false
		}
		end = e.Logical + e.Len
	}
	return true
}

func (x *Index) checkHardLink(id uint32, r *entry, t *tally) string {
	t.hardLinks++
	if r.x >= id || r.flags != HardLink || r.size != 0 || r.data != 0 {
		return "fields out of range"
	}
	if p := x.raw(r.x); p.kind != r.kind || p.flags&(HardLink|Linked) != Linked {
		return "is another name of no such entry"
	}
	return ""
}

// checkLinks checks that the list of links has each hard link once: it is as
// long as there are hard links, strictly ascending, and each item is one.
func (x *Index) checkLinks() error {
	prev, linked := uint64(0), uint32(0)
	for p := x.sec[secLinks]; len(p) > 0; p = p[linkSize:] {
		primary, name := binary.LittleEndian.Uint32(p), binary.LittleEndian.Uint32(p[4:])
		key := uint64(primary)<<32 | uint64(name)
		if key <= prev || name >= x.n {
			return corrupt("list of hard links is not in order")
		}
		if r := x.raw(name); r.flags&HardLink == 0 || r.x != primary {
			return corrupt("list of hard links names entry %d", name)
		}
		if uint32(prev>>32) != primary {
			linked++
		}
		prev = key
	}
	if linked != x.linked {
		return corrupt("list of hard links is not complete")
	}
	return nil
}

func (x *Index) checkUnresolved() error {
	prev := uint32(0)
	for p := x.sec[secUnresolved]; len(p) > 0; p = p[4:] {
		id := binary.LittleEndian.Uint32(p)
		if id <= prev || id >= x.n || x.raw(id).kind != Link {
			return corrupt("list of links to lower layers is not in order")
		}
		prev = id
	}
	return nil
}
