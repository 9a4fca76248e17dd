package view

import (
	"maps"
	"strings"

	"github.com/peelfs/peelfs/layers/index"
)

// trace is how far one layer alone has a path.
type trace struct {
	at      place // the last entry on the way that the layer has
	e       index.Entry
	end     int  // the entry is at path[:end]
	missing bool // the layer has no name that leads on; else the entry is at the end, or no directory

	emptied int         // the first directory above the path that hides lower layers is at path[:emptied]; -1 if none does
	by      index.Flags // of that directory
}

// trace follows a clean path, without a leading slash, through one layer.
func (v *View) trace(layer uint32, path string) (trace, error) {
	x, err := v.index(layer)
	if err != nil {
		return trace{}, err
	}
	t := trace{at: place{layer: layer}, e: x.Entry(0), emptied: -1}
	for t.end < len(path) && t.e.Kind == index.Dir {
		if t.emptied < 0 && t.e.Flags&(index.Opaque|index.Replaces) != 0 {
			t.emptied, t.by = t.end, t.e.Flags
		}
		rest := strings.TrimPrefix(path[t.end:], "/")
		name, _, _ := strings.Cut(rest, "/")
		id, ok := x.Find(t.at.entry, name)
		if !ok {
			t.missing = true
			break
		}
		t.at.entry, t.e = id, x.Entry(id)
		t.end = len(path) - len(rest) + len(name)
	}
	return t, nil
}

// probe says what one layer alone means for a path, and which entry of it is
// there. It follows from the layer's tree: a layer that has something else in
// place of a directory above the path, or an opaque one, leaves nothing to the
// layers below.
func (v *View) probe(layer uint32, path string) (place, index.Entry, answer, error) {
	t, err := v.trace(layer, path)
	if err != nil {
		return place{}, index.Entry{}, passes, err
	}
	otherwise := passes // what a name that the layer does not have means
	if t.emptied >= 0 {
		otherwise = gone
	}
	switch {
	case t.missing:
		return place{}, index.Entry{}, otherwise, nil
	case path == "":
		return t.at, t.e, shows, nil
	}
	a, err := v.weigh(t.at, &t.e)
	if a == shows && t.end < len(path) {
		a = gone
	}
	if a == passes {
		a = otherwise
	}
	return t.at, t.e, a, err
}

// target is where a hard link to a lower layer leads.
type target struct {
	object place
	ok     bool
}

// linked is the object that the entry p of kind Link is a name of: what the path
// is in the stack of the layers below. There is none when that is nothing or a
// directory. Each step leads to a lower layer, so it ends.
func (v *View) linked(p place) (object place, ok bool, err error) {
	if t, ok := v.targets.get(p.key()); ok {
		return t.object, t.ok, nil
	}
	x, err := v.index(p.layer)
	if err != nil {
		return place{}, false, err
	}
	t, err := v.follow(p.layer, string(x.Target(p.entry)))
	if err != nil {
		return place{}, false, err
	}
	t = v.targets.put(p.key(), t)
	return t.object, t.ok, nil
}

// follow looks for the object at a path in the layers below one.
func (v *View) follow(below uint32, path string) (target, error) {
	for layer := below; layer > 0; {
		layer--
		p, e, a, err := v.probe(layer, path)
		switch {
		case err != nil:
			return target{}, err
		case a == gone || a == shows && e.Kind == index.Dir:
			return target{}, nil
		case a == shows:
			object, _, err := v.object(p, e)
			return target{object, true}, err
		}
	}
	return target{}, nil
}

// object is what the entry e at p is a name of, and its entry: mostly itself.
func (v *View) object(p place, e index.Entry) (place, index.Entry, error) {
	if e.Flags&index.HardLink != 0 {
		return place{p.layer, e.Link}, e, nil
	}
	if e.Kind != index.Link {
		return p, e, nil
	}
	object, ok, err := v.linked(p)
	if err != nil {
		return place{}, index.Entry{}, err
	}
	if !ok {
		return place{}, index.Entry{}, ErrStale
	}
	e, err = v.entryOf(object)
	return object, e, err
}

