package index

import (
	"slices"
	"strings"

	"github.com/peelfs/peelfs/internal/errkind"
)

// spot is where a cleaned path leads in a layer: to a directory that is there,
// and from there along names. The first of rest is missing, or is no directory.
type spot struct {
	dir    uint32
	rest   []string
	linked bool // a symbolic link of the layer was followed on the way
}

const (
	maxLinks = 40      // symbolic links that one path may lead through, as in Linux
	maxSteps = 1 << 28 // names of link texts that are walked for one layer
)

// locate finds the directory that the cleaned path parts names, and follows the
// symbolic links that the layer has on the way, the last element included. A
// link that leads through a file, in a circle, or to a name that no index has
// is not followed: the spot ends in front of it. The error is Unsupported when
// the links of the layer take too long to follow.
func (b *Builder) locate(parts []string) (spot, error) {
	at := spot{}
	links := 0
	for i, part := range parts {
		id, ok := b.lookup(at.dir, part)
		switch {
		case ok && b.isDir(id):
			at.dir = id
			continue
		case ok && b.kindOf(id) == Symlink:
			to, followed, err := b.throughLink(at.dir, id, &links)
			if err != nil {
				return spot{}, err
			}
			if followed && len(to.rest) == 0 {
				at.dir, at.linked = to.dir, true
				continue
			}
			if followed {
				to.rest = append(to.rest, parts[i+1:]...)
				return to, nil
			}
		}
		at.rest = parts[i:]
		break
	}
	return at, nil
}

// throughLink walks along the text of the symbolic link node id, which is in the
// directory dir, as a process in a chroot would that finds a plain directory
// wherever the layer has nothing. It reports whether that ends in a directory;
// links counts the symbolic links followed for one path.
func (b *Builder) throughLink(dir, id uint32, links *int) (at spot, ok bool, err error) {
	at = spot{dir: dir, linked: true}
	var texts []string // what is left to walk, that of the innermost link last
	follow := func(id uint32) bool {
		text := string(b.targets.get(b.inodes[b.nodes[id].inode].x))
		if text[0] == '/' {
			at.dir, at.rest = rootNode, nil
		}
		texts = append(texts, text)
		*links++
		return *links <= maxLinks
	}
	if !follow(id) {
		return spot{}, false, nil
	}
	for len(texts) > 0 {
		name, rest, more := strings.Cut(texts[len(texts)-1], "/")
		texts[len(texts)-1] = rest
		if !more {
			texts = texts[:len(texts)-1]
		}
		if b.steps++; b.steps > maxSteps {
			return spot{}, false, errkind.New(errkind.Unsupported, "layer has too many paths through long symbolic links")
		}
		id, kind := b.step(&at, name)
		switch {
		case kind == Symlink && follow(id), kind == Dir:
		default:
			return spot{}, false, nil
		}
	}
	return at, true, nil
}

// step takes one element of a link's text and returns what is there: Dir after
// having gone on, Symlink and its node in front of a symbolic link, and no kind
// where nothing can be below.
func (b *Builder) step(at *spot, name string) (id uint32, kind Kind) {
	switch {
	case name == "" || name == ".":
		return 0, Dir
	case name == ".." && len(at.rest) > 0:
		at.rest = at.rest[:len(at.rest)-1]
		return 0, Dir
	case name == "..":
		at.dir = b.nodes[at.dir].parent
		return 0, Dir
	case len(name) > MaxName || strings.HasPrefix(name, markerPrefix):
		return 0, 0
	}
	id, ok := uint32(0), false
	if len(at.rest) == 0 {
		id, ok = b.lookup(at.dir, name)
	}
	switch {
	case !ok:
		at.rest = append(at.rest, name)
		return 0, Dir
	case b.isDir(id):
		at.dir = id
		return 0, Dir
	case b.kindOf(id) == Symlink:
		return id, Symlink
	}
	return 0, 0
}

// lookup finds the node of a name in a directory.
func (b *Builder) lookup(dir uint32, name string) (uint32, bool) {
	id, ok := b.names.find(name)
	if !ok {
		return 0, false
	}
	return b.child(dir, id)
}

func (b *Builder) kindOf(id uint32) Kind { return b.inodes[b.nodes[id].inode].kind }

// tooLong reports whether a name at the spot would have a path that is longer
// than a raw path may be; only symbolic links can make one so.
func (b *Builder) tooLong(at spot, name string) bool {
	if !at.linked {
		return false
	}
	n := len(name)
	for _, part := range at.rest {
		n += len(part) + 1
	}
	for id := at.dir; id != rootNode; id = b.nodes[id].parent {
		n += len(b.names.get(b.nodes[id].name)) + 1
	}
	return n > MaxPath
}

// pathTo is the cleaned path of a name at the spot; of the spot itself if the
// name is "".
func (b *Builder) pathTo(at spot, name string) string {
	var parts []string
	if path := b.pathOf(at.dir); path != "" {
		parts = append(parts, path)
	}
	parts = append(parts, at.rest...)
	if name != "" {
		parts = append(parts, name)
	}
	return strings.Join(parts, "/")
}

// same reports whether two spots, found in the same tree, are one place.
func (at spot) same(other spot) bool {
	return at.dir == other.dir && slices.Equal(at.rest, other.rest)
}

// makeDirs makes directories of the spot's rest, and returns the last. An
// object of the first name that is no directory is replaced.
func (b *Builder) makeDirs(at spot) (uint32, error) {
	dir := at.dir
	for _, part := range at.rest {
		name, err := b.names.intern(part)
		if err != nil {
			return 0, err
		}
		if dir, err = b.newDir(dir, name, Implied); err != nil {
			return 0, err
		}
	}
	return dir, nil
}
