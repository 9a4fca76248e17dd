package view

// Indexes are mapped files, and a file of the cache may be cut short, or turn out
// to be unreadable, while it is in use. Touching such an index faults: callers
// whose process must live on run under mapfault.Catch, call Heal after a fault
// and start over. Numbers stay as they are, for every index of a layer numbers
// its entries in the same way.

// Whole looks whether the files of all indexes in use are as long as they were,
// and reports that. It costs a stat for each layer. Heal helps where it is false.
func (v *View) Whole() bool {
	whole := true
	for i := range v.layers {
		if x := v.layers[i].idx.Load(); x != nil && !x.Whole() {
			whole = false
		}
	}
	return whole
}

// Heal finds out which indexes in use are damaged. The next call that needs one
// of those gets it anew from its layer, and listings are made again. Calls that
// are under way may fault until they return. It is safe for concurrent use.
func (v *View) Heal() {
	for i := range v.layers {
		if x := v.layers[i].idx.Load(); x != nil {
			x.Sound()
		}
	}
	v.root.list.Store(nil)
	v.nodes.each(func(n *node) { n.list.Store(nil) })
	v.layerTreeDirs.clear()
}
