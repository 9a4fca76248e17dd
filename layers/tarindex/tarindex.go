// Package tarindex reads a layer's tar into the builder of its index.
//
// Package tarstream reads the entries; here they become records, and what an
// index cannot hold is refused.
package tarindex

import (
	"archive/tar"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/peelfs/peelfs/internal/tarstream"
	"github.com/peelfs/peelfs/layers/index"
)

// Tar adds all entries of the tar in r to b, with offsets counted from where r
// is. Contents are skipped with Seek(n, io.SeekCurrent), n > 0, if r has that;
// it may discard. Bytes behind the end of the archive are left in r.
//
// A stream that is no tar, or ends within an entry, is Corrupt; errors of r and
// of b keep their kind. An empty stream is an empty layer.
func Tar(r io.Reader, b *index.Builder) error {
	tr := tarstream.NewReader(r)
	s := scanner{b: b}
	for {
		e, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = s.add(e)
		}
		if err != nil {
			return fmt.Errorf("layer: %w", err)
		}
	}
}

type scanner struct {
	b      *index.Builder
	xattrs []index.Xattr
}

// kinds maps the types of tar entries; others are refused by the builder.
var kinds = map[byte]index.Kind{
	tar.TypeReg: index.File, tar.TypeCont: index.File, tar.TypeGNUSparse: index.File,
	tar.TypeDir: index.Dir, tar.TypeSymlink: index.Symlink, tar.TypeLink: index.Link,
	tar.TypeChar: index.Char, tar.TypeBlock: index.Block, tar.TypeFifo: index.Fifo,
}

func (s *scanner) add(hdr tarstream.Entry) error {
	if hdr.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	for _, v := range []int64{int64(hdr.Uid), int64(hdr.Gid), hdr.Devmajor, hdr.Devminor} {
		if v < math.MinInt32 || v > math.MaxUint32 {
			s.b.Refuse(hdr.Name, "owner or device number has more than 32 bits")
			return nil
		}
	}
	r := index.Record{
		Name: hdr.Name, LinkName: hdr.Linkname, Kind: kinds[hdr.Typeflag],
		Mode: uint32(hdr.Mode & 0o7777), UID: uint32(hdr.Uid), GID: uint32(hdr.Gid),
		Sec: hdr.ModTime.Unix(), Nsec: uint32(hdr.ModTime.Nanosecond()),
		Major: uint32(hdr.Devmajor), Minor: uint32(hdr.Devminor),
		Xattrs: s.xattrsOf(hdr.Header),
	}
	if r.Kind == index.File {
		r.Size, r.Data = hdr.Size, hdr.Data
		if hdr.Extents != nil {
			r.Extents = make([]index.Extent, len(hdr.Extents))
		}
		for i, e := range hdr.Extents {
			r.Extents[i] = index.Extent(e)
		}
	}
	return s.b.Add(r)
}

const xattrKey = "SCHILY.xattr."

// xattrsOf returns the extended attributes of an entry, valid until the next call.
func (s *scanner) xattrsOf(hdr *tar.Header) []index.Xattr {
	s.xattrs = s.xattrs[:0]
	for k, v := range hdr.PAXRecords {
		if name, ok := strings.CutPrefix(k, xattrKey); ok {
			s.xattrs = append(s.xattrs, index.Xattr{Name: name, Value: []byte(v)})
		}
	}
	return s.xattrs
}
