package index

import (
	"fmt"
	"slices"
	"strings"

	"github.com/peelfs/peelfs/internal/errkind"
)

// Builder turns the records of one layer, in the order of its tar, into an
// index. It holds all the rules within a layer:
//
//   - a path is where its cleaned form says; an entry that leaves the root, or
//     cannot be, is refused: counted and left out;
//   - of two entries that disagree on what a name is, the later decides, be it
//     an entry of that name or one below it; a directory met again keeps its
//     children and takes the last attributes;
//   - a path leads through the symbolic links that the layer itself has at that
//     moment, as it does for a program that unpacks the layer entry by entry
//     and follows links inside the root: the directories above an entry, above
//     the target of a hard link and above a marker. A name that the layer
//     does not have counts as a directory. A link that leads nowhere is in the way like
//     any other object that is no directory;
//   - a hard link is bound to the object that its target is at that moment. A
//     target yet to come is looked up once all entries are in, and one that
//     never comes is left to the lower layers (Kind Link);
//   - markers are applied last, since their place does not matter. All are
//     located before the first is applied, so that none hides the way of another.
//
// It is append-only: a name that changes its object gets another inode, and a
// directory that is replaced another node, so that what was below it is no
// longer reached. Memory is about 100 bytes an entry with its distinct names, and
// as much again while it is written. A Builder belongs to one goroutine.
type Builder struct {
	names, targets, xattrs arena
	attrs                  attrs
	nodes                  []node // nodes[0] is the root; parents come before children
	byName                 slots  // of nodes, keyed by parent and name
	inodes                 []inode
	extents                []Extent
	pending                []pending
	markers                []marker

	refused struct {
		n      int
		sample []string
	}
	scratch struct{ path, link []string }
	steps   int // names of link texts walked so far
	sealed  bool
	failed  error // why sealing failed
}

// node is a name in a directory.
type node struct {
	name, parent, inode uint32
	flags               Flags
	gone                bool // replaced by another node, or refused afterwards
}

// inode is an object: what all its names share.
type inode struct {
	attr  uint32
	x     uint32 // symlink, link: target; device: rdev; sparse: first extent; pending: its number
	size  int64
	data  int64 // sparse: number of extents
	kind  Kind
	state inodeState
}

type inodeState uint8

const (
	settled   inodeState = iota
	isSparse             // x and data are extents
	isPending            // a hard link whose target has not come yet
)

// pending is a hard link whose target has not come yet.
type pending struct {
	target uint32 // cleaned path, in Builder.targets
	inode  uint32 // what it is bound to in the end, if state is bound
	state  linkState
}

// marker is a whiteout, or the opaque marker if name is "".
type marker struct{ dir, name uint32 }

const (
	rootNode    = 0
	emptyName   = 0 // "" in Builder.names and Builder.targets
	maxSample   = 20
	maxSampleAt = 200 // bytes of a sample
)

// NewBuilder returns a Builder of an empty layer.
func NewBuilder() *Builder {
	b := &Builder{}
	b.names.what, b.targets.what, b.xattrs.what = "names", "link targets", "extended attributes"
	mustIntern(&b.names)
	mustIntern(&b.targets)
	b.inodes = append(b.inodes, inode{kind: Dir, attr: b.attrs.intern(impliedAttr)})
	b.nodes = append(b.nodes, node{flags: Implied})
	return b
}

// impliedAttr is what a directory without an entry has.
var impliedAttr = attr{mode: 0o755}

// mustIntern makes "" number 0, which no limit can prevent.
func mustIntern(a *arena) {
	if id, err := a.intern(""); id != emptyName || err != nil {
		panic("index: arena is not empty")
	}
}

// Add applies the layer's next record. It keeps nothing of r. An entry that is
// refused is no error: see Refused. Errors are Unsupported if the layer passes
// a limit and Corrupt if r contradicts itself; the Builder is of no use then.
func (b *Builder) Add(r Record) error {
	if b.sealed {
		return errkind.New(errkind.Internal, "record added to an index already written")
	}
	parts, reason := split(b.scratch.path[:0], r.Name)
	if reason != "" {
		b.Refuse(r.Name, reason)
		return nil
	}
	b.scratch.path = parts
	at, reason := placeOf(parts)
	switch at {
	case plain:
		return b.addObject(parts, r)
	case root:
		return b.addRoot(r)
	case opaque:
		return b.addMarker(parts, "")
	case whiteout:
		return b.addMarker(parts, parts[len(parts)-1][len(markerPrefix):])
	case refused:
		b.Refuse(r.Name, reason)
	}
	return nil
}

