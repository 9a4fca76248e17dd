package view

import (
	"bytes"

	"github.com/peelfs/peelfs/layers/index"
)

// Dir is the complete listing of a directory, in the order of the names' bytes,
// without "." and "..". It is immutable and safe for concurrent use.
//
// Where one layer alone has the directory, it is the stretch of that layer's
// index; else it is 8 bytes for each name, and the names are the indexes'.
//
// INVARIANT: all that Attr needs was settled before the Dir was made.
type Dir struct {
	v           *View
	x           *index.Index // of a listing without items, and of a layer tree
	layer       uint32
	first       uint32
	count       uint32
	inLayerTree bool    // in a layer tree: items have a marker for a layer
	items       []place // nil if the listing is count entries of x from first on
}

// Len is the number of names.
func (d *Dir) Len() int { return int(d.count) }

// item is the i-th name's entry.
func (d *Dir) item(i int) (x *index.Index, p place, m marker) {
	switch {
	case i < 0 || i >= int(d.count):
		panic("view: listing index out of range")
	case d.items == nil:
		return d.x, place{d.layer, d.first + uint32(i)}, noMarker
	case d.inLayerTree:
		return d.x, place{d.layer, d.items[i].entry}, marker(d.items[i].layer)
	}
	p = d.items[i]
	return d.v.layers[p.layer].idx.Load(), p, noMarker
}

// Name is the i-th name. The caller must not change it.
func (d *Dir) Name(i int) []byte {
	x, p, _ := d.item(i)
	if d.inLayerTree && d.items != nil {
		return []byte(layerTreeName(x, d.items[i]))
	}
	return x.Name(p.entry)
}

// Entry is the i-th name with its inode number and kind. The caller must not
// change the name.
func (d *Dir) Entry(i int) (name []byte, ino Ino, kind index.Kind) {
	a := d.Attr(i)
	return d.Name(i), a.Ino, a.Kind
}

// Attr is what Lookup returns for the i-th name. It never waits.
func (d *Dir) Attr(i int) Attr {
	x, p, m := d.item(i)
	e := x.Entry(p.entry)
	if d.inLayerTree && (m != noMarker || e.Kind == index.Whiteout) {
		return markerAttr(p, m)
	}
	a, err := d.v.describeIn(d.inLayerTree, x, p, e)
	if m, ok := err.(missing); ok { // it was at hand when the listing was made
		d.v.layers[m].idx.Load().MustBeWhole()
	}
	if err != nil {
		panic("view: listing is not settled: " + err.Error())
	}
	return a
}

// describeIn is what the view, or a layer tree, shows of the entry e at p.
func (v *View) describeIn(inLayerTree bool, x *index.Index, p place, e index.Entry) (Attr, error) {
	if inLayerTree {
		return v.layerTreeDescribe(x, p, e)
	}
	return v.describe(p, e)
}

// list is the listing of n.
func (v *View) list(n *node) (*Dir, error) {
	had := n.list.Load()
	if had != nil && !had.cut() {
		return had, nil
	}
	for i, more := 0, true; more; i++ {
		var err error
		if _, more, err = v.contributor(n, i); err != nil {
			return nil, err
		}
	}
	d, err := v.merge(n.known.Load().dirs)
	if err != nil {
		return nil, err
	}
	n.list.CompareAndSwap(had, d)
	return d, nil
}

// cut reports whether the index that the listing is a stretch of is unusable.
func (d *Dir) cut() bool { return d.x != nil && d.x.Cut() }

// merge is the listing of a directory that consists of the given entries.
func (v *View) merge(dirs []place) (*Dir, error) {
	d := &Dir{v: v}
	if len(dirs) == 1 {
		x, err := v.index(dirs[0].layer)
		if err != nil {
			return nil, err
		}
		e := x.Entry(dirs[0].entry)
		d.x, d.layer, d.first, d.count = x, dirs[0].layer, e.First, e.Count
	}
	if len(dirs) != 1 || !d.plain() {
		items, err := v.mergeItems(dirs)
		if err != nil {
			return nil, err
		}
		d.x, d.items, d.count = nil, items, uint32(len(items))
	}
	return d, v.settle(d)
}

// plain says whether every entry of the stretch shows.
func (d *Dir) plain() bool {
	for id := d.first; id < d.first+d.count; id++ {
		e := d.x.Entry(id)
		if e.Kind == index.Whiteout || e.Kind == index.Link || e.Flags&index.MarkersOnly != 0 {
			return false
		}
	}
	return true
}

// settle finds out, once, all that the attributes of d's names depend on.
func (v *View) settle(d *Dir) error {
	for i := range d.Len() {
		x, p, _ := d.item(i)
		e := x.Entry(p.entry)
		borrowed, err := v.borrowedBy(p)
		if err != nil {
			return err
		}
		if borrowed == 0 && e.Kind != index.Link && e.Flags&(index.Implied|index.Linked|index.HardLink) == 0 {
			continue
		}
		if _, err := v.describe(p, e); err != nil {
			return err
		}
	}
	return nil
}

// mergeItems are the names that show in a directory that consists of the given
// entries, top first. It is never nil.
func (v *View) mergeItems(dirs []place) ([]place, error) {
	all := make([][]place, 0, len(dirs))
	for _, dir := range dirs {
		x, err := v.index(dir.layer)
		if err != nil {
			return nil, err
		}
		e := x.Entry(dir.entry)
		children := make([]place, e.Count)
		for i := range children {
			children[i] = place{dir.layer, e.First + uint32(i)}
		}
		all = append(all, children)
	}
	return v.choose(v.mergeLists(all))
}

// mergeLists puts sorted lists together into one sorted list. Where names are
// equal, those of earlier lists come first.
func (v *View) mergeLists(lists [][]place) []place {
	switch len(lists) {
	case 0:
		return nil
	case 1:
		return lists[0]
	}
	half := len(lists) / 2
	a, b := v.mergeLists(lists[:half]), v.mergeLists(lists[half:])
	out := make([]place, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if bytes.Compare(v.nameOf(a[0]), v.nameOf(b[0])) <= 0 {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	return append(append(out, a...), b...)
}

func (v *View) nameOf(p place) []byte { return v.layers[p.layer].idx.Load().Name(p.entry) }

// choose keeps of each group of equal names, top first, the entry that the view
// shows, if any.
func (v *View) choose(sorted []place) ([]place, error) {
	items := []place{}
	for i := 0; i < len(sorted); {
		name := v.nameOf(sorted[i])
		decided := false
		for ; i < len(sorted) && bytes.Equal(v.nameOf(sorted[i]), name); i++ {
			if decided {
				continue
			}
			e, err := v.entryOf(sorted[i])
			if err != nil {
				return nil, err
			}
			a, err := v.weigh(sorted[i], &e)
			if err != nil {
				return nil, err
			}
			if a == shows {
				items = append(items, sorted[i])
			}
			decided = a != passes
		}
	}
	return append(make([]place, 0, len(items)), items...), nil
}
