package inflate

import "encoding/binary"

const (
	inMargin  = 32           // what one turn of the fast loop may read
	outMargin = 2 + 258 + 15 // and write: literals, a match, excess of copying by words

	distMaxBits = maxCodeBits + 13
)

// The third index spares the compiler the case of an empty slice at the end.
func load64(b []byte, i int) uint64     { return binary.LittleEndian.Uint64(b[i : i+8 : i+8]) }
func store64(b []byte, i int, v uint64) { binary.LittleEndian.PutUint64(b[i:i+8:i+8], v) }

// topUp loads input until buf has at least 56 bits.
func topUp(in []byte, inPos int, buf, nbits uint64) (int, uint64, uint64) {
	return inPos + 7 - int(nbits>>3&7), buf | load64(in, inPos)<<(nbits&63), nbits | 56
}

// second is the index in its second table of what follows entry e.
func second(e uint32, buf uint64) uint32 { return e>>16 + uint32(buf)&(1<<(e>>8&15)-1) }

// base is the length or distance of entry e, which starts in buf.
func base(e uint32, buf uint64) int {
	return int(e>>16) + int(buf&(1<<(e&63)-1)>>(e>>8&15))
}

// special is the status for an exceptional entry that is no second table.
func special(e uint32) status {
	if e&endOfBlock != 0 {
		return blockEnd
	}
	return invalid
}

// fast is decode's loop without checks for the ends of in and out: it goes on
// while the margins are kept.
//
// Within, the bits of buf above nbits are not zero but those that come next,
// and only the lowest byte of nbits counts, so that whole entries can be
// subtracted. A turn starts with 56 bits: enough for two literals and a length
// (11+11+20), or for three literals, and a distance (28) after topping up.
func (d *decoder) fast() status {
	in, out, lit, dist := d.in, d.out, &d.lit, &d.dist
	inEnd, outEnd, edge := len(in)-inMargin, len(out)-outMargin, d.edge
	pos, st := d.pos, more
	inPos, buf, nbits := topUp(in, d.inPos, d.bits, uint64(d.nbits))
	for inPos <= inEnd && pos <= outEnd {
		e := lit[buf&(1<<litBits-1)]
		start := buf // where e begins
		buf >>= e & 63
		nbits -= uint64(e)
		if e&literal != 0 {
			out[pos] = byte(e >> 16)
			pos++
			e = lit[buf&(1<<litBits-1)]
			start = buf
			buf >>= e & 63
			nbits -= uint64(e)
			if e&literal != 0 {
				out[pos] = byte(e >> 16)
				pos++
				e = lit[buf&(1<<litBits-1)]
				start = buf
				buf >>= e & 63
				nbits -= uint64(e)
			}
		}
		if e&exceptional != 0 {
			if e&secondTable != 0 {
				e = lit[second(e, buf)%litSize]
				start = buf
				buf >>= e & 63
				nbits -= uint64(e)
			}
			if e&exceptional != 0 {
				st = special(e)
				break
			}
		}
		if e&literal != 0 {
			out[pos] = byte(e >> 16)
			pos++
			inPos, buf, nbits = topUp(in, inPos, buf, nbits)
			continue
		}
		length := base(e, start)
		if nbits&63 < distMaxBits {
			inPos, buf, nbits = topUp(in, inPos, buf, nbits)
		}
		if e = dist[buf&(1<<distBits-1)]; e&exceptional != 0 {
			if e&secondTable != 0 {
				buf >>= distBits
				nbits -= distBits
				e = dist[second(e, buf)%distSize]
			}
			if e&exceptional != 0 {
				st = invalid
				break
			}
		}
		off := base(e, buf)
		inPos, buf, nbits = topUp(in, inPos, buf>>(e&63), nbits-uint64(e))
		src := pos - off
		if src < edge {
			d.matchLen, d.matchOff, st = length, off, far
			break
		}
		if length <= 16 && off >= 8 {
			store64(out, pos, load64(out, src))
			store64(out, pos+8, load64(out, src+8))
		} else {
			copyMatch(out, pos, src, length)
		}
		pos += length
	}
	d.pos, d.inPos = pos, inPos
	d.nbits = uint(nbits & 63)
	d.bits = buf & (1<<d.nbits - 1)
	return st
}

// copyMatch copies length bytes from out[src:] to out[pos:], src < pos, where
// they may overlap; it may write up to 15 bytes more.
func copyMatch(out []byte, pos, src, length int) {
	end := pos + length
	switch off := pos - src; {
	case off >= length && length > 32:
		copy(out[pos:end], out[src:])
	case off >= 8:
		for ; pos < end; pos, src = pos+16, src+16 {
			store64(out, pos, load64(out, src))
			store64(out, pos+8, load64(out, src+8))
		}
	case off == 1:
		v := uint64(out[src]) * 0x0101010101010101
		for ; pos < end; pos += 8 {
			store64(out, pos, v)
		}
	default:
		for ; pos < end; pos, src = pos+off, src+off {
			store64(out, pos, load64(out, src))
		}
	}
}
