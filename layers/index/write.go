package index

import (
	"encoding/binary"
	"io"
	"slices"

	"github.com/zeebo/xxh3"

	"github.com/peelfs/peelfs/internal/errkind"
)

// Write writes the index of all records added, to which none can be added any
// more. There are as many windows as spans, or none. The same records in the
// same order give the same bytes. Errors that are not of w: Corrupt if a file's
// content or a span lies outside the layer, Unsupported if a limit is passed.
func (b *Builder) Write(w io.Writer, h Header, spans []Span, windows []Window) error {
	if err := b.seal(); err != nil {
		return err
	}
	head := make([]byte, headerSize)
	if err := encodeHeader(head, h); err != nil {
		return err
	}
	e := &encoder{b: b, order: b.number(h.HideTOC), spaceSize: h.SpaceSize}
	if err := e.encodeEntries(); err != nil {
		return err
	}
	if err := e.encodeShared(); err != nil {
		return err
	}
	if err := e.encodeSpans(h, spans, windows); err != nil {
		return err
	}
	return e.writeTo(w, head)
}

// encoder holds the sections while they grow.
type encoder struct {
	b         *Builder
	order     *order
	spaceSize int64
	sec       [numSections][]byte

	attrs, targets, xattrs *renumber
	primary                []uint32 // by inode: its first entry; 0 if none yet
	links                  [][2]uint32
}

func (e *encoder) encodeEntries() error {
	b := e.b
	e.attrs, e.targets = newRenumber(len(b.attrs.all)), newRenumber(len(b.targets.ends))
	e.xattrs = newRenumber(len(b.xattrs.ends))
	e.sec[secNames] = encodeNames(&b.names)
	e.sec[secEntries] = make([]byte, len(e.order.nodes)*entrySize)
	e.primary = make([]uint32, len(b.inodes))
	for id := range e.order.nodes {
		if err := e.encodeEntry(uint32(id)); err != nil {
			return err
		}
	}
	e.encodeLinks()
	return nil
}

func (e *encoder) encodeEntry(id uint32) error {
	at := e.order.nodes[id]
	n := e.b.nodes[at]
	in := &e.b.inodes[n.inode]
	r := entry{name: e.b.nameAt(n.name), parent: e.order.ids[n.parent], kind: in.kind, flags: n.flags}
	switch in.kind {
	case Dir:
		r.attr = e.attrs.of(in.attr)
		r.x = uint32(len(e.order.children(at)))
		if r.x > 0 {
			r.size = uint64(e.order.ids[e.order.children(at)[0]])
		}
	case Whiteout:
	case Link:
		r.x = e.targets.of(in.x)
		e.sec[secUnresolved] = binary.LittleEndian.AppendUint32(e.sec[secUnresolved], id)
	default:
		if first := e.primary[n.inode]; first != 0 {
			r.flags |= HardLink
			r.x = first
			e.links = append(e.links, [2]uint32{first, id})
			break
		}
		e.primary[n.inode] = id
		if err := e.object(&r, in); err != nil {
			return err
		}
	}
	r.put(e.sec[secEntries][id*entrySize:])
	return nil
}

// object fills in what the first name of an inode says of it.
func (e *encoder) object(r *entry, in *inode) error {
	r.attr = e.attrs.of(in.attr)
	r.x, r.size = in.x, uint64(in.size)
	switch {
	case in.kind == Symlink:
		r.x = e.targets.of(in.x)
	case in.state == isSparse:
		return e.extents(r, in)
	case in.kind == File:
		r.data = uint64(in.data)
		if in.data > e.spaceSize-in.size {
			return errkind.New(errkind.Corrupt, "a file of %d bytes at %d ends after the layer's %d bytes", in.size, in.data, e.spaceSize)
		}
	}
	return nil
}

func (e *encoder) extents(r *entry, in *inode) error {
	r.flags |= Sparse
	r.x, r.data = uint32(len(e.sec[secExtents])/extentSize), uint64(in.data)
	for _, x := range e.b.extents[in.x:][:in.data] {
		if x.Data > e.spaceSize-x.Len {
			return errkind.New(errkind.Corrupt, "%d bytes of a sparse file at %d end after the layer's %d bytes", x.Len, x.Data, e.spaceSize)
		}
		p := e.sec[secExtents]
		for _, v := range []int64{x.Logical, x.Data, x.Len} {
			p = binary.LittleEndian.AppendUint64(p, uint64(v))
		}
		e.sec[secExtents] = p
	}
	return nil
}

