package view

// Path is a path by which an inode can be reached, for messages. It is "" as
// long as the layer that has the inode is not at hand. It never waits.
func (v *View) Path(ino Ino) string {
	p, _, err := v.locate(ino)
	if err != nil || ino == RootIno {
		return "/"
	}
	x, err := v.index(p.layer)
	if err != nil {
		return ""
	}
	return "/" + x.Path(p.entry)
}
