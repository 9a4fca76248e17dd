package fusefs

import (
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/view"
)

// Node ids of the hidden directory lie where the view has none.
const (
	nodeHidden = 2 // .peelfs
	nodeLayers = 3 // .peelfs/layers
	nodeBack   = 4 // in the rest of the tree, a link to where the subtree is
	nodeFiles  = 16
	layersName = "layers"
	theirsName = "image" // what the image itself has as .peelfs
)

var outsideName = path.Base(view.OutsideDir)

// hidden is the directory .peelfs at the root: found by its name, never listed
// there. An entry of the image by that name is found in it, as "image", and never
// listed either, since to know of it is to ask every layer. To look at it no layer is touched; not even to list the layers' trees,
// whose roots therefore have made-up attributes.
type hidden struct {
	view  *view.View
	top   view.Ino // shown as the root
	extra int      // lowest layers that do not show
	born  time.Time
	names []string // files, sorted; the i-th is node nodeFiles+i
	files []*hiddenFile
	roots map[uint64]int // root of a layer's own tree -> layer
}

// hiddenFile is one file in the hidden directory. Its content is made when its
// attributes are asked for, and kept for the reads that follow: they have the length
// and the time that the kernel was told.
type hiddenFile struct {
	File
	mu struct {
		sync.Mutex
		data []byte
		at   time.Time // of the look; zero before the first
	}
}

func newHidden(v *view.View, opt *Options) *hidden {
	files := opt.Files
	h := &hidden{view: v, top: opt.top(), extra: opt.Extra, born: time.Now(), names: slices.Sorted(maps.Keys(files)), roots: map[uint64]int{}}
	for _, name := range h.names {
		h.files = append(h.files, &hiddenFile{File: files[name]})
	}
	for i := range h.layers() {
		h.roots[uint64(h.layerRoot(i))] = i
	}
	return h
}

// layers is how many layers the image has, and layerRoot the own tree of one.
func (h *hidden) layers() int              { return h.view.Len() - h.extra }
func (h *hidden) layerRoot(n int) view.Ino { return h.view.LayerRoot(n + h.extra) }

// isPart says whether the mount shows a subtree, and the rest of the tree beside.
func (h *hidden) isPart() bool { return h.top != view.RootIno }

// owns says whether the node is one of the hidden directory and not a view's.
func (h *hidden) owns(node uint64) bool {
	return node == nodeHidden || node == nodeLayers || node == nodeBack || h.file(node) != nil
}

func (h *hidden) file(node uint64) *hiddenFile {
	if i := node - nodeFiles; node >= nodeFiles && i < uint64(len(h.files)) {
		return h.files[i]
	}
	return nil
}

func (h *hidden) isLive(node uint64) bool {
	f := h.file(node)
	return f != nil && f.Live
}

// parent is the directory above a node, if the hidden directory decides that.
func (h *hidden) parent(node uint64) (uint64, bool) {
	if _, ok := h.roots[node]; ok {
		return nodeLayers, true
	}
	switch {
	case node == nodeLayers, h.file(node) != nil:
		return nodeHidden, true
	case node == nodeHidden, node == uint64(h.top):
		return uint64(h.top), true
	case node == uint64(view.RootIno): // the rest of the tree
		return nodeHidden, true
	}
	return 0, false
}

// lookup answers for names in and around the hidden directory.
func (h *hidden) lookup(dir uint64, name string, out *fuse.EntryOut) (fuse.Status, bool) {
	node, ok := h.child(dir, name)
	if !ok {
		return fuse.OK, false
	}
	if node == 0 {
		out.EntryValid = forEver
		return fuse.OK, true
	}
	if node == uint64(h.top) || node == uint64(view.RootIno) {
		return h.rootEntry(view.Ino(node), out), true
	}
	if f := h.file(node); f != nil {
		return h.fileEntry(f, node, out), true
	}
	out.NodeId, out.EntryValid, out.AttrValid = node, forEver, forEver
	h.fillOwn(&out.Attr, node)
	return fuse.OK, true
}

// child is the node of a name, 0 if there is none; not ok if the view decides.
func (h *hidden) child(dir uint64, name string) (node uint64, ok bool) {
	_, isRoot := h.roots[dir]
	switch {
	case dir == uint64(h.top):
		return nodeHidden, name == view.MetaDir
	case dir == nodeHidden && name == outsideName && h.isPart():
		return uint64(view.RootIno), true
	case name == "." && (isRoot || h.owns(dir)):
		return dir, true
	case name == ".." && (isRoot || h.owns(dir) || h.isPart() && dir == uint64(view.RootIno)):
		return h.parent(dir)
	case dir == nodeHidden && name == layersName:
		return nodeLayers, true
	case dir == nodeHidden:
		if i, found := slices.BinarySearch(h.names, name); found {
			return nodeFiles + uint64(i), true
		}
		return 0, true
	case dir == nodeLayers:
		n, err := strconv.Atoi(name)
		if err != nil || n < 0 || n >= h.layers() || strconv.Itoa(n) != name {
			return 0, true
		}
		return uint64(h.layerRoot(n)), true
	}
	return 0, false
}

// rootEntry is the way up out of the hidden directory, which only servers of
// file handles take, and the way to the rest of the tree. It has no attributes
// that last.
func (h *hidden) rootEntry(ino view.Ino, out *fuse.EntryOut) fuse.Status {
	a, _ := h.view.Provisional(ino)
	a.Ino = ino
	fillEntry(out, &a)
	out.AttrValid = 0
	return fuse.OK
}

