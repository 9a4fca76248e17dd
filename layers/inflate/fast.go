package inflate

import "encoding/binary"

// inMargin is what one turn of the fast loop may read, outMargin what it may
// write: literals, a match, and the excess of copying by words.
const (
	inMargin  = 32
	outMargin = 2 + 258 + 40
)

func load64(b []byte, i int) uint64     { return binary.LittleEndian.Uint64(b[i:]) }
func store64(b []byte, i int, v uint64) { binary.LittleEndian.PutUint64(b[i:], v) }

// fast is decode's loop without checks for the ends of in and out: it goes on
// while the margins are kept. The bits above nbits are not zero within, but
// those that come next; only the lowest byte of nbits counts.
func (d *decoder) fast() status {
	var (
		in, out     = d.in, d.out
		inPos, pos  = d.inPos, d.pos
		buf, nbits  = d.bits, uint64(d.nbits)
		lit, dists  = &d.lit, &d.dist
		inEnd       = len(in) - inMargin
		outEnd      = len(out) - outMargin
		edge        = d.edge
		st          = more
		e           uint32
		saved       uint64
		length, off int
	)
	buf |= load64(in, inPos) << (nbits & 63)
	inPos += 7 - int(nbits>>3&7)
	nbits |= 56
	for inPos <= inEnd && pos <= outEnd {
		e = lit[buf&(1<<litBits-1)]
		saved = buf
		buf >>= e & 63
		nbits -= uint64(e)
		if int32(e) < 0 {
			out[pos] = byte(e >> 16)
			pos++
			e = lit[buf&(1<<litBits-1)]
			saved = buf
			buf >>= e & 63
			nbits -= uint64(e)
			if int32(e) < 0 {
				out[pos] = byte(e >> 16)
				pos++
				e = lit[buf&(1<<litBits-1)]
				saved = buf
				buf >>= e & 63
				nbits -= uint64(e)
			}
		}
		if e&exceptional != 0 {
			if e&secondTable == 0 {
				st = invalid
				if e&endOfBlock != 0 {
					st = blockEnd
				}
				break
			}
			e = lit[(e>>16+uint32(buf)&(1<<(e>>8&15)-1))%litSize]
			saved = buf
			buf >>= e & 63
			nbits -= uint64(e)
			if e&exceptional != 0 {
				st = invalid
				if e&endOfBlock != 0 {
					st = blockEnd
				}
				break
			}
		}
		if int32(e) < 0 {
			out[pos] = byte(e >> 16)
			pos++
			buf |= load64(in, inPos) << (nbits & 63)
			inPos += 7 - int(nbits>>3&7)
			nbits |= 56
			continue
		}
		length = int(e>>16) + int(saved&(1<<(e&63)-1)>>(e>>8&15))

		buf |= load64(in, inPos) << (nbits & 63)
		inPos += 7 - int(nbits>>3&7)
		nbits |= 56
		e = dists[buf&(1<<distBits-1)]
		if e&exceptional != 0 {
			if e&secondTable == 0 {
				st = invalid
				break
			}
			buf >>= distBits
			nbits -= distBits
			e = dists[(e>>16+uint32(buf)&(1<<(e>>8&15)-1))%distSize]
			if e&exceptional != 0 {
				st = invalid
				break
			}
		}
		off = int(e>>16) + int(buf&(1<<(e&63)-1)>>(e>>8&15))
		buf >>= e & 63
		nbits -= uint64(e)
		buf |= load64(in, inPos) << (nbits & 63)
		inPos += 7 - int(nbits>>3&7)
		nbits |= 56
		src := pos - off
		if src < edge {
			d.matchLen, d.matchOff = length, off
			st = far
			break
		}
		copyMatch(out, pos, src, length)
		pos += length
	}
	d.inPos, d.pos = inPos, pos
	d.nbits = uint(nbits & 63)
	d.bits = buf & (1<<d.nbits - 1)
	return st
}

// copyMatch copies length bytes from out[src:] to out[pos:], src < pos, where
// they may overlap; it may write up to 40 bytes more.
func copyMatch(out []byte, pos, src, length int) {
	end := pos + length
	switch off := pos - src; {
	case off >= length && length > 32:
		copy(out[pos:end], out[src:])
	case off >= 8:
		for {
			store64(out, pos, load64(out, src))
			store64(out, pos+8, load64(out, src+8))
			if pos += 16; pos >= end {
				return
			}
			src += 16
		}
	case off == 1:
		v := uint64(out[src]) * 0x0101010101010101
		for ; pos < end; pos += 8 {
			store64(out, pos, v)
		}
	default:
		for ; pos < end; pos += off {
			store64(out, pos, load64(out, src))
			src += off
		}
	}
}
