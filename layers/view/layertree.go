package view

import (
	"slices"
	"strings"

	"github.com/peelfs/peelfs/layers/index"
)

// A layer tree shows what that layer alone has, its markers included. Its
// numbers have a bit of their own, so that no directory has one number at two
// places. Markers that the index keeps as flags of a directory are numbered by
// that directory and their kind.

const (
	markerPrefix = ".wh."
	opaqueName   = ".wh..wh..opq"
)

// layerTreeDir is the directory entry that ino numbers.
func (v *View) layerTreeDir(ino Ino) (*index.Index, place, index.Entry, error) {
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

func (v *View) layerTreeLookup(dir Ino, name string) (Attr, error) {
	x, p, e, err := v.layerTreeDir(dir)
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
	return v.layerTreeDescribe(x, p, e)
}

// markerAttr is what a marker shows: the index keeps nothing but its name.
func markerAttr(p place, m marker) Attr {
	return Attr{Ino: layerTreeNumber(p, m), Kind: index.File, Nlink: 1}
}

func (v *View) layerTreeAttr(ino Ino) (Attr, error) {
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
	a, err := v.layerTreeDescribe(x, p, e)
	if err == nil && a.Ino != ino {
		return Attr{}, ErrStale
	}
	return a, err
}

// layerTreeDescribe is what the layer tree shows of the entry e at p.
func (v *View) layerTreeDescribe(x *index.Index, p place, e index.Entry) (Attr, error) {
	if e.Kind == index.Dir {
		return attrOf(layerTreeNumber(p, noMarker), &e), nil
	}
	object, e, err := v.object(p, e)
	if err != nil {
		return Attr{}, err
	}
	if e.Kind == index.Symlink && v.opt.Symlinks == Rewrite {
		a, done, err := v.describeSymlink(p, object, &e, true)
		if done || err != nil {
			a.Ino = layerTreeNumber(p, noMarker)
			return a, err
		}
	}
	a := attrOf(layerTreeNumber(object, noMarker), &e)
	a.Nlink = uint32(1 + len(x.Links(object.entry)))
	return a, nil
}

func (v *View) layerTreeParent(dir Ino) (Ino, error) {
	_, p, e, err := v.layerTreeDir(dir)
	return layerTreeNumber(place{p.layer, e.Parent}, noMarker), err
}

// layerTreeList is the listing of a directory of a layer tree.
func (v *View) layerTreeList(dir Ino) (*Dir, error) {
	if d, ok := v.layerTreeDirs.get(uint64(dir)); ok && !d.cut() {
		return d, nil
	}
	x, p, e, err := v.layerTreeDir(dir)
	if err != nil {
		return nil, err
	}
	d := &Dir{v: v, x: x, layer: p.layer, inLayerTree: true, first: e.First, count: e.Count}
	if items, plain := layerTreeItems(x, p, &e); !plain {
		d.items, d.count = items, uint32(len(items))
	}
	return v.layerTreeDirs.put(uint64(dir), d), nil
}

// layerTreeItems are the entries and markers of a directory, as places whose layer is
// the marker; plain if they are just its children.
func layerTreeItems(x *index.Index, p place, dir *index.Entry) (items []place, plain bool) {
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
		return strings.Compare(layerTreeName(x, a), layerTreeName(x, b))
	})
	return slices.Clip(items), false
}

// layerTreeName is the name of an item of a layer tree.
func layerTreeName(x *index.Index, item place) string {
	name := string(x.Name(item.entry))
	switch {
	case marker(item.layer) == opaqueMarker:
		return opaqueName
	case marker(item.layer) == replaceMarker, x.Entry(item.entry).Kind == index.Whiteout:
		return markerPrefix + name
	}
	return name
}