// nlink counts the names of an object that the view shows. Layers above that of
// the object decide, and they are at hand when a lookup has come to it.
func (v *View) nlink(object place, e *index.Entry) (uint32, error) {
	borrowed, err := v.borrowedBy(object)
	if err != nil {
		return 0, err
	}
	if borrowed == 0 && e.Flags&(index.Linked|index.HardLink) == 0 {
		return 1, nil
	}
	if n, ok := v.nlinks.get(object.key()); ok {
		return n, nil
	}
	n, err := v.countNames(object)
	if err != nil {
		return 0, err
	}
	return v.nlinks.put(object.key(), max(1, n+borrowed)), nil
}

// countNames counts the names that the object's own layer gives it and no layer
// above hides.
func (v *View) countNames(object place) (uint32, error) {
	x, err := v.index(object.layer)
	if err != nil {
		return 0, err
	}
	n := uint32(0)
	if ok, err := v.visible(object); err != nil {
		return 0, err
	} else if ok {
		n++
	}
	for _, id := range x.Links(object.entry) {
		ok, err := v.visible(place{object.layer, id})
		if err != nil {
			return 0, err
		}
		if ok {
			n++
		}
	}
	return n, nil
}

// visible says whether looking up the path of p in the view arrives at p.
func (v *View) visible(p place) (bool, error) {
	x, err := v.index(p.layer)
	if err != nil {
		return false, err
	}
	path := x.Path(p.entry)
	for layer := p.layer + 1; int(layer) < len(v.layers); layer++ {
		_, _, a, err := v.probe(layer, path)
		if a != passes || err != nil {
			return false, err
		}
	}
	return true, nil
}

// borrowed counts names that layers give to objects of lower layers, as far down
// as was asked. Each value is immutable; a step down replaces it.
//
// INVARIANT: names has every visible link of a layer above floor to an object at
// floor or above; pending has those links whose target is further down.
type borrowed struct {
	floor   int // the lowest layer that was looked at
	names   map[uint64]uint32
	pending []place
}

// borrowedBy counts the visible names of an object in layers above its own.
func (v *View) borrowedBy(object place) (uint32, error) {
	for {
		b := v.borrowed.Load()
		if b.floor <= int(object.layer) {
			return b.names[object.key()], nil
		}
		next, err := v.lower(b)
		if err != nil {
			return 0, err
		}
		v.borrowed.CompareAndSwap(b, next)
	}
}

// lower takes one more layer into account.
func (v *View) lower(b *borrowed) (*borrowed, error) {
	layer := uint32(b.floor - 1)
	x, err := v.index(layer)
	if err != nil {
		return nil, err
	}
	next := &borrowed{floor: int(layer), names: b.names} // names: shared until it changes
	copied := false
	for _, link := range b.pending {
		object, a, err := v.pursue(link, layer)
		if err != nil {
			return nil, err
		}
		if a == passes {
			next.pending = append(next.pending, link)
		}
		if a != shows {
			continue
		}
		if !copied {
			next.names, copied = maps.Clone(b.names), true
		}
		next.names[object.key()]++
	}
	for _, id := range x.Unresolved() {
		next.pending = append(next.pending, place{layer, id})
	}
	return next, nil
}

// pursue looks for the target of a link in one layer. It shows an object only if
// the view shows the link.
func (v *View) pursue(link place, layer uint32) (object place, a answer, err error) {
	x, err := v.index(link.layer)
	if err != nil {
		return place{}, passes, err
	}
	p, e, a, err := v.probe(layer, string(x.Target(link.entry)))
	if err != nil || a != shows {
		return place{}, a, err
	}
	if e.Kind == index.Dir {
		return place{}, gone, nil
	}
	if ok, err := v.visible(link); err != nil || !ok {
		return place{}, gone, err
	}
	object, _, err = v.object(p, e)
	return object, shows, err
}
