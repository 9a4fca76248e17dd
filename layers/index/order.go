package index

import (
	"bytes"
	"slices"
)

// order numbers the entries. Numbers depend on what a layer holds and not on
// how its records came: entry 0 is the root; the children of a directory are
// neighbours, sorted by bytes; directories have theirs numbered depth first.
type order struct {
	nodes []uint32 // by entry: its node
	ids   []uint32 // by node: its entry; noEntry for those left out
	first []uint32 // by node: the place of its first child in kids
	kids  []uint32 // nodes, grouped by parent, each group sorted
}

const noEntry = ^uint32(0)

// hidden are the files at the root that an eStargz layer brings for itself.
var hidden = []string{"stargz.index.json", ".prefetch.landmark", ".no.prefetch.landmark"}

func (b *Builder) number(hideTOC bool) *order {
	o := &order{ids: make([]uint32, len(b.nodes)), first: make([]uint32, len(b.nodes)+1)}
	b.keep(o, hideTOC)
	b.group(o)
	o.nodes = append(make([]uint32, 0, len(o.kids)+1), rootNode)
	o.ids[rootNode] = 0
	stack := []uint32{rootNode}
	for len(stack) > 0 {
		dir := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		kids := o.children(dir)
		for _, k := range kids {
			o.ids[k] = uint32(len(o.nodes))
			o.nodes = append(o.nodes, k)
		}
		for _, k := range slices.Backward(kids) {
			if b.isDir(k) {
				stack = append(stack, k)
			}
		}
	}
	return o
}

func (o *order) children(node uint32) []uint32 { return o.kids[o.first[node]:o.first[node+1]] }

// keep marks the nodes that are left out and counts the children of the others.
func (b *Builder) keep(o *order, hideTOC bool) {
	for id, n := range b.nodes {
		if id == rootNode {
			continue
		}
		if n.gone || o.ids[n.parent] == noEntry || n.parent == rootNode && b.concealed(n, hideTOC) {
			o.ids[id] = noEntry
			continue
		}
		o.first[n.parent+1]++
	}
	for i := range b.nodes {
		o.first[i+1] += o.first[i]
	}
}

// concealed reports whether n, at the root, is never to be seen.
func (b *Builder) concealed(n node, hideTOC bool) bool {
	name := b.names.get(n.name)
	if string(name) == plnk {
		return true
	}
	return hideTOC && b.inodes[n.inode].kind == File && slices.Contains(hidden, string(name))
}

// group sorts the nodes that are kept by parent and name.
func (b *Builder) group(o *order) {
	o.kids = make([]uint32, o.first[len(b.nodes)])
	next := slices.Clone(o.first)
	for id, n := range b.nodes {
		if id == rootNode || o.ids[id] == noEntry {
			continue
		}
		o.kids[next[n.parent]] = uint32(id)
		next[n.parent]++
	}
	for id := range b.nodes {
		slices.SortFunc(o.children(uint32(id)), func(p, q uint32) int {
			return bytes.Compare(b.names.get(b.nodes[p].name), b.names.get(b.nodes[q].name))
		})
	}
}
