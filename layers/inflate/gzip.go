package inflate

import (
	"hash/crc32"
	"io"
)

// Flags of a member's header, RFC 1952 section 2.3.1.
const (
	flagHeaderCRC = 1 << 1
	flagExtra     = 1 << 2
	flagName      = 1 << 3
	flagComment   = 1 << 4
	flagReserved  = 0xe0
)

// headerReader reads a member's header byte by byte from an aligned decoder.
// After the end of the input all bytes are 0 and ended is set.
type headerReader struct {
	d     *decoder
	crc   uint32
	ended bool
}

func (h *headerReader) byte() byte {
	d := h.d
	if h.ended || d.inPos == len(d.in) && !d.readMore() {
		h.ended = true
		return 0
	}
	b := d.in[d.inPos : d.inPos+1]
	d.inPos++
	h.crc = crc32.Update(h.crc, crc32.IEEETable, b)
	return b[0]
}

func (h *headerReader) uint16() uint16 {
	lo := h.byte()
	return uint16(lo) | uint16(h.byte())<<8
}

func (h *headerReader) skipString() {
	for h.byte() != 0 {
	}
}

// readHeader reads a gzip header of any length and makes d ready for the
// member's first block.
func (d *decoder) readHeader() error {
	h := headerReader{d: d}
	magic, method, flags := h.uint16(), h.byte(), h.byte()
	switch {
	case h.ended:
		return d.inputEnd()
	case magic != 0x8b1f:
		return corrupt("not a gzip header")
	case method != 8:
		return corrupt("unknown gzip compression method")
	case flags&flagReserved != 0:
		return corrupt("reserved flags in a gzip header")
	}
	for range 6 { // time, extra flags, system
		h.byte()
	}
	if flags&flagExtra != 0 {
		for range h.uint16() {
			h.byte()
		}
	}
	if flags&flagName != 0 {
		h.skipString()
	}
	if flags&flagComment != 0 {
		h.skipString()
	}
	if want := uint16(h.crc); flags&flagHeaderCRC != 0 && h.uint16() != want {
		return corrupt("gzip header fails its CRC")
	}
	if h.ended {
		return d.inputEnd()
	}
	d.startMember()
	return nil
}

// startMember makes d ready for the first block of a member at the current
// position of input and output.
func (d *decoder) startMember() {
	d.stage, d.final = header, false
	d.low, d.edge, d.window = d.pos, d.pos, nil
}

// readTrailer reads the CRC32 and the length modulo 2^32 of a member that has
// ended.
func (d *decoder) readTrailer() (crc, size uint32, err error) {
	d.align()
	h := headerReader{d: d}
	crc = uint32(h.uint16()) | uint32(h.uint16())<<16
	size = uint32(h.uint16()) | uint32(h.uint16())<<16
	if h.ended {
		return 0, 0, d.inputEnd()
	}
	return crc, size, nil
}

// atMember says whether the input goes on with another member, without
// consuming any: false, nil at its end and before anything that is no gzip.
func (d *decoder) atMember() (bool, error) {
	for len(d.in)-d.inPos < 2 {
		if d.readMore() {
			continue
		}
		if d.srcErr != nil && d.srcErr != io.EOF {
			return false, d.srcErr
		}
		return false, nil
	}
	return d.in[d.inPos] == 0x1f && d.in[d.inPos+1] == 0x8b, nil
}

// drain reads the input to its end and returns how much that was.
func (d *decoder) drain() (int64, error) {
	n := int64(len(d.in) - d.inPos)
	d.inPos = len(d.in)
	for d.readMore() {
		n += int64(len(d.in) - d.inPos)
		d.inPos = len(d.in)
	}
	if d.srcErr != nil && d.srcErr != io.EOF {
		return n, d.srcErr
	}
	return n, nil
}
