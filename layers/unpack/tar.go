package unpack

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/query"
	"github.com/peelfs/peelfs/layers/view"
)

// Tar writes a tar in the PAX format: names in the order of a walk, owners as
// numbers, further names of an object as hard links, extended attributes as
// SCHILY.xattr records, files with holes as sparse members. It belongs to one goroutine.
type Tar struct {
	w      *tar.Writer
	out    io.Writer // what w writes to; sparse members go there directly
	losses Losses
}

// NewTar returns a Tar that writes to w. The caller closes it.
func NewTar(w io.Writer) *Tar {
	return &Tar{w: tar.NewWriter(w), out: w}
}

// Add writes from and all that is below it. The top of the tree is called name
// in the tar, "." for the top of the tar itself. Hard links are kept within one call.
func (t *Tar) Add(ctx context.Context, v *view.View, from query.Entry, name string) error {
	return tree(ctx, v, from, name, t)
}

// Close ends the tar. It does not close what it was written to.
func (t *Tar) Close() error { return t.w.Close() }

// Losses is what a tar cannot say.
func (t *Tar) Losses() Losses { return t.losses }

var tarTypes = map[index.Kind]byte{
	index.File: tar.TypeReg, index.Dir: tar.TypeDir, index.Symlink: tar.TypeSymlink,
	index.Char: tar.TypeChar, index.Block: tar.TypeBlock, index.Fifo: tar.TypeFifo,
}

func (t *Tar) put(ctx context.Context, o object) error {
	h := &tar.Header{
		Typeflag: tarTypes[o.Kind], Name: o.name(), Mode: int64(o.Mode), Uid: int(o.UID), Gid: int(o.GID),
		ModTime: time.Unix(o.Sec, int64(o.Nsec)), Format: tar.FormatPAX,
	}
	if h.Typeflag == 0 {
		return errkind.New(errkind.Internal, "a %s has no place in a tar", o.Kind)
	}
	if o.linkTo != nil {
		h.Typeflag, h.Linkname = tar.TypeLink, o.linkName()
		return t.write(h)
	}
	switch o.Kind {
	case index.Dir:
		h.Name += "/"
	case index.File:
		h.Size = o.Size
	case index.Symlink:
		target, err := o.v.Readlink(ctx, o.Ino)
		if err != nil {
			return err
		}
		h.Linkname = string(target)
	case index.Char, index.Block:
		h.Devmajor, h.Devminor = int64(o.Major), int64(o.Minor)
	}
	if err := t.addXattrs(ctx, h, &o); err != nil {
		return err
	}
	if o.Kind == index.File {
		return t.putFile(ctx, h, &o)
	}
	return t.write(h)
}

// putFile writes a regular file: as a sparse member if the layer says that it has
// holes.
func (t *Tar) putFile(ctx context.Context, h *tar.Header, o *object) error {
	m, err := o.sparseMap(ctx, maxMap)
	if err != nil {
		return err
	}
	if m.data < o.Size {
		return t.putSparse(ctx, h, o, m)
	}
	if err := t.write(h); err != nil {
		return err
	}
	return o.content(ctx, t.w)
}

func (t *Tar) write(h *tar.Header) error {
	if err := t.w.WriteHeader(h); err != nil {
		return fmt.Errorf("tar: %w", err)
	}
	return nil
}

func (t *Tar) addXattrs(ctx context.Context, h *tar.Header, o *object) error {
	all, err := o.xattrs(ctx)
	if err != nil || len(all) == 0 {
		return err
	}
	h.PAXRecords = make(map[string]string, len(all))
	for _, x := range all {
		if strings.ContainsAny(x.name, "=\x00") { // a PAX key ends at its first "="
			t.losses.Xattrs.add(o, errkind.New(errkind.Unsupported, "the name %q does not fit into a tar", x.name))
			continue
		}
		h.PAXRecords["SCHILY.xattr."+x.name] = string(x.value)
	}
	return nil
}
