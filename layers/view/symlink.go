package view

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/index"
)

// How a symbolic link is kept inside the tree.
//
// A process outside resolves the text from the real directory D that the link
// is in, and must come to what a process in a chroot at the tree's root comes
// to, and never to a directory above that root. The two walks do the same,
// component by component, but in two places: an absolute text, and ".." at the
// root, where the one stays and the other leaves.
//
//   - An absolute text becomes as many ".." as D is deep, then the rest. D is a
//     real directory, so those lead to the root exactly.
//   - ".." at the beginning climbs from D, whose depth is known: those that would
//     go further than the root are left out.
//   - ".." behind a name climbs from wherever the name leads, which only the view
//     can tell, since it may be a symbolic link. Readlink walks such texts as
//     the chroot would, and where the walk is at the root, it writes "./" for
//     "..". Everything else stays, so the length does not depend on the walk
//     and stat needs no layer for it. When the walk fails, it fails for both at
//     the same component; still every ".." behind that is written "./", so that
//     not even a name which is outside the view (MetaDir) leads anywhere.
//
// Where a subtree is the root of the mount, a text that would leave it goes by way
// of OutsideDir, where the mount has the rest of the tree; and one that would
// leave and come back does neither. ".." behind a name that leads to the root of
// the subtree is taken for "./", as at the root of the tree.
//
// By induction over the number of links followed, links met on the way lead the
// same too: each was met in a real directory, and its text was made for that
// directory. This is why names at different places need texts of their own.

// maxText is what readlink(2) can return: PATH_MAX without the final NUL.
const maxText = 4095

// placeDependent says whether what a link's text becomes depends on its place.
func placeDependent(text []byte) bool {
	return len(text) > 0 && text[0] == '/' || lastUp(text) >= 0
}

// lastUp is the offset of the last ".." component of text, or -1.
func lastUp(text []byte) int {
	for end := len(text); end >= 2; {
		i := bytes.LastIndex(text[:end], []byte(".."))
		if i < 0 {
			return -1
		}
		if (i == 0 || text[i-1] == '/') && (i+2 == len(text) || text[i+2] == '/') {
			return i
		}
		end = i + 1
	}
	return -1
}

// exit is how a link's text leaves the directory that the link is in.
type exit struct {
	text []byte // of the link
	same bool   // what comes before rest stays as it is
	ups  int    // how many directories the text climbs before via
	via  string // what leads on from there, as far as it is not rest
	rest []byte // from the first name on; the end of text

	climb int // how many directories above the link's the walk along rest begins
}

// leave takes apart the text of a link depth directories below the root.
func leave(text []byte, depth int) exit {
	x := exit{text: text, same: true}
	if len(text) > 0 && text[0] == '/' {
		x.same, x.ups = false, depth
	}
	for at := 0; at < len(text); {
		name, next := component(text, at)
		switch string(name) {
		case "", ".":
		case "..":
			if x.ups < depth {
				x.ups++
			} else {
				x.same = false
			}
		default:
			x.rest = text[at:]
			at = len(text)
			continue
		}
		at = next
	}
	x.climb = x.ups
	return x
}

// exitOf is how the text of the link p leaves, in the view or in the layer tree of
// its layer.
func (v *View) exitOf(p place, text []byte, inLayerTree bool) (exit, error) {
	depth, err := v.depth(p)
	out := leave(text, depth)
	top := names(v.opt.Subtree.Path)
	if err != nil || inLayerTree || len(top) == 0 || depth < len(top) {
		return out, err
	}
	x, err := v.index(p.layer)
	if err != nil {
		return exit{}, err
	}
	if dir := names(x.Path(x.Entry(p.entry).Parent)); slices.Equal(dir[:len(top)], top) {
		out.within(top, depth-len(top))
	}
	return out, nil
}