// encodeNames returns the section of all names, in the order of their numbers:
// that of their first use, as far as there was one.
func encodeNames(names *arena) []byte {
	sec := make([]byte, 0, len(names.data)+len(names.ends))
	for id := range names.ends {
		s := names.get(uint32(id))
		sec = append(append(sec, byte(len(s))), s...)
	}
	return sec
}

// nameAt is where a name begins in the section: behind all names with lower
// numbers, each of which has a byte for its length.
func (b *Builder) nameAt(id uint32) uint32 {
	if id == 0 {
		return 0
	}
	return b.names.ends[id-1] + id
}

func (e *encoder) encodeLinks() {
	slices.SortFunc(e.links, func(p, q [2]uint32) int { return slices.Compare(p[:], q[:]) })
	for _, l := range e.links {
		p := e.sec[secEntries][l[0]*entrySize:]
		r := getEntry(p)
		r.flags |= Linked
		r.put(p)
		e.sec[secLinks] = binary.LittleEndian.AppendUint32(e.sec[secLinks], l[0])
		e.sec[secLinks] = binary.LittleEndian.AppendUint32(e.sec[secLinks], l[1])
	}
}

// encodeShared writes what entries refer to.
func (e *encoder) encodeShared() error {
	for _, old := range e.attrs.order {
		a := e.b.attrs.all[old]
		if a.xattrs != 0 {
			a.xattrs = e.xattrs.of(a.xattrs-1) + 1
		}
		e.sec[secAttrs] = a.append(e.sec[secAttrs])
	}
	if err := e.encodeTable(secTargetEnds, e.targets, &e.b.targets); err != nil {
		return err
	}
	return e.encodeTable(secXattrEnds, e.xattrs, &e.b.xattrs)
}

func (e *encoder) encodeTable(sec int, used *renumber, from *arena) error {
	var t table
	for _, old := range used.order {
		if err := t.add(from.get(old)); err != nil {
			return err
		}
	}
	e.sec[sec], e.sec[sec+1] = t.ends, t.data
	return nil
}

func (e *encoder) encodeSpans(h Header, spans []Span, windows []Window) error {
	if len(spans) > MaxSpans {
		return errkind.New(errkind.Unsupported, "layer has more than %d spans", MaxSpans)
	}
	if len(windows) != 0 && len(windows) != len(spans) {
		return errkind.New(errkind.Internal, "%d windows for %d spans", len(windows), len(spans))
	}
	end := int64(0)
	for i, s := range spans {
		if err := s.check(end, h); err != nil {
			return errkind.New(errkind.Corrupt, "span %d: %w", i, err)
		}
		end = s.Out + s.OutLen
		e.sec[secSpans] = s.append(e.sec[secSpans])
	}
	var t table
	for _, w := range windows {
		if err := t.add(w); err != nil {
			return err
		}
	}
	e.sec[secWindowEnds], e.sec[secWindows] = t.ends, t.data
	return nil
}

func (e *encoder) writeTo(w io.Writer, head []byte) error {
	size := int64(headerSize)
	for i, s := range e.sec {
		binary.LittleEndian.PutUint64(head[hdSections+8*i:], uint64(len(s)))
		size = align8(size + int64(len(s)))
	}
	if size > MaxFile {
		return errkind.New(errkind.Unsupported, "layer index of %d bytes, more than %d", size, int64(MaxFile))
	}
	binary.LittleEndian.PutUint64(head[hdFileSize:], uint64(size))
	parts := [][]byte{head}
	sum := xxh3.New()
	sum.Write(head[hdSource:])
	for _, s := range e.sec {
		pad := make([]byte, align8(int64(len(s)))-int64(len(s)))
		sum.Write(s)
		sum.Write(pad)
		parts = append(parts, s, pad)
	}
	binary.LittleEndian.PutUint64(head[hdSum:], sum.Sum64())
	for _, p := range parts {
		if _, err := w.Write(p); err != nil {
			return err
		}
	}
	return nil
}
