package index

import (
	"slices"
	"strings"
)

// The tree of nodes that a Builder grows.

func (b *Builder) isDir(id uint32) bool { return b.inodes[b.nodes[id].inode].kind == Dir }

func nodeHash(parent, name uint32) uint64 { return mix(uint64(parent)<<32 | uint64(name)) }

func (b *Builder) nodePlace(parent, name uint32) (int, bool) {
	return b.byName.find(nodeHash(parent, name), func(id uint32) bool {
		return b.nodes[id].parent == parent && b.nodes[id].name == name && id != rootNode
	})
}

// child finds a node by parent and name.
func (b *Builder) child(parent, name uint32) (uint32, bool) {
	place, ok := b.nodePlace(parent, name)
	if !ok {
		return 0, false
	}
	id := b.byName.at[place] - 1
	return id, !b.nodes[id].gone
}

// setChild makes a new node of that name; the one that was there is gone, and
// with it what is below it.
func (b *Builder) setChild(n node) (uint32, error) {
	b.byName.grow(func(id uint32) uint64 { return nodeHash(b.nodes[id].parent, b.nodes[id].name) })
	place, ok := b.nodePlace(n.parent, n.name)
	if ok {
		b.nodes[b.byName.at[place]-1].gone = true
	} else {
		b.byName.used++
	}
	b.nodes = append(b.nodes, n)
	b.byName.at[place] = uint32(len(b.nodes))
	return uint32(len(b.nodes) - 1), room(len(b.nodes))
}

func (b *Builder) newDir(parent, name uint32, flags Flags) (uint32, error) {
	in, err := b.addInode(inode{kind: Dir, attr: b.attrs.intern(impliedAttr)})
	if err != nil {
		return 0, err
	}
	return b.setChild(node{name: name, parent: parent, inode: in, flags: flags})
}

// bind makes last, at the spot, a name of the object in, which is no directory.
func (b *Builder) bind(at spot, last string, in uint32) error {
	dir, err := b.makeDirs(at)
	if err != nil {
		return err
	}
	name, err := b.names.intern(last)
	if err != nil {
		return err
	}
	if id, ok := b.child(dir, name); ok && !b.isDir(id) {
		b.nodes[id].inode = in
		return nil
	}
	_, err = b.setChild(node{name: name, parent: dir, inode: in})
	return err
}

// pathOf is the whole path of a node, for messages.
func (b *Builder) pathOf(id uint32) string {
	var names []string
	for ; id != rootNode; id = b.nodes[id].parent {
		names = append(names, string(b.names.get(b.nodes[id].name)))
	}
	slices.Reverse(names)
	return strings.Join(names, "/")
}
