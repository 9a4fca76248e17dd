package inflate

import (
	"io"

	"github.com/peelfs/peelfs/internal/errkind"
)

// run decodes until a block ends, out is full, or there is an error.
func (d *decoder) run() (status, error) {
	for {
		var st status
		switch d.stage {
		case header:
			st = d.blockHeader()
		case stored:
			st = d.copyStored()
		case coded:
			st = d.decode()
		default:
			return invalid, errkind.New(errkind.Internal, "inflate: run after the final block")
		}
		switch st {
		case blockEnd, outFull:
			return st, nil
		case invalid:
			return st, corrupt("invalid deflate data")
		case short:
			return st, d.inputEnd()
		}
	}
}

// inputEnd is the error for input that ended too early.
func (d *decoder) inputEnd() error {
	if d.srcErr != nil && d.srcErr != io.EOF {
		return d.srcErr
	}
	return truncated()
}

func (d *decoder) endBlock() status {
	d.stage = header
	if d.final {
		d.stage = ended
	}
	return blockEnd
}

func (d *decoder) blockHeader() status {
	if !d.need(3) {
		return short
	}
	d.final = d.take(1) == 1
	switch d.take(2) {
	case 0:
		return d.storedHeader()
	case 1:
		d.stage = coded
		return d.fixedTables()
	case 2:
		d.stage = coded
		return d.dynamicTables()
	}
	return invalid
}

func (d *decoder) storedHeader() status {
	d.align()
	if !d.need(32) {
		return short
	}
	n, inverse := d.take(16), d.take(16)
	if n != ^inverse&0xffff {
		return invalid
	}
	d.align()
	d.stage, d.stored = stored, int(n)
	return more
}

func (d *decoder) copyStored() status {
	for d.stored > 0 {
		if d.pos >= d.limit {
			return outFull
		}
		if d.inPos == len(d.in) && !d.readMore() {
			return short
		}
		end := min(len(d.in), d.inPos+d.stored)
		n := copy(d.out[d.pos:d.limit], d.in[d.inPos:end])
		d.pos += n
		d.inPos += n
		d.stored -= n
	}
	return d.endBlock()
}

func (d *decoder) fixedTables() status {
	if d.fixed {
		return more
	}
	lens := d.lens[:numLits]
	for i := range lens {
		switch {
		case i < 144:
			lens[i] = 8
		case i < 256:
			lens[i] = 9
		case i < 280:
			lens[i] = 7
		default:
			lens[i] = 8
		}
	}
	d.codes.build(d.lit[:], litBits, lens, meanings.lits[:])
	lens = d.lens[:numDists]
	for i := range lens {
		lens[i] = 5
	}
	d.codes.build(d.dist[:], distBits, lens, meanings.dists[:])
	d.fixed = true
	return more
}

func (d *decoder) dynamicTables() status {
	if !d.need(14) {
		return short
	}
	d.fixed = false
	nlit, ndist, ncode := int(d.take(5))+257, int(d.take(5))+1, int(d.take(4))+4
	if nlit > 286 || ndist > 30 {
		return invalid
	}
	if st := d.codeLengthTable(ncode); st != more {
		return st
	}
	if st := d.codeLengths(nlit + ndist); st != more {
		return st
	}
	if !d.codes.build(d.lit[:], litBits, d.lens[:nlit], meanings.lits[:]) ||
		!d.codes.build(d.dist[:], distBits, d.lens[nlit:nlit+ndist], meanings.dists[:]) {
		return invalid
	}
	return more
}

// codeLengthTable reads the code of the code lengths, into the table for
// distances, which is free until these have been read.
func (d *decoder) codeLengthTable(n int) status {
	order := [numCodes]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
	var lens [numCodes]uint8
	for _, sym := range order[:n] {
		if !d.need(3) {
			return short
		}
		lens[sym] = uint8(d.take(3))
	}
	if !d.codes.build(d.dist[:], codeBits, lens[:], meanings.codes[:]) {
		return invalid
	}
	return more
}

