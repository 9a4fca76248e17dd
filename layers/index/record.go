package index

import (
	"encoding/binary"
	"errors"
)

// entry is an entry as it is in the file; see format.go for its fields.
type entry struct {
	name, parent, attr, x uint32
	kind                  Kind
	flags                 Flags
	size, data            uint64 // 48 bits each
}

func (r *entry) put(p []byte) {
	binary.LittleEndian.PutUint32(p, r.name)
	binary.LittleEndian.PutUint32(p[4:], r.parent)
	binary.LittleEndian.PutUint32(p[8:], r.attr)
	binary.LittleEndian.PutUint32(p[12:], r.x)
	binary.LittleEndian.PutUint64(p[16:], r.size|uint64(r.kind)<<48|uint64(r.flags)<<(48+kindBits))
	binary.LittleEndian.PutUint64(p[24:], r.data)
}

func getEntry(p []byte) entry {
	_ = p[entrySize-1]
	size, data := binary.LittleEndian.Uint64(p[16:]), binary.LittleEndian.Uint64(p[24:])
	return entry{
		name:   binary.LittleEndian.Uint32(p),
		parent: binary.LittleEndian.Uint32(p[4:]),
		attr:   binary.LittleEndian.Uint32(p[8:]),
		x:      binary.LittleEndian.Uint32(p[12:]),
		kind:   Kind(size >> 48 & kindMask),
		flags:  Flags(size >> (48 + kindBits)),
		size:   size & low48,
		data:   data,
	}
}

func (a attr) append(p []byte) []byte {
	for _, v := range []uint32{a.mode, a.uid, a.gid, a.nsec} {
		p = binary.LittleEndian.AppendUint32(p, v)
	}
	p = binary.LittleEndian.AppendUint64(p, uint64(a.sec))
	return binary.LittleEndian.AppendUint64(p, uint64(a.xattrs))
}

func getAttr(p []byte) attr {
	_ = p[attrSize-1]
	return attr{
		mode:   binary.LittleEndian.Uint32(p),
		uid:    binary.LittleEndian.Uint32(p[4:]),
		gid:    binary.LittleEndian.Uint32(p[8:]),
		nsec:   binary.LittleEndian.Uint32(p[12:]),
		sec:    int64(binary.LittleEndian.Uint64(p[16:])),
		xattrs: binary.LittleEndian.Uint32(p[24:]),
	}
}

func (s *Span) append(p []byte) []byte {
	for _, v := range []int64{s.Out, s.OutLen, s.In, s.InLen, s.Skip, int64(s.Sum)} {
		p = binary.LittleEndian.AppendUint64(p, uint64(v))
	}
	p = append(p, s.Digest[:]...)
	return append(p, s.Bits, byte(s.DigestOf), byte(s.Flags), 0, 0, 0, 0, 0)
}

func getSpan(p []byte) Span {
	_ = p[spanSize-1]
	n := func(i int) int64 { return int64(binary.LittleEndian.Uint64(p[8*i:])) }
	return Span{
		Out: n(0), OutLen: n(1), In: n(2), InLen: n(3), Skip: n(4), Sum: uint64(n(5)),
		Digest: [32]byte(p[48:80]),
		Bits:   p[80], DigestOf: DigestOf(p[81]), Flags: SpanFlags(p[82]),
	}
}

// check checks one span, the one before which ends at prev.
func (s *Span) check(prev int64, h Header) error {
	inEnd := int64(MaxSize)
	if h.BlobSize >= 0 {
		inEnd = h.BlobSize
	}
	switch {
	case s.Out < prev || s.OutLen <= 0 || s.OutLen > h.SpaceSize || s.Out > h.SpaceSize-s.OutLen:
		return errors.New("output is not ascending or outside the layer")
	case s.In < 0 || s.InLen < 0 || s.InLen > inEnd || s.In > inEnd-s.InLen:
		return errors.New("input is outside the blob")
	case s.Bits > 7 || s.Skip < 0 || s.Skip > MaxSize || s.DigestOf >= numDigestOf || s.Flags > SpanZeros:
		return errors.New("field out of range")
	}
	return nil
}

func getExtent(p []byte) Extent {
	_ = p[extentSize-1]
	return Extent{
		Logical: int64(binary.LittleEndian.Uint64(p)),
		Data:    int64(binary.LittleEndian.Uint64(p[8:])),
		Len:     int64(binary.LittleEndian.Uint64(p[16:])),
	}
}
