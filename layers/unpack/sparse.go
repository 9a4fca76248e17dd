package unpack

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"iter"
	"path"
	"strconv"
	"strings"
)

// Sparse members are written in the PAX format 1.0 of the GNU tar manual ("Storing
// Sparse Files"), as archive/tar reads this but does not write it:
//
//	extended header   a block of type x
//	                  records, padded to whole blocks: those of any member, and
//	                    GNU.sparse.major=1, GNU.sparse.minor=0
//	                    GNU.sparse.name      the name of the file
//	                    GNU.sparse.realsize  its size, holes included
//	header            a block; its name is a substitute that programs use which do not
//	                  know the format, its size that of map and data
//	map               decimal numbers, one on each line: how many parts there are, then
//	                  offset and length of each; padded to whole blocks
//	data              the parts, one behind the other; padded to whole blocks
//
// GNU tar begins each part at a block, archive/tar does not. The parts here are whole
// blocks, except for one that ends where the file does, so that both find the same bytes.
const (
	tarBlock = 512
	// maxMap is the longest map that archive/tar reads, bytes.
	maxMap = 1 << 20
	// maxRecords is the longest extended header that archive/tar reads, bytes.
	maxRecords = 1 << 20
)

// part is a stretch of a file: the bytes from off up to end, exclusive.
type part struct{ off, end int64 }

// parts yields the stretches of a regular file that the view does not know as holes,
// ascending. An error is the last thing that it yields.
func (o *object) parts(ctx context.Context) iter.Seq2[part, error] {
	return func(yield func(part, error) bool) {
		for p := (part{}); ; {
			off, ok, err := o.v.NextData(ctx, o.Ino, p.end)
			if err == nil && ok {
				p.off = off
				p.end, _, err = o.v.NextHole(ctx, o.Ino, off)
			}
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(part{}, err)
				return
			}
			if !ok || !yield(p, nil) {
				return
			}
		}
	}
}

// blocks yields parts of a file of size bytes extended to whole blocks of grain bytes,
// and joined where they touch or overlap. An error is the last thing that it yields.
func blocks(parts iter.Seq2[part, error], grain, size int64) iter.Seq2[part, error] {
	return func(yield func(part, error) bool) {
		var last part
		for p, err := range parts {
			if err != nil {
				yield(part{}, err)
				return
			}
			p.off -= p.off % grain
			p.end = min(size, (p.end+grain-1)/grain*grain)
			if p.off <= last.end && last.end > 0 {
				last.end = p.end
				continue
			}
			if last.end > 0 && !yield(last, nil) {
				return
			}
			last = p
		}
		if last.end > 0 {
			yield(last, nil)
		}
	}
}

// sparseMap is the map of a sparse member.
type sparseMap struct {
	text  []byte // with its padding
	grain int64  // bytes in a block; the parts are whole blocks
	data  int64  // bytes in all parts
}

// sparseMap returns the map of a regular file, of at most limit bytes. If there are too
// many parts for that, the blocks grow and the smallest holes become zeros.
func (o *object) sparseMap(ctx context.Context, limit int) (sparseMap, error) {
	for grain := int64(tarBlock); ; grain *= 2 {
		m, err := newSparseMap(blocks(o.parts(ctx), grain, o.Size), o.Size, limit)
		if err != nil || len(m.text) <= limit {
			m.grain = grain
			return m, err
		}
	}
}

// newSparseMap returns the map of a file of size bytes, or the beginning of one that is
// longer than limit. A file that ends with a hole has an empty part at its end, from
// which GNU tar knows where that is.
func newSparseMap(parts iter.Seq2[part, error], size int64, limit int) (m sparseMap, err error) {
	var lines bytes.Buffer
	n, end := 0, int64(0)
	for p, err := range parts {
		if err != nil {
			return m, err
		}
		if fmt.Fprintf(&lines, "%d\n%d\n", p.off, p.end-p.off); lines.Len() > limit {
			return sparseMap{text: lines.Bytes()}, nil
		}
		n, end, m.data = n+1, p.end, m.data+p.end-p.off
	}
	if end < size || n == 0 {
		fmt.Fprintf(&lines, "%d\n0\n", size)
		n++
	}
	m.text = padded(append(fmt.Appendf(nil, "%d\n", n), lines.Bytes()...))
	return m, nil
}

