// Package tarindex reads a layer's tar into the builder of its index.
//
// archive/tar understands the dialects; what it does not tell is added here:
// where in the stream the content of a file lies. Content itself is skipped, so
// that memory does not grow with the sizes that a tar claims; headers are
// limited to 1 MiB each by archive/tar.
package tarindex

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/index"
)

// Tar adds all entries of the tar in r to b, with offsets counted from where r
// is. Contents are skipped with Seek(n, io.SeekCurrent), n > 0, if r has that;
// it may discard. What follows the end of the archive is left in r.
//
// A stream that is no tar, or ends within an entry, is Corrupt; errors of r and
// of b keep their kind. An empty stream is an empty layer.
func Tar(r io.Reader, b *index.Builder) error {
	src := newSource(r)
	tr := tar.NewReader(src)
	s := scanner{src: src, b: b}
	for {
		src.record()
		hdr, err := tr.Next()
		switch {
		case err == io.EOF && src.err == nil:
			return nil
		case src.err != nil:
			return fmt.Errorf("read layer at byte %d: %w", src.pos, src.err)
		case err != nil && !(errors.Is(err, tar.ErrInsecurePath) && hdr != nil):
			return errkind.New(errkind.Corrupt, "layer is not a valid tar at byte %d: %w", src.pos, err)
		}
		if err := s.add(hdr); err != nil {
			return err
		}
	}
}

type scanner struct {
	src    *source
	b      *index.Builder
	xattrs []index.Xattr
}

// kinds maps the types of tar entries; others are refused by the builder.
var kinds = map[byte]index.Kind{
	tar.TypeReg: index.File, tar.TypeCont: index.File, tar.TypeGNUSparse: index.File,
	tar.TypeDir: index.Dir, tar.TypeSymlink: index.Symlink, tar.TypeLink: index.Link,
	tar.TypeChar: index.Char, tar.TypeBlock: index.Block, tar.TypeFifo: index.Fifo,
}

func (s *scanner) add(hdr *tar.Header) error {
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
		Xattrs: s.xattrsOf(hdr),
	}
	if r.Kind == index.File {
		var err error
		r.Size, r.Data = hdr.Size, s.src.pos
		if r.Extents, err = extentsOf(hdr, s.src.tail, s.src.pos); err != nil {
			return errkind.New(errkind.Corrupt, "sparse file %.200q: %w", hdr.Name, err)
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
