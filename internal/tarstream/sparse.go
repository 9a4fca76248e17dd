package tarstream

import (
	"archive/tar"
	"errors"
	"math"
	"strconv"
	"strings"
)

// archive/tar reads sparse files but keeps their maps to itself. Four formats
// are in use (GNU tar manual, "Storing Sparse Files"); where the maps are:
//
//	old GNU   in the header block, and in extension blocks behind it
//	PAX 0.0   in the PAX records, which archive/tar turns into those of 0.1
//	PAX 0.1   in the PAX record GNU.sparse.map
//	PAX 1.0   in the first blocks of the content
//
// archive/tar has accepted the map when it is looked at here. What a map says
// lies in the stream without gaps from where archive/tar has stopped reading.

const (
	blockSize  = 512
	typeAt     = 156 // in a header block
	sparseAt   = 386 // old GNU: map in the header block, 4 items
	extendedAt = 482 // old GNU: whether an extension block follows
	moreAt     = 504 // the same in an extension block of 21 items
	itemSize   = 24  // offset and length of 12 bytes each
)

var errNoMap = errors.New("its map is not where it should be")

// extentsOf returns the extents of a sparse file, nil for any other file. tail
// is what was read before the content at offset data.
func extentsOf(hdr *tar.Header, tail []byte, data int64) ([]Extent, error) {
	var numbers []int64
	var ok bool
	rec := hdr.PAXRecords
	version := rec["GNU.sparse.major"] + "." + rec["GNU.sparse.minor"]
	switch {
	case hdr.Typeflag == tar.TypeGNUSparse:
		numbers, ok = oldMap(tail)
	case version == "1.0":
		numbers, ok = contentMap(tail)
	case version == "0.0" || version == "0.1" || version == "." && rec["GNU.sparse.map"] != "":
		numbers, ok = parseNumbers(rec["GNU.sparse.map"], ",")
	default:
		return nil, nil
	}
	if !ok || len(numbers)%2 != 0 {
		return nil, errNoMap
	}
	return extents(numbers, data)
}

// extents makes pairs of offset and length extents of data. It never is nil.
func extents(numbers []int64, data int64) ([]Extent, error) {
	list := make([]Extent, 0, len(numbers)/2)
	for ; len(numbers) > 0; numbers = numbers[2:] {
		e := Extent{Logical: numbers[0], Data: data, Len: numbers[1]}
		if e.Len < 0 || e.Len > math.MaxInt64-data {
			return nil, errNoMap
		}
		data += e.Len
		list = append(list, e)
	}
	return list, nil
}

func parseNumbers(s, sep string) ([]int64, bool) {
	if s == "" {
		return nil, true
	}
	var list []int64
	for field := range strings.SplitSeq(s, sep) {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return nil, false
		}
		list = append(list, n)
	}
	return list, true
}

// contentMap finds the map of format 1.0 at the end of tail: the first header
// block, from the end, behind which there is a map and nothing more.
func contentMap(tail []byte) ([]int64, bool) {
	for at := len(tail) - 2*blockSize; at >= 0; at -= blockSize {
		if !isHeader(tail[at : at+blockSize]) {
			continue
		}
		if list, ok := parseContentMap(tail[at+blockSize:]); ok {
			return list, true
		}
	}
	return nil, false
}

// parseContentMap parses a count of pairs and the pairs, a number a line,
// padded to whole blocks.
func parseContentMap(p []byte) ([]int64, bool) {
	line, rest, _ := strings.Cut(string(p), "\n")
	n, err := strconv.ParseInt(line, 10, 64)
	if err != nil || n < 0 || n > int64(len(p)) {
		return nil, false
	}
	list := make([]int64, 0, min(2*n, int64(len(p)/2)))
	for range 2 * n {
		var found bool
		if line, rest, found = strings.Cut(rest, "\n"); !found {
			return nil, false
		}
		v, err := strconv.ParseInt(line, 10, 64)
		if err != nil {
			return nil, false
		}
		list = append(list, v)
	}
	return list, len(rest) < blockSize
}

// oldMap finds the old GNU header at the end of tail, with as many extension
// blocks behind it as there are.
func oldMap(tail []byte) ([]int64, bool) {
	for at := len(tail) - blockSize; at >= 0; at -= blockSize {
		b := tail[at : at+blockSize]
		if isHeader(b) && b[typeAt] == tar.TypeGNUSparse {
			if list, ok := parseOldMap(tail[at:]); ok {
				return list, true
			}
		}
	}
	return nil, false
}

func parseOldMap(p []byte) ([]int64, bool) {
	list, ok := items(nil, p[sparseAt:extendedAt])
	more := p[extendedAt] > 0
	for p = p[blockSize:]; ok && more && len(p) >= blockSize; p = p[blockSize:] {
		list, ok = items(list, p[:moreAt])
		more = p[moreAt] > 0
	}
	return list, ok && !more && len(p) == 0
}

// items appends the offsets and lengths of an old GNU map, which a zero byte ends.
func items(list []int64, p []byte) ([]int64, bool) {
	for ; len(p) >= itemSize && p[0] != 0; p = p[itemSize:] {
		off, ok1 := parseNumeric(p[:12])
		length, ok2 := parseNumeric(p[12:itemSize])
		if !ok1 || !ok2 {
			return nil, false
		}
		list = append(list, off, length)
	}
	return list, true
}

// parseNumeric reads a field of a header: octal text, or binary if the top bit
// is set. Negative numbers are not ok.
func parseNumeric(p []byte) (int64, bool) {
	if p[0]&0x80 == 0 {
		n, err := strconv.ParseUint(strings.Trim(string(p), " \x00"), 8, 63)
		return int64(n), err == nil || strings.Trim(string(p), " \x00") == ""
	}
	n := int64(p[0] & 0x7f)
	for _, c := range p[1:] {
		if n > math.MaxInt64>>8 {
			return 0, false
		}
		n = n<<8 | int64(c)
	}
	return n, p[0]&0x40 == 0
}

// isHeader reports whether a block has the checksum of a tar header, which some
// writers made of signed bytes.
func isHeader(b []byte) bool {
	const from, to = 148, 156
	want, ok := parseNumeric(b[from:to])
	sum, signed := int64((to-from)*' '), int64((to-from)*' ')
	for i, c := range b {
		if i < from || i >= to {
			sum += int64(c)
			signed += int64(int8(c))
		}
	}
	return ok && (sum == want || signed == want)
}
