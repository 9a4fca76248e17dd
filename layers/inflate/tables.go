package inflate

import "math/bits"

// Decode tables. A table is indexed with the next tableBits bits of the
// stream; codes that are longer lead to a second table behind the first one.
// What a symbol means is in its entry already:
//
//	bits 0-7    bits to drop: code, or its rest in a second table, and extra bits
//	bits 8-11   bits of the code alone; second table: its width
//	bit 13      end of block        with bit 15
//	bit 14      second table        with bit 15
//	bit 15      exceptional: neither literal, length nor distance; alone: invalid
//	bits 16-30  literal, base of a length or distance, start of the second table
//	bit 31      literal
//
// An entry fits in 32 bits because a distance base is at most 24577.
const (
	endOfBlock  = 1 << 13
	secondTable = 1 << 14
	exceptional = 1 << 15
	literal     = 1 << 31

	maxCodeBits = 15
	litBits     = 11 // 2342 entries with second tables for any 288 codes
	distBits    = 8  // 402 for any 32
	codeBits    = 7  // no second tables

	litSize  = 4096 // powers of two, so that a mask is a bounds check
	distSize = 512

	numLits  = 288
	numDists = 32
	numCodes = 19
)

// meanings has the entries of all symbols without the lengths of their codes.
// It is immutable.
var meanings = makeMeanings()

type meaningTables struct {
	lits  [numLits]uint32
	dists [numDists]uint32
	codes [numCodes]uint32
}

func makeMeanings() *meaningTables {
	m := new(meaningTables)
	for i := range m.lits {
		m.lits[i] = exceptional
	}
	for i := range 256 {
		m.lits[i] = literal | uint32(i)<<16
	}
	m.lits[256] = exceptional | endOfBlock
	base := uint32(3)
	for i := range 28 {
		extra := uint32(max(0, i/4-1))
		m.lits[257+i] = base<<16 | extra
		base += 1 << extra
	}
	m.lits[285] = 258 << 16

	base = 1
	for i := range 30 {
		extra := uint32(max(0, i/2-1))
		m.dists[i] = base<<16 | extra
		base += 1 << extra
	}
	m.dists[30], m.dists[31] = exceptional, exceptional
	for i := range m.codes {
		m.codes[i] = uint32(i) << 16
	}
	return m
}

// codeSet is a canonical Huffman code, its symbols sorted by length, then value.
type codeSet struct {
	count  [maxCodeBits + 1]uint16
	sorted [numLits]uint16
	n      int // symbols that have a code
}

func (c *codeSet) init(lens []uint8) {
	c.count = [maxCodeBits + 1]uint16{}
	for _, l := range lens {
		c.count[l&15]++
	}
	c.n = len(lens) - int(c.count[0])
	c.count[0] = 0
	var next [maxCodeBits + 1]uint16
	for l := 1; l < maxCodeBits; l++ {
		next[l+1] = next[l] + c.count[l]
	}
	for sym, l := range lens {
		if l &= 15; l != 0 {
			c.sorted[next[l]] = uint16(sym)
			next[l]++
		}
	}
}

// space is the share of all maxCodeBits-bit words that the codes take.
func (c *codeSet) space() int {
	s := 0
	for l := 1; l <= maxCodeBits; l++ {
		s += int(c.count[l]) << (maxCodeBits - l)
	}
	return s
}

// build fills table for the code lengths lens and says whether they are a
// Huffman code: complete, or a single code of one bit, or none at all, which
// is an error only if used. As in zlib and in Go's compress/flate.
func (c *codeSet) build(table []uint32, width uint, lens []uint8, meaning []uint32) bool {
	c.init(lens)
	switch space := c.space(); {
	case space > 1<<maxCodeBits:
		return false
	case space < 1<<maxCodeBits:
		return c.buildPartial(table[:1<<width], meaning)
	}
	c.fill(table, width, meaning)
	return true
}

// buildPartial handles the two incomplete codes that are allowed.
func (c *codeSet) buildPartial(table []uint32, meaning []uint32) bool {
	if c.n > 1 || c.n == 1 && c.count[1] != 1 {
		return false
	}
	for i := range table {
		table[i] = exceptional
		if c.n == 1 && i&1 == 0 {
			table[i] = withLen(meaning[c.sorted[0]], 1)
		}
	}
	return true
}

func withLen(meaning uint32, l uint) uint32 { return meaning + uint32(l)*0x101 }

// nextCode is the successor of a canonical code of l bits as the stream has
// it, first bit lowest; 0 after the last one.
func nextCode(code, l uint) uint {
	ones := uint(1)<<l - 1
	if code == ones {
		return 0
	}
	bit := uint(1) << (bits.Len(code^ones) - 1)
	return code&(bit-1) | bit
}

// fill writes the table of a complete code: those of up to width bits once at
// their own length and then by doubling, longer ones in second tables.
func (c *codeSet) fill(table []uint32, width uint, meaning []uint32) {
	code, i := uint(0), 0
	for l := uint(1); l <= width; l++ {
		end := uint(1) << l
		copy(table[end/2:end], table[:end/2])
		for range c.count[l] {
			table[code] = withLen(meaning[c.sorted[i]], l)
			code = nextCode(code, l)
			i++
		}
	}
	if i < c.n {
		c.fillSecond(table, width, meaning, code, i)
	}
}

// fillSecond goes on with code, of more than width bits, for sorted[i:].
func (c *codeSet) fillSecond(table []uint32, width uint, meaning []uint32, code uint, i int) {
	var (
		prefix = ^uint(0)
		start  = uint(0)
		end    = uint(1) << width
	)
	for l := width + 1; l <= maxCodeBits; l++ {
		for left := int(c.count[l]); left > 0; left-- {
			if p := code & (1<<width - 1); p != prefix {
				w := c.secondWidth(l, width, left)
				prefix, start, end = p, end, end+1<<w
				table[p] = uint32(start)<<16 | exceptional | secondTable | uint32(w)<<8 | uint32(width)
			}
			e := withLen(meaning[c.sorted[i]], l-width)
			for j := start + code>>width; j < end; j += 1 << (l - width) {
				table[j] = e
			}
			code = nextCode(code, l)
			i++
		}
	}
}

// secondWidth is the width that a second table needs whose first code has l
// bits, when left codes of that length remain.
func (c *codeSet) secondWidth(l, width uint, left int) uint {
	w := l - width
	for space := left; space < 1<<w; {
		w++
		space = space<<1 + int(c.count[width+w])
	}
	return w
}