func names(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

// within makes x, of a link depth directories below top, stay below top.
func (x *exit) within(top []string, depth int) {
	if x.ups <= depth {
		return
	}
	from := top[:len(top)+depth-x.ups] // where rest begins
	rest, inside := enters(x.rest, top[len(from):])
	x.same, x.ups = false, depth
	if inside {
		x.rest, x.climb = rest, depth
		return
	}
	x.via = strings.Join(append([]string{OutsideDir}, from...), "/") + "/"
}

// enters says whether a path begins with the given names, and what comes then.
func enters(path []byte, names []string) (rest []byte, ok bool) {
	for len(names) > 0 && len(path) > 0 {
		name, next := component(path, 0)
		switch string(name) {
		case "", ".":
		case names[0]:
			names = names[1:]
		default:
			return nil, false
		}
		path = path[next:]
	}
	return bytes.TrimLeft(path, "/"), len(names) == 0
}

// component is the path component of text at an offset, and the offset of the
// next one.
func component(text []byte, at int) (name []byte, next int) {
	if i := bytes.IndexByte(text[at:], '/'); i >= 0 {
		return text[at : at+i], at + i + 1
	}
	return text[at:], len(text)
}

// size is the length of what bytes returns.
func (x exit) size() int {
	switch {
	case x.same:
		return len(x.text)
	case len(x.via)+len(x.rest) > 0:
		return 3*x.ups + len(x.via) + len(x.rest)
	}
	return max(1, 3*x.ups-1)
}

// bytes is the text that leaves as x says. It is new memory, and ends in rest.
func (x exit) bytes() []byte {
	if x.same {
		return bytes.Clone(x.text)
	}
	out := append(append(bytes.Repeat([]byte("../"), x.ups), x.via...), x.rest...)
	if len(x.via)+len(x.rest) > 0 {
		return out
	}
	if x.ups == 0 {
		return []byte(".")
	}
	return out[:len(out)-1]
}

// Readlink returns the target of a symbolic link. The caller must not change it.
// To rewrite a target with ".." behind a name it may have to look at the names
// before, and so to fetch layers.
func (v *View) Readlink(ctx context.Context, ino Ino) ([]byte, error) {
	p, text, err := v.text(ctx, ino)
	if err != nil || v.opt.Symlinks == Raw || !placeDependent(text) {
		return text, err
	}
	x, err := v.exitOf(p, text, ino.inLayerTree())
	if err != nil {
		return nil, err
	}
	if x.size() > maxText {
		return nil, errkind.New(errkind.Unsupported, "a symbolic link's target would have %d bytes", x.size())
	}
	out := x.bytes()
	if lastUp(x.rest) < 0 {
		return out, nil
	}
	dir, err := v.linkDir(ctx, ino, p)
	if err != nil {
		return nil, err
	}
	if err := v.clamp(ctx, dir, x.climb, out[len(out)-len(x.rest):]); err != nil {
		return nil, err
	}
	return out, nil
}

// text is a symbolic link's text as the image has it, and the place of the name.
func (v *View) text(ctx context.Context, ino Ino) (place, []byte, error) {
	for {
		p, text, err := v.localText(ino)
		if !v.fetched(ctx, &err) {
			return p, text, err
		}
	}
}

func (v *View) localText(ino Ino) (place, []byte, error) {
	p, object, e, err := v.open(ino)
	if err != nil {
		return place{}, nil, err
	}
	if e.Kind != index.Symlink {
		return place{}, nil, errkind.New(errkind.Invalid, "not a symbolic link")
	}
	x, err := v.index(object.layer)
	if err != nil {
		return place{}, nil, err
	}
	return p, x.Target(object.entry), nil
}

// linkDir is the directory that the name p of the link ino is in.
func (v *View) linkDir(ctx context.Context, ino Ino, p place) (Ino, error) {
	for {
		dir, err := v.containing(p, ino.inLayerTree())
		if !v.fetched(ctx, &err) {
			return dir, err
		}
	}
}

// containing is the directory that the entry p is in, in the view or in the
// tree of its layer.
func (v *View) containing(p place, inLayerTree bool) (Ino, error) {
	e, err := v.entryOf(p)
	if err != nil {
		return 0, err
	}
	up := place{p.layer, e.Parent}
	if inLayerTree {
		return layerTreeNumber(up, noMarker), nil
	}
	n, err := v.directory(up)
	if err != nil {
		return 0, err
	}
	return v.inoOf(n), nil
}

// clamp writes "./" for each ".." of rest that climbs from the root, and for
// those behind a component that leads nowhere. rest is walked from the directory
// ups above dir.
func (v *View) clamp(ctx context.Context, dir Ino, ups int, rest []byte) (err error) {
	w := v.walker(dir)
	w.hidden = MetaDir
	for ; ups > 0; ups-- {
		if err := w.up(ctx); err != nil {
			return err
		}
	}
	lost := false
	for at, last := 0, lastUp(rest); at <= last; {
		name, next := component(rest, at)
		switch {
		case string(name) != "..":
			if !lost {
				err = w.enter(ctx, string(name))
			}
		case lost || w.dir == w.root || w.dir == v.top():
			copy(name, "./")
		default:
			err = w.up(ctx)
		}
		if leadsNowhere(err) {
			lost, err = true, nil
		}
		if err != nil {
			return err
		}
		at = next
	}
	return nil
}

// leadsNowhere says whether a path ends there for everybody.
func leadsNowhere(err error) bool {
	return errors.Is(err, ErrNotExist) || errors.Is(err, ErrNotDir) || errors.Is(err, ErrLoop)
}
