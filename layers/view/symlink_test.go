package view

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	tt "github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/layers/index"
)

func TestRewrite(t *testing.T) {
	v := viewOf(stack(tarball{
		tt.Dir("a/b/c/"), tt.Dir("x/"), tt.File("f", ""), tt.Symlink("toroot", "/"), tt.Symlink("deep", "a/b/c"), tt.Symlink("x/loop", "loop"),
	}), Options{})
	for _, c := range []struct{ at, text, want string }{
		{"l", "f", "f"},
		{"l", "./f/", "./f/"},
		{"l", "/f", "f"},
		{"l", "//f//", "f//"},
		{"l", "/", "."},
		{"l", "/..", "."},
		{"l", "/../f", "f"},
		{"l", "..", "."},
		{"l", "../../f", "f"},
		{"l", "", ""},
		{"l", "..f/...", "..f/..."},
		{"a/l", "/f", "../f"},
		{"a/l", "/", ".."},
		{"a/l", "..", ".."},
		{"a/l", "../f", "../f"},
		{"a/l", "../..", ".."},
		{"a/l", ".././../f", "../f"},
		{"a/b/l", "/a/b", "../../a/b"},
		{"a/b/l", "../../../../f", "../../f"},
		{"a/b/l", "/", "../.."},
		// ".." behind a name: as long as the walk stays inside, so does the text.
		{"l", "a/..", "a/.."},
		{"l", "a/../f", "a/../f"},
		{"l", "a/../../f", "a/.././/f"},
		{"l", "deep/../../../f", "deep/../../../f"},
		{"l", "deep/../../../../f", "deep/../../.././/f"},
		{"l", "toroot/../f", "toroot/.//f"},
		{"a/l", "b/../../../f", "b/../.././/f"},
		{"a/l", "../x/../../f", "../x/.././/f"},
		{"a/l", "/x/../../f", "../x/.././/f"},
		{"a/l", "../toroot/..", "../toroot/./"},
		// What leads nowhere cannot climb.
		{"l", "none/../f", "none/.//f"},
		{"l", "f/../f", "f/.//f"},
		{"l", "x/loop/../../f", "x/loop/.//.//f"},
		{"l", ".peelfs/layers/0/toroot/../../../../f", ".peelfs/layers/0/toroot/.//.//.//.//f"},
	} {
		depth := strings.Count(c.at, "/")
		x := leave([]byte(c.text), depth)
		got := string(x.bytes())
		if lastUp(x.rest) >= 0 {
			dir := RootIno
			if i := strings.LastIndex(c.at, "/"); i >= 0 {
				dir = get(t, v, c.at[:i]).Ino
			}
			out := x.bytes()
			if err := v.clamp(t.Context(), dir, x.ups, out[len(out)-len(x.rest):]); err != nil {
				t.Fatal(err)
			}
			got = string(out)
		}
		if got != c.want || x.size() != len(got) {
			t.Errorf("%q in %q becomes %q (size %d), want %q", c.text, c.at, got, x.size(), c.want)
		}
	}
}

// The target that any text becomes is as long as stat says, relative, climbs no further
// than the root before its first name, and leaves the rest alone.
func FuzzLeave(f *testing.F) {
	for _, text := range []string{"", "/", "..", "a/../..", "/../a/", ".//../a", "../../..", "..a/..", "/a/.."} {
		f.Add([]byte(text), uint8(2))
	}
	f.Fuzz(func(t *testing.T, text []byte, deep uint8) {
		depth := int(deep)
		x := leave(text, depth)
		out := x.bytes()
		if len(out) != x.size() {
			t.Fatalf("%q becomes %q, but has size %d", text, out, x.size())
		}
		if len(out) > 0 && out[0] == '/' {
			t.Fatalf("%q becomes absolute: %q", text, out)
		}
		if !bytes.HasSuffix(text, x.rest) || !bytes.HasSuffix(out, x.rest) {
			t.Fatalf("%q becomes %q, the rest is %q", text, out, x.rest)
		}
		if climbs := bytes.Count(out[:len(out)-len(x.rest)], []byte("..")); climbs > depth || climbs != x.ups {
			t.Fatalf("%q becomes %q, which climbs %d of %d", text, out, climbs, depth)
		}
		if !placeDependent(text) && !bytes.Equal(text, out) {
			t.Fatalf("%q becomes %q", text, out)
		}
	})
}

