package view

import "github.com/peelfs/peelfs/layers/index"

// Attr is what stat shows of an inode.
type Attr struct {
	Ino          Ino
	Kind         index.Kind // never Link or Whiteout
	Mode         uint32     // permission, set-id and sticky bits: 07777
	UID, GID     uint32
	Sec          int64 // mtime, seconds since 1970, may be negative
	Nsec         uint32
	Size         int64  // of files, and the length of what Readlink returns
	Nlink        uint32 // the names that the view shows; 1 for directories
	Major, Minor uint32
}

// impliedAttr is what a directory has that no layer describes.
func impliedAttr(ino Ino) Attr {
	return Attr{Ino: ino, Kind: index.Dir, Mode: 0o755, Nlink: 1}
}

// attrOf is what the entry alone says.
func attrOf(ino Ino, e *index.Entry) Attr {
	a := Attr{
		Ino: ino, Kind: e.Kind, Mode: e.Mode, UID: e.UID, GID: e.GID,
		Sec: e.Sec, Nsec: e.Nsec, Nlink: 1,
	}
	switch e.Kind {
	case index.File, index.Symlink:
		a.Size = e.Size
	case index.Char, index.Block:
		a.Major, a.Minor = e.Major(), e.Minor()
	}
	return a
}

// describe is what the view shows of the entry e at p, the one that decided.
func (v *View) describe(p place, e index.Entry) (Attr, error) {
	if e.Kind == index.Dir {
		if e.Flags&index.Implied == 0 {
			return attrOf(v.number(p), &e), nil
		}
		n, err := v.directory(p)
		if err != nil {
			return Attr{}, err
		}
		return v.describeImplied(n, p)
	}
	object, e, err := v.object(p, e)
	if err != nil {
		return Attr{}, err
	}
	if e.Kind == index.Symlink && v.opt.Symlinks == Rewrite {
		a, done, err := v.describeSymlink(p, object, &e, false)
		if done || err != nil {
			return a, err
		}
	}
	a := attrOf(v.number(object), &e)
	a.Nlink, err = v.nlink(object, &e)
	return a, err
}

// describeImplied is what the view shows of a directory whose topmost entry p is
// only implied: the topmost explicit entry describes it, or none.
func (v *View) describeImplied(n *node, p place) (Attr, error) {
	at, err := v.described(n)
	if err != nil {
		return Attr{}, err
	}
	ino := v.number(p)
	if at == nowhere {
		return impliedAttr(ino), nil
	}
	e, err := v.entryOf(at)
	return attrOf(ino, &e), err
}

// describeSymlink is what the view shows of the name p of the symbolic link
// object, if its text depends on where the name is: such a name is an inode by
// itself.
func (v *View) describeSymlink(p, object place, e *index.Entry, inLayerTree bool) (a Attr, done bool, err error) {
	x, err := v.index(object.layer)
	if err != nil {
		return Attr{}, false, err
	}
	text := x.Target(object.entry)
	if !placeDependent(text) {
		return Attr{}, false, nil
	}
	out, err := v.exitOf(p, text, inLayerTree)
	if err != nil {
		return Attr{}, false, err
	}
	a = attrOf(v.number(p), e)
	a.Size = int64(out.size())
	return a, true, nil
}

// depth is how many directories p is below the root; 0 for a name in the root.
func (v *View) depth(p place) (int, error) {
	x, err := v.index(p.layer)
	if err != nil {
		return 0, err
	}
	depth := 0
	for id := x.Entry(p.entry).Parent; id != 0; id = x.Entry(id).Parent {
		depth++
	}
	return depth, nil
}