// Refuse counts an entry that its source cannot express as a Record.
func (b *Builder) Refuse(name, reason string) {
	b.refused.n++
	if len(b.refused.sample) < maxSample {
		name = name[:min(len(name), maxSampleAt)]
		b.refused.sample = append(b.refused.sample, fmt.Sprintf("%q: %s", name, reason))
	}
}

// Refused says how many entries were left out, and which and why for the first
// few. It is complete after Write.
func (b *Builder) Refused() (n int, sample []string) {
	return b.refused.n, slices.Clone(b.refused.sample)
}

func (b *Builder) addRoot(r Record) error {
	if r.Kind != Dir {
		b.Refuse(r.Name, "the root is a "+r.Kind.String())
		return nil
	}
	return b.setDir(rootNode, r)
}

func (b *Builder) addMarker(parts []string, name string) error {
	dir, err := b.targets.intern(strings.Join(parts[:len(parts)-1], "/"))
	if err != nil {
		return err
	}
	id, err := b.names.intern(name)
	if err != nil {
		return err
	}
	b.markers = append(b.markers, marker{dir, id})
	return room(len(b.markers))
}

func (b *Builder) addObject(parts []string, r Record) error {
	if reason := unfit(&r); reason != "" {
		b.Refuse(r.Name, reason)
		return nil
	}
	last := len(parts) - 1
	at, err := b.locate(parts[:last])
	if err != nil {
		return err
	}
	name := parts[last]
	if b.tooLong(at, name) {
		b.Refuse(r.Name, "path too long")
		return nil
	}
	switch r.Kind {
	case Link:
		return b.addLink(at, name, r)
	case Dir:
		return b.addDir(at, name, r)
	}
	in, err := b.newInode(r)
	if err != nil {
		return err
	}
	return b.bind(at, name, in)
}

// unfit says why r cannot be an object of a file system, if so.
func unfit(r *Record) string {
	switch r.Kind {
	case Symlink:
		if r.LinkName == "" || len(r.LinkName) > MaxSymlink || strings.IndexByte(r.LinkName, 0) >= 0 {
			return "symlink without a possible target"
		}
	case Char, Block:
		if r.Major > 0xfff || r.Minor > 0xfffff {
			return "device number too large"
		}
	case Dir, File, Fifo, Link:
	default:
		return "unknown type of entry"
	}
	if r.Nsec >= 1e9 {
		return "more than a second of nanoseconds"
	}
	return ""
}

func (b *Builder) addDir(at spot, last string, r Record) error {
	dir, err := b.makeDirs(at)
	if err != nil {
		return err
	}
	name, err := b.names.intern(last)
	if err != nil {
		return err
	}
	id, ok := b.child(dir, name)
	if !ok || !b.isDir(id) {
		if id, err = b.newDir(dir, name, Implied); err != nil {
			return err
		}
	}
	return b.setDir(id, r)
}

func (b *Builder) setDir(id uint32, r Record) error {
	a, err := b.attrOf(r)
	if err != nil {
		return err
	}
	n := &b.nodes[id]
	n.flags &^= Implied
	b.inodes[n.inode].attr = a
	return nil
}

// addLink gives the object that r links to the name at the spot.
func (b *Builder) addLink(at spot, name string, r Record) error {
	parts, reason := split(b.scratch.link[:0], r.LinkName)
	if reason != "" {
		b.Refuse(r.Name, "hard link: "+reason)
		return nil
	}
	b.scratch.link = parts
	switch where, _ := placeOf(parts); where {
	case plain:
	case root:
		b.Refuse(r.Name, "hard link to a directory")
		return nil
	default:
		b.Refuse(r.Name, "hard link to a marker")
		return nil
	}
	last := len(parts) - 1
	target, err := b.locate(parts[:last])
	if err != nil {
		return err
	}
	id, found := uint32(0), false
	if len(target.rest) == 0 {
		id, found = b.lookup(target.dir, parts[last])
	}
	switch {
	case b.tooLong(target, parts[last]):
		b.Refuse(r.Name, "hard link: path too long")
	case name == parts[last] && at.same(target):
		b.Refuse(r.Name, "hard link to itself")
	case found && b.isDir(id):
		b.Refuse(r.Name, "hard link to a directory")
	case found:
		return b.bind(at, name, b.nodes[id].inode)
	default:
		in, err := b.newPending(b.targetPath(target, parts))
		if err != nil {
			return err
		}
		return b.bind(at, name, in)
	}
	return nil
}

