package view

import (
	"slices"
	"sync/atomic"

	"github.com/peelfs/peelfs/layers/index"
)

// node is a directory of the view that something was looked for in. All its
// fields but the atomic ones are set once; it can be forgotten and made again.
type node struct {
	parent *node  // nil for the root
	name   string // in parent
	at     place  // the topmost entry in which it appears
	known  atomic.Pointer[progress]
	list   atomic.Pointer[Dir]
}

// progress is how far down the stack a directory is known. Each value is
// immutable; a further step replaces it. A directory is followed through the
// entries that its parent is made of (the root: through the layers):
//
//	open, undescribed -> open, described      an explicit entry
//	open              -> closed               an opaque entry
//	any               -> closed, described    something that hides it, or the end
//
// INVARIANT: steps depend on the layers alone, so any two goroutines that step
// from the same progress come to the same next one.
type progress struct {
	dirs      []place // the entries whose children show, top first
	asked     int     // how many entries of the parent were asked
	closed    bool    // dirs is complete
	described bool    // attr is known
	attr      place   // the topmost explicit entry, or nowhere
}

func newNode(parent *node, name string, at place) *node {
	n := &node{parent: parent, name: name, at: at}
	n.known.Store(&progress{})
	return n
}

// answer is what an entry means for its name.
type answer uint8

const (
	passes answer = iota // it leaves the name to lower layers
	shows                // it is what the view shows
	gone                 // the name does not exist
)

// weigh says what the entry e at p means for its name. A hard link to nothing is
// as if it were not there, or a whiteout if the layer has one of that name too.
func (v *View) weigh(p place, e *index.Entry) (answer, error) {
	switch e.Kind {
	case index.Whiteout:
		return gone, nil
	case index.Link:
		_, ok, err := v.linked(p)
		switch {
		case err != nil:
			return passes, err
		case !ok && e.Flags&index.Replaces != 0:
			return gone, nil
		case !ok:
			return passes, nil
		}
	case index.Dir:
		if e.Flags&index.MarkersOnly == 0 {
			return shows, nil
		}
		if e.Flags&index.Replaces == 0 {
			return passes, nil
		}
		return gone, nil
	}
	return shows, nil
}

// contributor is the i-th entry whose children show in n, top first.
func (v *View) contributor(n *node, i int) (p place, ok bool, err error) {
	for {
		k := n.known.Load()
		if i < len(k.dirs) {
			return k.dirs[i], true, nil
		}
		if k.closed {
			return place{}, false, nil
		}
		if err := v.advance(n, k); err != nil {
			return place{}, false, err
		}
	}
}

// described advances n until it is known where its attributes are.
func (v *View) described(n *node) (place, error) {
	for {
		k := n.known.Load()
		if k.described {
			return k.attr, nil
		}
		if err := v.advance(n, k); err != nil {
			return place{}, err
		}
	}
}

// advance asks one more entry about n.
func (v *View) advance(n *node, k *progress) error {
	next := *k
	p, ok, err := v.above(n, k.asked)
	if err != nil {
		return err
	}
	if !ok {
		next.end()
	} else if err := v.meet(n, p, &next); err != nil {
		return err
	}
	next.asked++
	n.known.CompareAndSwap(k, &next)
	return nil
}

// above is the i-th entry that n may be found in. For the root that is the root
// of the i-th layer from the top.
func (v *View) above(n *node, i int) (p place, ok bool, err error) {
	if n.parent != nil {
		return v.contributor(n.parent, i)
	}
	if i >= len(v.layers) {
		return place{}, false, nil
	}
	return place{layer: uint32(len(v.layers) - 1 - i)}, true, nil
}

// meet applies what the entry p, one that n is looked for in, says about n.
func (v *View) meet(n *node, p place, k *progress) error {
	x, err := v.index(p.layer)
	if err != nil {
		return err
	}
	if n.parent != nil {
		id, ok := x.Find(p.entry, n.name)
		if !ok {
			return nil
		}
		p.entry = id
	}
	e := x.Entry(p.entry)
	if e.Kind == index.Dir {
		k.add(p, e.Flags)
		return nil
	}
	a, err := v.weigh(p, &e)
	if err == nil && a != passes {
		k.end()
	}
	return err
}