// Names of one symbolic link at different places: each has the text for its place.
func TestRewriteHardLinkedSymlinks(t *testing.T) {
	tars := []tarball{
		{tt.Symlink("l", "/f"), tt.Link("a/b/l", "l"), tt.Symlink("s", "f"), tt.Link("a/s", "s"), tt.File("f", "1")},
		{tt.Link("a/k", "l")},
	}
	v := viewOf(stack(tars...), Options{})
	if got, want := tree(t, v), "a/ a/b/ a/b/l->../../f a/k->../f a/s->f f=1 l->f s->f"; got != want {
		t.Errorf("shows %q, want %q", got, want)
	}
	checkView(t, v)
	l, m, s := get(t, v, "l"), get(t, v, "a/b/l"), get(t, v, "s")
	if l.Ino == m.Ino || l.Nlink != 1 || s.Nlink != 2 || get(t, v, "a/s") != s {
		t.Errorf("%+v, %+v, %+v", l, m, s)
	}
	raw := rawView(tars...)
	if l := get(t, raw, "l"); l.Nlink != 3 || get(t, raw, "a/b/l") != l || get(t, raw, "a/k") != l {
		t.Errorf("as the image has it: %+v", l)
	}
}

func TestReadlinkTooLong(t *testing.T) {
	v := viewOf(stack(tarball{tt.Symlink("a/b/l", "/"+strings.Repeat("x/", 2047))}), Options{})
	if _, err := v.Readlink(t.Context(), get(t, v, "a/b/l").Ino); err == nil {
		t.Error("a target beyond PATH_MAX was returned")
	}
}

func TestStatOfSymlinkNeedsNoLayers(t *testing.T) {
	layers := stack(tarball{tt.File("none/f", "")}, tarball{tt.Symlink("l", "none/../../x")})
	v := viewOf(layers, Options{})
	a := get(t, v, "l")
	if got := asked(layers); got != "01" {
		t.Fatalf("stat asked %s", got)
	}
	text, err := v.Readlink(t.Context(), a.Ino)
	if err != nil || int64(len(text)) != a.Size || asked(layers) != "11" {
		t.Errorf("%q, %v; size %d, asked %s", text, err, a.Size, asked(layers))
	}
}

// host is a kernel outside that resolves paths in a mount of the view, with what
// a mount adds to the root.
type host struct {
	v    *View
	meta bool // the walk came through MetaDir
}

var errEscaped = errors.New("left the mount")

const (
	metaIno   Ino = 2
	layersIno Ino = 3
)

func (h *host) lookup(ctx context.Context, dir Ino, name string) (Attr, error) {
	switch {
	case dir == RootIno && name == MetaDir:
		h.meta = true
		return impliedAttr(metaIno), nil
	case dir == metaIno && name == "layers":
		return impliedAttr(layersIno), nil
	case dir == layersIno:
		n, err := strconv.Atoi(name)
		if err != nil || n >= h.v.Len() {
			return Attr{}, ErrNotExist
		}
		return h.v.Attr(ctx, h.v.LayerRoot(n))
	case dir == metaIno:
		return Attr{}, ErrNotExist
	}
	return h.v.Lookup(ctx, dir, name)
}

func (h *host) parent(ctx context.Context, dir Ino) (Ino, error) {
	switch {
	case dir == RootIno:
		return 0, errEscaped
	case dir == metaIno:
		return RootIno, nil
	case dir == layersIno:
		return metaIno, nil
	}
	up, err := h.v.Parent(ctx, dir)
	if up == dir { // the root of a layer tree
		return layersIno, err
	}
	return up, err
}

// walk is path_walk of Linux.
func (h *host) walk(ctx context.Context, path string) (Ino, error) {
	dir, links := RootIno, 0
	if strings.HasPrefix(path, "/") {
		return 0, errEscaped
	}
	for path != "" {
		name, rest, more := strings.Cut(path, "/")
		path = rest
		if name == "" || name == "." {
			continue
		}
		if name == ".." {
			var err error
			if dir, err = h.parent(ctx, dir); err != nil {
				return 0, err
			}
			continue
		}
		a, err := h.lookup(ctx, dir, name)
		switch {
		case err != nil:
			return 0, err
		case a.Kind == index.Dir:
			dir = a.Ino
		case a.Kind == index.Symlink:
			if links++; links > maxLinks {
				return 0, ErrLoop
			}
			text, err := h.v.Readlink(ctx, a.Ino)
			if err != nil {
				return 0, err
			}
			if len(text) == 0 {
				return 0, ErrNotExist
			}
			if text[0] == '/' {
				return 0, errEscaped
			}
			if path = string(text); more {
				path += "/" + rest
			}
		case more:
			return 0, ErrNotDir
		default:
			return a.Ino, nil
		}
	}
	return dir, nil
}

var linkParts = rapid.SampledFrom([]string{"a", "b", "c", "..", "..", "..", ".", "", ".peelfs", ".peelfs/layers/0", ".peelfs/layers/1"})