func (h *hidden) fileEntry(f *hiddenFile, node uint64, out *fuse.EntryOut) fuse.Status {
	if err := f.look(f.Live); err != nil {
		return statusOf(err)
	}
	out.NodeId = node
	if !f.Live {
		out.EntryValid, out.AttrValid = forEver, forEver
	}
	f.fill(&out.Attr, node, h.born)
	return fuse.OK
}

func (h *hidden) getAttr(node uint64, out *fuse.AttrOut) (fuse.Status, bool) {
	if f := h.file(node); f != nil {
		if err := f.look(false); err != nil {
			return statusOf(err), true
		}
		if !f.Live {
			out.AttrValid = forEver
		}
		f.fill(&out.Attr, node, h.born)
		return fuse.OK, true
	}
	if _, ok := h.roots[node]; !ok && !h.owns(node) {
		return fuse.OK, false
	}
	out.AttrValid = forEver
	h.fillOwn(&out.Attr, node)
	return fuse.OK, true
}

// fillOwn is for directories, and for the link back to the subtree.
func (h *hidden) fillOwn(out *fuse.Attr, node uint64) {
	mode := uint32(syscall.S_IFDIR | 0o555)
	if node == nodeBack {
		mode = syscall.S_IFLNK | 0o777
	}
	fillHidden(out, node, mode, h.born)
	out.Nlink = 1
	if node == nodeBack {
		out.Size = uint64(len(h.back()))
	}
}

// back leads from the place of the subtree in the rest of the tree, which is
// shown two directories below the root, to the root.
func (h *hidden) back() string {
	depth := strings.Count(h.view.Path(h.top), "/")
	return strings.TrimSuffix(strings.Repeat("../", depth+1), "/")
}

// substitute returns the node that is shown in the place of a node of the view: the
// link to the subtree for the subtree itself, since no directory may be at two
// places, and else the node.
func (h *hidden) substitute(ino view.Ino, kind index.Kind) (view.Ino, index.Kind) {
	if ino == h.top && h.isPart() {
		return nodeBack, index.Symlink
	}
	return ino, kind
}

func fillHidden(out *fuse.Attr, node uint64, mode uint32, t time.Time) {
	out.Ino, out.Mode, out.Blksize = node, mode, blockSize
	out.Uid, out.Gid = uint32(os.Geteuid()), uint32(os.Getegid())
	out.SetTimes(&t, &t, &t)
}

// look gets the content if there is none yet, or a fresh one.
func (f *hiddenFile) look(fresh bool) error {
	f.mu.Lock()
	known := !f.mu.at.IsZero()
	f.mu.Unlock()
	if known && !fresh {
		return nil
	}
	data, err := f.Read()
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.data, f.mu.at = data, time.Now()
	return nil
}

func (f *hiddenFile) fill(out *fuse.Attr, node uint64, born time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.Live {
		born = f.mu.at
	}
	fillHidden(out, node, syscall.S_IFREG|0o444, born)
	out.Size, out.Nlink = uint64(len(f.mu.data)), 1
	out.Blocks = (out.Size + 511) / 512
}

// size is the length of a file's content, if the node is one of the hidden
// directory's files.
func (h *hidden) size(node uint64) (int64, bool) {
	f := h.file(node)
	if f == nil {
		return 0, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return int64(len(f.mu.data)), true
}

// read is what a file has at off, at most n bytes.
func (h *hidden) read(node uint64, off int64, n int) ([]byte, bool) {
	f := h.file(node)
	if f == nil {
		return nil, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if off < 0 || off >= int64(len(f.mu.data)) {
		return nil, true
	}
	rest := f.mu.data[off:]
	return rest[:min(n, len(rest))], true
}

// list fills a listing of the hidden directory or of its layers. Entries have
// no attributes: a look at each would touch what nobody asked for.
func (h *hidden) list(node, from uint64, l *lister) bool {
	if node != nodeHidden && node != nodeLayers {
		return false
	}
	up, _ := h.parent(node)
	if from < dots && !l.dots(from, node, up) {
		return true
	}
	for i := max(from, dots) - dots; ; i++ {
		e, ok := h.entry(node, i)
		if !ok {
			return true
		}
		e.Off = i + dots + 1
		if _, ok := l.add(e); !ok {
			return true
		}
	}
}

// entry is the i-th of a directory.
func (h *hidden) entry(node, i uint64) (fuse.DirEntry, bool) {
	files := uint64(len(h.names))
	switch {
	case node == nodeLayers && i < uint64(h.layers()):
		return fuse.DirEntry{Name: strconv.Itoa(int(i)), Ino: uint64(h.layerRoot(int(i))), Mode: fuse.S_IFDIR}, true
	case node == nodeHidden && i < files:
		return fuse.DirEntry{Name: h.names[i], Ino: nodeFiles + i, Mode: fuse.S_IFREG}, true
	case node == nodeHidden && i == files:
		return fuse.DirEntry{Name: layersName, Ino: nodeLayers, Mode: fuse.S_IFDIR}, true
	case node == nodeHidden && i == files+1 && h.isPart():
		return fuse.DirEntry{Name: outsideName, Ino: uint64(view.RootIno), Mode: fuse.S_IFDIR}, true
	}
	return fuse.DirEntry{}, false
}
