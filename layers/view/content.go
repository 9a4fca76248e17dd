package view

import (
	"context"
	"iter"
	"slices"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/index"
)

// open is what stands behind an inode number: the place that it names, the entry
// that has content and attributes, and what that says. A marker is an empty file
// that no entry stands behind.
func (v *View) open(ino Ino) (p, object place, e index.Entry, err error) {
	p, m, err := v.locate(ino)
	if err != nil {
		return p, p, e, err
	}
	if ino == RootIno {
		return p, p, index.Entry{Kind: index.Dir}, nil
	}
	if e, err = v.entryOf(p); err != nil {
		return p, p, e, err
	}
	if m != noMarker || e.Kind == index.Whiteout && ino.inLayerTree() {
		return p, nowhere, index.Entry{Kind: index.File}, nil
	}
	if e.Kind == index.Whiteout || e.Kind == index.Link && ino.inLayerTree() {
		return p, p, e, ErrStale
	}
	object, e, err = v.object(p, e)
	return p, object, e, err
}

// ReadAt reads content of a regular file. It returns exactly the smaller of
// len(p) and what the file has behind off, or an error; at the end of the file
// and beyond that is 0 and no error.
func (v *View) ReadAt(ctx context.Context, ino Ino, p []byte, off int64) (int, error) {
	object, size, err := v.file(ctx, ino)
	if err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, errkind.New(errkind.Invalid, "read at offset %d", off)
	}
	if off >= size || len(p) == 0 {
		return 0, nil
	}
	p = p[:min(int64(len(p)), size-off)]
	n, err := v.layers[object.layer].layer.ReadAt(ctx, object.entry, p, off)
	if err == nil && n != len(p) {
		err = errkind.New(errkind.Internal, "layer %d: read %d of %d bytes", object.layer, n, len(p))
	}
	if err != nil {
		return 0, err
	}
	return n, nil
}

// file is the entry that has a regular file's content, and its size.
func (v *View) file(ctx context.Context, ino Ino) (place, int64, error) {
	for {
		_, object, e, err := v.open(ino)
		if v.fetched(ctx, &err) {
			continue
		}
		if err == nil && e.Kind != index.File {
			err = errkind.New(errkind.Invalid, "not a regular file")
		}
		return object, e.Size, err
	}
}

// NextData returns the first byte of a regular file, from off on, that is not in a
// hole, and NextHole the first that is; the end of the file counts as a hole. ok is
// false if there is no such byte: off is at the end or beyond, or only a hole
// follows. They know of the holes that the layer's tar has.
func (v *View) NextData(ctx context.Context, ino Ino, off int64) (at int64, ok bool, err error) {
	extents, size, err := v.extentsFrom(ctx, ino, off)
	if err != nil || off < 0 || off >= size {
		return 0, false, err
	}
	for x := range extents {
		return max(off, x.Logical), true, nil
	}
	return 0, false, nil
}

// NextHole is described at NextData.
func (v *View) NextHole(ctx context.Context, ino Ino, off int64) (at int64, ok bool, err error) {
	extents, size, err := v.extentsFrom(ctx, ino, off)
	if err != nil || off < 0 || off >= size {
		return 0, false, err
	}
	for x := range extents {
		if off < x.Logical {
			break
		}
		off = x.Logical + x.Len
	}
	return min(off, size), true, nil
}

// extentsFrom returns the stretches of a regular file that are no holes and end behind
// off, ascending, and the file's size. A file without holes has one such stretch.
func (v *View) extentsFrom(ctx context.Context, ino Ino, off int64) (iter.Seq[index.Extent], int64, error) {
	object, size, err := v.file(ctx, ino)
	if err != nil || object == nowhere {
		return slices.Values[[]index.Extent](nil), size, err
	}
	for {
		x, err := v.index(object.layer)
		if v.fetched(ctx, &err) {
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		if x.Entry(object.entry).Flags&index.Sparse == 0 {
			return slices.Values([]index.Extent{{Len: size}}), size, nil
		}
		return x.ExtentsFrom(object.entry, off), size, nil
	}
}

// XattrNames returns the names of an inode's extended attributes, ascending.
func (v *View) XattrNames(ctx context.Context, ino Ino) ([]string, error) {
	x, id, err := v.xattrs(ctx, ino)
	if x == nil || err != nil {
		return nil, err
	}
	var names []string
	for name := range x.Xattrs(id) {
		names = append(names, string(name))
	}
	return names, nil
}

// Xattr returns one extended attribute, and whether there is one of that name.
// The caller must not change the value.
func (v *View) Xattr(ctx context.Context, ino Ino, name string) (value []byte, ok bool, err error) {
	x, id, err := v.xattrs(ctx, ino)
	if x == nil || err != nil {
		return nil, false, err
	}
	value, ok = x.Xattr(id, name)
	return value, ok, nil
}

// xattrs is the entry that has an inode's extended attributes; a nil index when
// it has none.
func (v *View) xattrs(ctx context.Context, ino Ino) (*index.Index, uint32, error) {
	for {
		x, id, err := v.localXattrs(ino)
		if !v.fetched(ctx, &err) {
			return x, id, err
		}
	}
}

func (v *View) localXattrs(ino Ino) (*index.Index, uint32, error) {
	p, object, e, err := v.open(ino)
	if err != nil {
		return nil, 0, err
	}
	if e.Kind == index.Dir && !ino.inLayerTree() && (e.Flags&index.Implied != 0 || ino == RootIno) {
		if object, err = v.describing(p); err != nil {
			return nil, 0, err
		}
	}
	if object == nowhere {
		return nil, 0, nil
	}
	x, err := v.index(object.layer)
	return x, object.entry, err
}

// describing is the entry that gives the attributes of the directory whose
// topmost entry is p.
func (v *View) describing(p place) (place, error) {
	n, err := v.directory(p)
	if err != nil {
		return place{}, err
	}
	return v.described(n)
}