// codeLengths reads n code lengths, run lengths expanded, into lens.
func (d *decoder) codeLengths(n int) status {
	for i := 0; i < n; {
		d.need(codeBits + 7) // may be less at the end
		e := d.dist[d.bits&(1<<codeBits-1)]
		l := uint(e & 0xff)
		if e&exceptional != 0 {
			return invalid
		}
		sym := e >> 16
		var extra, base uint
		switch sym {
		case 16:
			extra, base = 2, 3
		case 17:
			extra, base = 3, 3
		case 18:
			extra, base = 7, 11
		}
		if d.nbits < l+extra {
			return short
		}
		d.take(l)
		if sym < 16 {
			d.lens[i] = uint8(sym)
			i++
			continue
		}
		times := int(base + d.take(extra))
		var v uint8
		if sym == 16 {
			if i == 0 {
				return invalid
			}
			v = d.lens[i-1]
		}
		if i+times > n {
			return invalid
		}
		for range times {
			d.lens[i] = v
			i++
		}
	}
	return more
}

// decode decodes coded symbols: in the fast loop while there is plenty of
// input and room, one by one near the ends.
func (d *decoder) decode() status {
	for {
		if d.pos >= d.limit {
			return outFull
		}
		st := more
		if d.inPos <= len(d.in)-inMargin && d.pos <= len(d.out)-outMargin {
			st = d.fast()
		} else {
			st = d.symbol()
		}
		if st == far {
			st = d.farMatch()
		}
		switch st {
		case more:
		case blockEnd:
			return d.endBlock()
		default:
			return st
		}
	}
}

// symbol decodes one literal or match with as many bits as there are. A match
// is left to farMatch.
func (d *decoder) symbol() status {
	d.refill()
	e := d.lit[d.bits&(1<<litBits-1)]
	if e&(exceptional|secondTable) == exceptional|secondTable {
		if d.nbits < litBits {
			return short
		}
		d.take(litBits)
		e = d.lit[(e>>16+uint32(d.bits)&(1<<(e>>8&15)-1))%litSize]
	}
	switch {
	case e&(exceptional|endOfBlock) == exceptional:
		return invalid
	case d.nbits < uint(e&0xff):
		return short
	case e&literal != 0:
		d.take(uint(e & 0xff))
		d.out[d.pos] = byte(e >> 16)
		d.pos++
		return more
	case e&exceptional != 0:
		d.take(uint(e & 0xff))
		return blockEnd
	}
	d.matchLen = d.value(e)
	return d.distance()
}

// value takes the code and extra bits of entry e, which are there.
func (d *decoder) value(e uint32) int {
	code := uint(e >> 8 & 15)
	d.take(code)
	return int(e>>16) + int(d.take(uint(e&0xff)-code))
}

func (d *decoder) distance() status {
	e := d.dist[d.bits&(1<<distBits-1)]
	if e&(exceptional|secondTable) == exceptional|secondTable {
		if d.nbits < distBits {
			return short
		}
		d.take(distBits)
		e = d.dist[(e>>16+uint32(d.bits)&(1<<(e>>8&15)-1))%distSize]
	}
	if e&exceptional != 0 {
		return invalid
	}
	if d.nbits < uint(e&0xff) {
		return short
	}
	d.matchOff = d.value(e)
	return far
}

// farMatch copies the pending match: from the window and from out, marking
// what it uses in front of a span, and only as far as there is room.
func (d *decoder) farMatch() status {
	src := d.pos - d.matchOff
	if src < d.low-len(d.window) {
		return invalid
	}
	if src < d.edge && d.marks != nil {
		d.marks.add(src, src+d.matchLen)
	}
	n := min(d.matchLen, len(d.out)-d.pos)
	for ; n > 0 && src < d.low; n-- {
		d.out[d.pos] = d.window[len(d.window)+src-d.low]
		d.pos++
		src++
	}
	for ; n > 0; n-- {
		d.out[d.pos] = d.out[src]
		d.pos++
		src++
	}
	return more
}
