package index

import "strings"

// linkState is how far a pending hard link has got.
//
//	waiting -> following -> bound     its target is an object of this layer
//	                     -> outside   its target is not in this layer
//	                     -> bad       it leads to a directory or to itself
type linkState uint8

const (
	waiting linkState = iota
	following
	bound
	outside
	bad
)

// seal does what can only be done when all records are in. It does it once.
func (b *Builder) seal() error {
	if !b.sealed {
		b.sealed = true
		if b.failed = b.resolveLinks(); b.failed == nil {
			b.failed = b.applyMarkers()
		}
		b.forgetKeys()
	}
	return b.failed
}

// forgetKeys gives back what only finds names and nodes again: a sealed Builder
// takes no more of them.
func (b *Builder) forgetKeys() {
	b.byName = slots{}
	b.names.slots, b.targets.slots, b.xattrs.slots, b.attrs.slots = slots{}, slots{}, slots{}, slots{}
}

// resolveLinks binds the hard links that came before their targets.
func (b *Builder) resolveLinks() error {
	if len(b.pending) == 0 {
		return nil
	}
	for i := range b.pending {
		if err := b.settle(uint32(i)); err != nil {
			return err
		}
	}
	for id := range b.nodes {
		n := &b.nodes[id]
		in := &b.inodes[n.inode]
		if n.gone || in.state != isPending {
			continue
		}
		switch p := b.pending[in.x]; p.state {
		case bound:
			n.inode = p.inode
		case bad:
			if b.reachable(uint32(id)) {
				b.Refuse(b.pathOf(uint32(id)), "hard link to a directory or to itself")
			}
			n.gone = true
		}
	}
	for i := range b.inodes {
		if in := &b.inodes[i]; in.state == isPending {
			in.x, in.state = b.pending[in.x].target, settled
		}
	}
	return nil
}

// settle finds the end of the pending link i and of all that it leads to.
func (b *Builder) settle(i uint32) error {
	var chain []uint32
	for b.pending[i].state == waiting {
		chain = append(chain, i)
		b.pending[i].state = following
		next, ok, err := b.stepLink(i)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		i = next
	}
	end := b.pending[i]
	if end.state == following { // a circle
		end.state = bad
	}
	for _, c := range chain {
		b.pending[c] = end
	}
	return nil
}

// stepLink looks for the target of the pending link i: it settles i, or returns
// the pending link that the target is another name of.
func (b *Builder) stepLink(i uint32) (next uint32, ok bool, err error) {
	p := &b.pending[i]
	parts := strings.Split(string(b.targets.get(p.target)), "/")
	last := len(parts) - 1
	at, err := b.locate(parts[:last])
	if err != nil {
		return 0, false, err
	}
	id, found := uint32(0), false
	if len(at.rest) == 0 {
		id, found = b.lookup(at.dir, parts[last])
	}
	switch {
	case !found:
		p.state = outside
		if at.linked && !b.tooLong(at, parts[last]) {
			p.target, err = b.targets.intern(b.targetPath(at, parts))
		}
	case b.isDir(id):
		p.state = bad
	case b.inodes[b.nodes[id].inode].state == isPending:
		return b.inodes[b.nodes[id].inode].x, true, nil
	default:
		p.state, p.inode = bound, b.nodes[id].inode
	}
	return 0, false, err
}

// reachable reports whether no directory above the node was replaced.
func (b *Builder) reachable(id uint32) bool {
	for ; id != rootNode; id = b.nodes[id].parent {
		if b.nodes[id].gone {
			return false
		}
	}
	return true
}

// applyMarkers puts whiteouts and opaque directories into the finished tree. A
// marker below what is no directory in this layer has nothing to hide.
func (b *Builder) applyMarkers() error {
	if len(b.markers) == 0 {
		return nil
	}
	if err := b.locateMarkers(); err != nil {
		return err
	}
	gone, err := b.addInode(inode{kind: Whiteout})
	if err != nil {
		return err
	}
	for _, m := range b.markers {
		if err := b.applyMarker(m, gone); err != nil {
			return err
		}
	}
	return nil
}

// locateMarkers gives each marker the path of its directory without the symbolic
// links of the layer, and drops those that are below what is no directory.
func (b *Builder) locateMarkers() error {
	kept := b.markers[:0]
	for _, m := range b.markers {
		path := string(b.targets.get(m.dir))
		if path == "" {
			kept = append(kept, m)
			continue
		}
		at, err := b.locate(strings.Split(path, "/"))
		if err != nil {
			return err
		}
		if len(at.rest) > 0 {
			if _, ok := b.lookup(at.dir, at.rest[0]); ok {
				continue
			}
		}
		if b.tooLong(at, string(b.names.get(m.name))) {
			b.Refuse(path, "marker: path too long")
			continue
		}
		if at.linked {
			if m.dir, err = b.targets.intern(b.pathTo(at, "")); err != nil {
				return err
			}
		}
		kept = append(kept, m)
	}
	b.markers = kept
	return nil
}

// applyMarker applies one marker; gone is the inode of all whiteouts.
func (b *Builder) applyMarker(m marker, gone uint32) error {
	dir, ok, err := b.markerDir(m.dir)
	if err != nil || !ok {
		return err
	}
	if m.name == emptyName {
		b.nodes[dir].flags |= Opaque
		return nil
	}
	id, ok := b.child(dir, m.name)
	switch {
	case !ok || b.nodes[id].flags&MarkersOnly != 0:
		_, err = b.setChild(node{name: m.name, parent: dir, inode: gone})
	case b.isDir(id), b.kindOf(id) == Link:
		b.nodes[id].flags |= Replaces
	}
	return err
}

// markerDir finds the directory of a marker that was located, or makes one that
// holds only markers; not ok if another marker hides it.
func (b *Builder) markerDir(path uint32) (dir uint32, ok bool, err error) {
	if path == emptyName {
		return rootNode, true, nil
	}
	dir = rootNode
	for part := range strings.SplitSeq(string(b.targets.get(path)), "/") {
		name, err := b.names.intern(part)
		if err != nil {
			return 0, false, err
		}
		id, ok := b.child(dir, name)
		if !ok {
			if id, err = b.newDir(dir, name, Implied|MarkersOnly); err != nil {
				return 0, false, err
			}
		}
		if !b.isDir(id) {
			return 0, false, nil
		}
		dir = id
	}
	return dir, true, nil
}
