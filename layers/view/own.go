package view

import (
	"slices"
	"strings"

	"github.com/peelfs/peelfs/layers/index"
)

// A layer's own tree shows what that layer alone has, its markers included. Its
// numbers have a bit of their own, so that no directory has one number at two
// places. Markers that the index keeps as flags of a directory are numbered by
// that directory and their kind.

const (
	markerPrefix = ".wh."
	opaqueName   = ".wh..wh..opq"
)

// ownDir is the directory entry that ino numbers.
func (v *View) ownDir(ino Ino) (*index.Index, place, index.Entry, error) {
	p, m, err := v.locate(ino)
	if err != nil {
		return nil, p, index.Entry{}, err
	}
	x, err := v.index(p.layer)
	if err != nil {
		return nil, p, index.Entry{}, err
	}
	e, err := v.entryOf(p)
	if err == nil && (e.Kind != index.Dir || m != noMarker) {
		err = ErrNotDir
	}
	return x, p, e, err
}

func (v *View) ownLookup(dir Ino, name string) (Attr, error) {
	x, p, e, err := v.ownDir(dir)
	if err != nil {
		return Attr{}, err
	}
	if name == opaqueName && e.Flags&index.Opaque != 0 {
		return markerAttr(p, opaqueMarker), nil
	}
	base, marked := strings.CutPrefix(name, markerPrefix)
	id, ok := x.Find(p.entry, base)
	if !ok {
		return Attr{}, ErrNotExist
	}
	p.entry, e = id, x.Entry(id)
	switch whiteout := e.Kind == index.Whiteout; {
	case marked && whiteout:
		return markerAttr(p, noMarker), nil
	case marked && e.Flags&index.Replaces != 0:
		return markerAttr(p, replaceMarker), nil
	case marked || whiteout || e.Kind == index.Link:
		return Attr{}, ErrNotExist
	}
	return v.ownDescribe(x, p, e)
}

// markerAttr is what a marker shows: the index keeps nothing but its name.
func markerAttr(p place, m marker) Attr {
	return Attr{Ino: ownNumber(p, m), Kind: index.File, Nlink: 1}
}

func (v *View) ownAttr(ino Ino) (Attr, error) {
	p, m, err := v.locate(ino)
	if err != nil {
		return Attr{}, err
	}
	x, err := v.index(p.layer)
	if err != nil {
		return Attr{}, err
	}
	e, err := v.entryOf(p)
	switch {
	case err != nil:
		return Attr{}, err
	case m != noMarker || e.Kind == index.Whiteout:
		return markerAttr(p, m), nil
	case e.Kind == index.Link:
		return Attr{}, ErrStale
	}
	a, err := v.ownDescribe(x, p, e)
	if err == nil && a.Ino != ino {
		return Attr{}, ErrStale
	}
	return a, err
}

// ownDescribe is what the own tree shows of the entry e at p.
func (v *View) ownDescribe(x *index.Index, p place, e index.Entry) (Attr, error) {
	if e.Kind == index.Dir {
		return attrOf(ownNumber(p, noMarker), &e), nil
	}
	object, e, err := v.object(p, e)
	if err != nil {
		return Attr{}, err
	}
	if e.Kind == index.Symlink && v.opt.Symlinks == Rewrite {
		a, done, err := v.describeSymlink(p, object, &e, true)
		if done || err != nil {
			a.Ino = ownNumber(p, noMarker)
			return a, err
		}
	}
	a := attrOf(ownNumber(object, noMarker), &e)
	a.Nlink = uint32(1 + len(x.Links(object.entry)))
	return a, nil
}

func (v *View) ownParent(dir Ino) (Ino, error) {
	_, p, e, err := v.ownDir(dir)
	return ownNumber(place{p.layer, e.Parent}, noMarker), err
}

// ownList is the listing of a directory of a layer's own tree.
func (v *View) ownList(dir Ino) (*Dir, error) {
	if d, ok := v.ownDirs.get(uint64(dir)); ok && !d.cut() {
		return d, nil
	}
	x, p, e, err := v.ownDir(dir)
	if err != nil {
		return nil, err
	}
	d := &Dir{v: v, x: x, layer: p.layer, own: true, first: e.First, count: e.Count}
	if items, plain := ownItems(x, p, &e); !plain {
		d.items, d.count = items, uint32(len(items))
	}
	return v.ownDirs.put(uint64(dir), d), nil
}

// ownItems are the entries and markers of a directory, as places whose layer is
// the marker; plain if they are just its children.
func ownItems(x *index.Index, p place, dir *index.Entry) (items []place, plain bool) {
	plain = true
	add := func(m marker, id uint32) { items = append(items, place{uint32(m), id}) }
	if dir.Flags&index.Opaque != 0 {
		plain = false
		add(opaqueMarker, p.entry)
	}
	for id := dir.First; id < dir.First+dir.Count; id++ {
		e := x.Entry(id)
		if e.Kind != index.Link {
			add(noMarker, id)
		}
		if e.Kind == index.Link || e.Kind == index.Whiteout || e.Flags&index.Replaces != 0 {
			plain = false
		}
		if e.Flags&index.Replaces != 0 {
			add(replaceMarker, id)
		}
	}
	if plain {
		return nil, true
	}
	slices.SortFunc(items, func(a, b place) int {
		return strings.Compare(ownName(x, a), ownName(x, b))
	})
	return slices.Clip(items), false
}

// ownName is the name of an item of a layer's own tree.
func ownName(x *index.Index, item place) string {
	name := string(x.Name(item.entry))
	switch {
	case marker(item.layer) == opaqueMarker:
		return opaqueName
	case marker(item.layer) == replaceMarker, x.Entry(item.entry).Kind == index.Whiteout:
		return markerPrefix + name
	}
	return name
}
