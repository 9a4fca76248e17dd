package soci

import (
	"encoding/hex"

	flatbuffers "github.com/google/flatbuffers/go"
)

// table is a flatbuffer table whose fields are named by their slots. Its methods
// panic on a malformed buffer.
type table struct{ flatbuffers.Table }

func (t table) offset(slot flatbuffers.VOffsetT) flatbuffers.UOffsetT {
	return flatbuffers.UOffsetT(t.Offset(slot))
}

func (t table) text(slot flatbuffers.VOffsetT) string { return string(t.bytes(slot)) }

// bytes is a string or a vector of bytes; it aliases the buffer.
func (t table) bytes(slot flatbuffers.VOffsetT) []byte {
	o := t.offset(slot)
	if o == 0 {
		return nil
	}
	return t.ByteVector(o + t.Pos)
}

func (t table) int64(slot flatbuffers.VOffsetT) int64   { return t.GetInt64Slot(slot, 0) }
func (t table) int32(slot flatbuffers.VOffsetT) int32   { return t.GetInt32Slot(slot, 0) }
func (t table) uint32(slot flatbuffers.VOffsetT) uint32 { return t.GetUint32Slot(slot, 0) }

func (t table) int8(slot flatbuffers.VOffsetT, def int8) int8 { return t.GetInt8Slot(slot, def) }

func (t table) table(slot flatbuffers.VOffsetT) (table, bool) {
	o := t.offset(slot)
	if o == 0 {
		return table{}, false
	}
	return table{flatbuffers.Table{Bytes: t.Bytes, Pos: t.Indirect(o + t.Pos)}}, true
}

// length is that of a vector; it cannot be larger than the buffer.
func (t table) length(slot flatbuffers.VOffsetT) int {
	o := t.offset(slot)
	if o == 0 {
		return 0
	}
	n := t.VectorLen(o)
	if n < 0 || n > len(t.Bytes)/4 {
		panic("a vector is longer than the buffer")
	}
	return n
}

// element is table i of a vector of tables.
func (t table) element(slot flatbuffers.VOffsetT, i int) table {
	at := t.Vector(t.offset(slot)) + flatbuffers.UOffsetT(i)*4
	return table{flatbuffers.Table{Bytes: t.Bytes, Pos: t.Indirect(at)}}
}

// textAt is string i of a vector of strings.
func (t table) textAt(slot flatbuffers.VOffsetT, i int) string {
	return string(t.ByteVector(t.Vector(t.offset(slot)) + flatbuffers.UOffsetT(i)*4))
}

// copyHex decodes a digest that was parsed, so that it is hexadecimal.
func copyHex(dst []byte, s string) { _, _ = hex.Decode(dst, []byte(s)) }