// targetPath is the cleaned path of a hard link's target, given the spot of all
// but the last of parts.
func (b *Builder) targetPath(at spot, parts []string) string {
	if !at.linked {
		return strings.Join(parts, "/")
	}
	return b.pathTo(at, parts[len(parts)-1])
}

func (b *Builder) newPending(target string) (uint32, error) {
	t, err := b.targets.intern(target)
	if err != nil {
		return 0, err
	}
	b.pending = append(b.pending, pending{target: t})
	return b.addInode(inode{kind: Link, x: uint32(len(b.pending) - 1), state: isPending})
}

// newInode makes the object that r describes; r is no Dir and no Link.
func (b *Builder) newInode(r Record) (uint32, error) {
	a, err := b.attrOf(r)
	if err != nil {
		return 0, err
	}
	in := inode{kind: r.Kind, attr: a}
	switch r.Kind {
	case File:
		err = b.content(&in, r)
	case Symlink:
		in.size = int64(len(r.LinkName))
		in.x, err = b.targets.intern(r.LinkName)
	case Char, Block:
		in.x = r.Minor&0xff | r.Major<<8 | r.Minor&^0xff<<12
	}
	if err != nil {
		return 0, err
	}
	return b.addInode(in)
}

// content says where the bytes of the file in are.
func (b *Builder) content(in *inode, r Record) error {
	if r.Size < 0 || r.Size > MaxSize || r.Data < 0 || r.Data > MaxSize {
		return errkind.New(errkind.Corrupt, "file %.200q: size %d at offset %d", r.Name, r.Size, r.Data)
	}
	in.size, in.data = r.Size, r.Data
	if r.Size == 0 {
		in.data = 0
	}
	if r.Extents == nil || r.Size == 0 {
		return nil
	}
	first := len(b.extents)
	if err := b.addExtents(r); err != nil {
		return err
	}
	own := b.extents[first:]
	if len(own) == 1 && own[0].Len == r.Size { // not sparse after all
		in.data, b.extents = own[0].Data, b.extents[:first]
		return nil
	}
	in.state, in.x, in.data = isSparse, uint32(first), int64(len(own))
	return nil
}

// addExtents appends r's extents, joined where they touch, without empty ones.
func (b *Builder) addExtents(r Record) error {
	first, end := len(b.extents), int64(0)
	for _, e := range r.Extents {
		if e.Len < 0 || e.Logical < end || e.Logical > r.Size-e.Len || e.Data < 0 || e.Data > MaxSize-e.Len {
			return errkind.New(errkind.Corrupt, "file %.200q: bad extent %+v of a size of %d", r.Name, e, r.Size)
		}
		end = e.Logical + e.Len
		if e.Len == 0 {
			continue
		}
		if n := len(b.extents); n > first {
			if l := &b.extents[n-1]; l.Logical+l.Len == e.Logical && l.Data+l.Len == e.Data {
				l.Len += e.Len
				continue
			}
		}
		b.extents = append(b.extents, e)
	}
	if len(b.extents) > MaxExtents {
		return errkind.New(errkind.Unsupported, "layer has more than %d extents of sparse files", MaxExtents)
	}
	return nil
}

func (b *Builder) attrOf(r Record) (uint32, error) {
	set, err := b.xattrSet(r)
	if err != nil {
		return 0, err
	}
	mode := r.Mode & 0o7777
	if r.Kind == Symlink { // Linux has no other mode for them
		mode = 0o777
	}
	return b.attrs.intern(attr{mode: mode, uid: r.UID, gid: r.GID, nsec: r.Nsec, sec: r.Sec, xattrs: set}), nil
}

func (b *Builder) addInode(in inode) (uint32, error) {
	b.inodes = append(b.inodes, in)
	return uint32(len(b.inodes) - 1), room(len(b.inodes))
}

func room(n int) error {
	if n > MaxEntries {
		return errkind.New(errkind.Unsupported, "layer has more than %d entries", MaxEntries)
	}
	return nil
}