// add takes in one more directory entry.
func (k *progress) add(p place, f index.Flags) {
	if !k.closed {
		k.dirs = append(k.dirs[:len(k.dirs):len(k.dirs)], p)
	}
	if !k.described && f&index.Implied == 0 {
		k.described, k.attr = true, p
	}
	if f&index.Opaque != 0 {
		k.closed = true
	}
	if f&index.Replaces != 0 {
		k.end()
	}
}

// end says that nothing further down matters.
func (k *progress) end() {
	k.closed = true
	if !k.described {
		k.described, k.attr = true, nowhere
	}
}

// child finds the entry that decides what name is in n, or ErrNotExist. Layers
// below that are not asked.
func (v *View) child(n *node, name string) (place, index.Entry, error) {
	for i := 0; ; i++ {
		p, ok, err := v.contributor(n, i)
		if err != nil {
			return place{}, index.Entry{}, err
		}
		if !ok {
			return place{}, index.Entry{}, ErrNotExist
		}
		x, err := v.index(p.layer)
		if err != nil {
			return place{}, index.Entry{}, err
		}
		p.entry, ok = x.Find(p.entry, name)
		if !ok {
			continue
		}
		e := x.Entry(p.entry)
		switch a, err := v.weigh(p, &e); {
		case err != nil:
			return place{}, index.Entry{}, err
		case a == shows:
			return p, e, nil
		case a == gone:
			return place{}, index.Entry{}, ErrNotExist
		}
	}
}

// node is the directory that ino numbers.
func (v *View) node(ino Ino) (*node, error) {
	if ino == RootIno {
		return v.root, nil
	}
	if n, ok := v.nodes.get(uint64(ino)); ok {
		return n, nil
	}
	p, _, err := v.locate(ino)
	if err != nil {
		return nil, err
	}
	n, err := v.directory(p)
	if err == nil && n.at != p {
		err = ErrStale
	}
	return n, err
}

// directory returns the directory of the view at the path of the entry p, found
// by walking down from the nearest one that is remembered.
func (v *View) directory(p place) (*node, error) {
	n, known := v.remembered(p)
	if known {
		return n, nil
	}
	e, err := v.entryOf(p)
	if err != nil {
		return nil, err
	}
	if e.Kind != index.Dir {
		return nil, ErrNotDir
	}
	x, err := v.index(p.layer)
	if err != nil {
		return nil, err
	}
	var way []uint32 // entries from p's up to one whose parent is remembered
	for id := p.entry; !known; {
		way = append(way, id)
		id = x.Entry(id).Parent
		n, known = v.remembered(place{p.layer, id})
	}
	for _, id := range slices.Backward(way) {
		if n, err = v.subdirectory(n, string(x.Name(id))); err != nil {
			return nil, err
		}
		if at := (place{p.layer, id}); n.at != at {
			v.lowerDirs.put(at.key(), n)
		}
	}
	return n, nil
}

// remembered returns the directory of the view at the path of the entry p if
// something was looked for in it before.
func (v *View) remembered(p place) (*node, bool) {
	if p.entry == 0 {
		return v.root, true
	}
	if n, ok := v.nodes.get(uint64(v.number(p))); ok {
		return n, true
	}
	return v.lowerDirs.get(p.key())
}

// subdirectory is the directory name in parent, ErrStale if there is none.
func (v *View) subdirectory(parent *node, name string) (*node, error) {
	at, e, err := v.child(parent, name)
	if err == ErrNotExist || err == nil && e.Kind != index.Dir {
		return nil, ErrStale
	}
	if err != nil {
		return nil, err
	}
	key := uint64(v.number(at))
	if n, ok := v.nodes.get(key); ok {
		return n, nil
	}
	return v.nodes.put(key, newNode(parent, name, at)), nil
}