func linkText(t *rapid.T) string {
	text := strings.Join(rapid.SliceOfN(linkParts, 1, 7).Draw(t, "parts"), "/")
	if rapid.IntRange(0, 3).Draw(t, "absolute") == 0 {
		text = "/" + text
	}
	return text
}

var linkPaths = rapid.SampledFrom([]string{
	"a", "b", "c", "a/a", "a/b", "a/c", "b/a", "b/b", "a/a/a", "a/a/b", "a/a/b/c", ".peelfs/layers/0/a", ".peelfs/a",
})

func linkLayer(t *rapid.T) tarball {
	var tar tarball
	for range rapid.IntRange(1, 8).Draw(t, "entries") {
		path := linkPaths.Draw(t, "path")
		switch rapid.IntRange(0, 6).Draw(t, "kind") {
		case 0:
			tar = append(tar, tt.File(path, path))
		case 1:
			tar = append(tar, tt.Dir(path+"/"))
		case 2:
			tar = append(tar, tt.Link(path, linkPaths.Draw(t, "target")))
		default:
			if text := linkText(t); text != "" {
				tar = append(tar, tt.Symlink(path, text))
			}
		}
	}
	return tar
}

// Whatever an image has: a process on the host that resolves a path in the mount
// stays in it, and comes to what a process in a chroot comes to.
func TestRewriteNeverLeavesTheMount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := viewOf(stack(linkLayer(t), linkLayer(t)), Options{})
		var paths []string
		for _, root := range []string{"/", "/.peelfs/layers/0", "/.peelfs/layers/1"} {
			collect(t, v, root, &paths)
		}
		for _, path := range paths {
			checkOnHost(t, v, strings.TrimPrefix(path, "/"))
		}
		for range 3 {
			checkOnHost(t, v, linkPaths.Draw(t, "somewhere")+"/"+linkPaths.Draw(t, "further"))
		}
	})
}

func checkOnHost(t *rapid.T, v *View, path string) {
	ctx := t.Context()
	h := host{v: v}
	ino, err := h.walk(ctx, path)
	if errors.Is(err, errEscaped) {
		t.Fatalf("%s leads out of the mount", path)
	}
	if h.meta {
		return // a chroot into the image has no such place
	}
	a, want := v.Resolve(ctx, path, true)
	if a.Ino != ino || fmt.Sprint(sentinel(err)) != fmt.Sprint(sentinel(want)) {
		t.Fatalf("%s: outside %#x, %v; in a chroot %#x, %v", path, ino, err, a.Ino, want)
	}
}

func sentinel(err error) error {
	for _, s := range []error{ErrNotExist, ErrNotDir, ErrLoop} {
		if errors.Is(err, s) {
			return s
		}
	}
	return err
}

// collect gathers the paths of all names, layer trees included, and checks that
// the sizes of links are right.
func collect(t *rapid.T, v *View, root string, paths *[]string) {
	ino := RootIno
	if n, ok := strings.CutPrefix(root, "/.peelfs/layers/"); ok {
		ino = v.LayerRoot(int(n[0] - '0'))
	}
	a, err := v.Attr(t.Context(), ino)
	if err != nil {
		t.Fatal(err)
	}
	err = walkFrom(t.Context(), v, root, a, func(path string, a Attr) error {
		*paths = append(*paths, path)
		if a.Kind == index.Symlink {
			text, err := v.Readlink(t.Context(), a.Ino)
			if err != nil || int64(len(text)) != a.Size {
				t.Fatalf("%s -> %q, %v; size %d", path, text, err, a.Size)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Images made to lead out through what the mount adds to the root.
func TestRewriteThroughMetaDir(t *testing.T) {
	text := ".peelfs/layers/0/l/l/l/l/l/l" + strings.Repeat("/..", 7) + "/x"
	for _, decoy := range []string{"layers/0/l/l/l/l/l/l/", ".peelfs/layers/0/l/l/l/l/l/l/"} {
		v := viewOf(stack(tarball{tt.Symlink("l", "/")}, tarball{tt.Dir(decoy), tt.Symlink("evil", text), tt.Symlink("d/more", "../evil")}), Options{})
		for _, path := range []string{"evil", "d/more"} {
			h := host{v: v}
			if ino, err := h.walk(t.Context(), path); errors.Is(err, errEscaped) {
				t.Errorf("with %s: %s leads out of the mount, to %#x", decoy, path, ino)
			}
			if !h.meta {
				t.Errorf("with %s: %s does not lead through %s", decoy, path, MetaDir)
			}
		}
	}
}