// putSparse writes a file with the attributes of h and the parts of m.
func (t *Tar) putSparse(ctx context.Context, h *tar.Header, o *object, m sparseMap) error {
	head, err := sparseHeader(h, int64(len(m.text))+m.data)
	if err != nil {
		return fmt.Errorf("tar: %w", err)
	}
	if err := t.w.Flush(); err != nil { // the padding of the member before
		return err
	}
	if _, err := t.out.Write(append(head, m.text...)); err != nil {
		return err
	}
	for p, err := range blocks(o.parts(ctx), m.grain, o.Size) {
		if err != nil {
			return err
		}
		if err := o.copyPart(ctx, t.out, p); err != nil {
			return err
		}
	}
	_, err = t.out.Write(make([]byte, -m.data&(tarBlock-1)))
	return err
}

// sparseHeader returns the extended header and the header of the sparse member for h,
// which has stored bytes of map and data. Owner, times and attributes are encoded by
// archive/tar: the header is its header, and the records are added to its records.
func sparseHeader(h *tar.Header, stored int64) ([]byte, error) {
	dir, base := path.Split(h.Name)
	records := record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0") +
		record("GNU.sparse.name", h.Name) + record("GNU.sparse.realsize", strconv.FormatInt(h.Size, 10))
	plain := *h
	plain.Name, plain.Size = dir+"GNUSparseFile.0/"+base, stored
	var buf bytes.Buffer
	if err := tar.NewWriter(&buf).WriteHeader(&plain); err != nil {
		return nil, err
	}
	member := buf.Bytes()[buf.Len()-tarBlock:]
	if before := buf.Bytes()[:buf.Len()-tarBlock]; len(before) > 0 {
		n, err := strconv.ParseInt(strings.Trim(string(field(before, sizeField)), " \x00"), 8, 64)
		if err != nil {
			return nil, err
		}
		records += string(before[tarBlock : tarBlock+n])
	}
	if len(records) > maxRecords {
		return nil, tar.ErrFieldTooLong
	}
	return append(extendedHeader(member, len(records)), append(padded([]byte(records)), member...)...), nil
}

// record returns a PAX record: "LENGTH KEY=VALUE\n", whose length counts itself.
func record(key, value string) string {
	rest := len(key) + len(value) + len(" =\n")
	n := rest + len(strconv.Itoa(rest))
	n = rest + len(strconv.Itoa(n)) // the length's own digits may have added one
	return fmt.Sprintf("%d %s=%s\n", n, key, value)
}

// span is where a field of a header block is.
type span struct{ off, end int }

// The fields of a header block that an extended header has of its own.
var (
	nameField     = span{0, 100}
	sizeField     = span{124, 136}
	checksumField = span{148, 156}
	typeField     = span{156, 157}
	prefixField   = span{345, 500} // of the name
)

func field(block []byte, s span) []byte { return block[s.off:s.end] }

// extendedHeader returns the block of type x for records of n bytes of a member.
func extendedHeader(member []byte, n int) []byte {
	block := bytes.Clone(member)
	clear(field(block, prefixField))
	set := func(s span, text string) {
		clear(field(block, s))
		copy(field(block, s), text)
	}
	set(nameField, "PaxHeaders.0")
	set(sizeField, fmt.Sprintf("%011o", n))
	set(typeField, string(rune(tar.TypeXHeader)))
	set(checksumField, "        ")
	sum := 0
	for _, b := range block {
		sum += int(b)
	}
	set(checksumField, fmt.Sprintf("%06o\x00 ", sum))
	return block
}

// padded appends zeros up to a whole block.
func padded(b []byte) []byte { return append(b, make([]byte, -len(b)&(tarBlock-1))...) }
