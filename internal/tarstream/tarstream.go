// Package tarstream is what layers and archives have in common: it recognises and
// undoes the compression of a tar, and reads the tar's headers together with the
// places of the contents, those of sparse files included.
//
// archive/tar understands the dialects; what it does not tell is added here.
// Contents are skipped, so that memory does not grow with the sizes that a tar
// claims; archive/tar limits each header to 1 MiB.
package tarstream

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"

	"github.com/peelfs/peelfs/internal/errkind"
)

// Extent is a run of bytes of a sparse file. Between extents there are zeros.
type Extent struct {
	Logical int64 // offset in the file
	Data    int64 // offset in the tar
	Len     int64 // bytes
}

// Entry is a header of a tar and the place of the content behind it.
type Entry struct {
	*tar.Header
	Data    int64    // offset of the content in the tar, for what has a content
	Extents []Extent // of a sparse file, in order; nil for any other
}

// Reader reads the entries of a tar. It is not safe for concurrent use.
type Reader struct {
	src *source
	tar *tar.Reader
}

// NewReader makes a Reader of r, with offsets counted from where r is. Contents
// are skipped with Seek(n, io.SeekCurrent), n > 0, if r has that; it may discard.
func NewReader(r io.Reader) *Reader {
	src := newSource(r)
	return &Reader{src, tar.NewReader(src)}
}

// Pos is how many bytes have been read or skipped.
func (r *Reader) Pos() int64 { return r.src.pos }

// Next reads the next entry. At the end of the archive it returns io.EOF, with
// what follows the end left in the source. A stream that is no tar, or ends
// within an entry, is Corrupt; errors of the source keep their kind.
func (r *Reader) Next() (Entry, error) {
	r.src.record()
	hdr, err := r.tar.Next()
	switch {
	case err == io.EOF && r.src.err == nil:
		return Entry{}, io.EOF
	case r.src.err != nil:
		return Entry{}, fmt.Errorf("read tar at byte %d: %w", r.src.pos, r.src.err)
	case err != nil && !(errors.Is(err, tar.ErrInsecurePath) && hdr != nil):
		return Entry{}, errkind.New(errkind.Corrupt, "invalid tar at byte %d: %w", r.src.pos, err)
	}
	e := Entry{Header: hdr, Data: r.src.pos}
	if !isFile(hdr.Typeflag) {
		return e, nil
	}
	if e.Extents, err = extentsOf(hdr, r.src.tail, r.src.pos); err != nil {
		return Entry{}, errkind.New(errkind.Corrupt, "sparse file %.200q: %w", hdr.Name, err)
	}
	return e, nil
}

// isFile reports whether an entry of the type has a content.
func isFile(typeflag byte) bool {
	return typeflag == tar.TypeReg || typeflag == tar.TypeCont || typeflag == tar.TypeGNUSparse
}
