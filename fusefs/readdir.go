package fusefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/peelfs/peelfs/layers/view"
)

// dots is the number of "." and "..". An entry's offset is its index plus one, "." and ".." being the first two: a
// listing never changes, so seekdir and telldir need no state.
const dots = 2

// ReadDirPlus lists names with their attributes, so that a program which lists a
// directory and then looks at each file costs no further request.
func (t *tree) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return t.list(cancel, in, out, true)
}

func (t *tree) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return t.list(cancel, in, out, false)
}

func (t *tree) list(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList, plus bool) fuse.Status {
	r := t.newRequest(cancel, &in.InHeader)
	defer r.finish()
	l := lister{numbers: t.numbers, out: out, plus: plus}
	if t.hidden.list(in.NodeId, in.Offset, &l) {
		return fuse.OK
	}
	ino := view.Ino(in.NodeId)
	dir, err := t.view.ReadDir(r, ino)
	if err != nil {
		return t.errno(r, err)
	}
	if in.Offset < dots {
		parent, err := t.parent(r, ino)
		if err != nil {
			return t.errno(r, err)
		}
		if !l.dots(in.Offset, in.NodeId, parent) {
			return fuse.OK
		}
	}
	t.listEntries(&l, dir, max(in.Offset, dots)-dots, ino == t.hidden.top)
	return fuse.OK
}

func (t *tree) parent(r *request, dir view.Ino) (uint64, error) {
	if node, ok := t.hidden.parent(uint64(dir)); ok {
		return node, nil
	}
	parent, err := t.view.Parent(r, dir)
	return uint64(parent), err
}

// lister fills a reply with entries until it is full.
type lister struct {
	numbers numbers
	out     *fuse.DirEntryList
	plus    bool // with attributes
}

// add says whether the entry had room; with plus, entry is its place for
// attributes. Without attributes the kernel asks for them when it needs them.
func (l *lister) add(e fuse.DirEntry) (entry *fuse.EntryOut, ok bool) {
	e.Ino = l.numbers.out(e.Ino)
	if !l.plus {
		return nil, l.out.AddDirEntry(e)
	}
	entry = l.out.AddDirLookupEntry(e)
	return entry, entry != nil
}

func (l *lister) dots(from, self, parent uint64) bool {
	if from == 0 {
		if _, ok := l.add(fuse.DirEntry{Name: ".", Ino: self, Mode: fuse.S_IFDIR, Off: 1}); !ok {
			return false
		}
	}
	_, ok := l.add(fuse.DirEntry{Name: "..", Ino: parent, Mode: fuse.S_IFDIR, Off: dots})
	return ok
}

// sayCovered logs, once, that the image has a name at its root that the mount
// keeps for itself.
func (t *tree) sayCovered() {
	t.covered.Do(func() {
		t.log.Warn("the image has a /"+view.MetaDir+" of its own, which the mount's covers", "it is", view.MetaDir+"/"+theirsName)
	})
}

// listEntries adds the entries of dir to l, from the index first on. It allocates
// nothing for names of up to 32 bytes, of which there can be a million.
func (t *tree) listEntries(l *lister, dir *view.Dir, first uint64, root bool) {
	for i := first; i < uint64(dir.Len()); i++ {
		name, ino, kind := dir.Entry(int(i))
		if root && string(name) == view.MetaDir {
			t.sayCovered()
			continue
		}
		stands, kind := t.hidden.substitute(ino, kind)
		entry, ok := l.add(fuse.DirEntry{
			Name: string(name), // on the stack, but for long ones
			Ino:  uint64(stands), Mode: modeOf(kind), Off: i + dots + 1,
		})
		if !ok {
			return
		}
		if entry != nil && stands == ino {
			a := dir.Attr(int(i))
			fillEntry(entry, &a)
			t.translateEntry(entry)
		}
	}
}
