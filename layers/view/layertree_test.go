package view

import (
	"errors"
	"strings"
	"testing"

	tt "github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/layers/index"
)

// layerTreeOf is all that a layer tree shows below its root.
func layerTreeOf(t *testing.T, v *View, layer int) string {
	t.Helper()
	root, err := v.Attr(t.Context(), v.LayerRoot(layer))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	err = walkFrom(t.Context(), v, "", root, func(path string, a Attr) error {
		if path != "" {
			all = append(all, show(t, v, path[1:], a))
		}
		if v.LayerOf(a.Ino) != layer {
			t.Errorf("%s is of layer %d", path, v.LayerOf(a.Ino))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

func TestLayersOwnTrees(t *testing.T) {
	v := viewOf(stack(
		tarball{tt.Dir("./", tt.Mode(0o700)), tt.File("d/a", "1"), tt.File("f", "1"), tt.Link("g", "f"), tt.Symlink("d/l", "/f"), tt.Link("l", "d/l")},
		tarball{tt.Opaque("d"), tt.File("d/b", "2"), tt.Whiteout("f"), tt.Whiteout("e"), tt.Dir("e/"), tt.Link("k", "g"), tt.Whiteout("k"), tt.Whiteout("m/x"), tt.File("z", "2")},
		tarball{tt.Opaque("")},
	), Options{})
	for layer, want := range []string{
		"d/ d/a=1 d/l->../f f=1 g=1 l->f",
		".wh.e= .wh.f= .wh.k= d/ d/.wh..wh..opq= d/b=2 e/ m/ m/.wh.x= z=2",
		".wh..wh..opq=",
	} {
		if got := layerTreeOf(t, v, layer); got != want {
			t.Errorf("layer %d has %q, want %q", layer, got, want)
		}
		checkDir(t.Context(), t, v, func() *View { return v }, v.LayerRoot(layer))
	}
	if got := tree(t, v); got != "" {
		t.Errorf("the view shows %q", got)
	}
}

func TestLayersOwnTreesAreApart(t *testing.T) {
	v := rawView(tarball{tt.Dir("d/"), tt.File("d/f", "1"), tt.Link("g", "d/f")}, tarball{tt.Whiteout("g")})
	ctx := t.Context()
	d, err := v.Lookup(ctx, v.LayerRoot(0), "d")
	if err != nil {
		t.Fatal(err)
	}
	f, err := v.Lookup(ctx, d.Ino, "f")
	if err != nil {
		t.Fatal(err)
	}
	if merged := get(t, v, "d"); d.Ino == merged.Ino || !d.Ino.inLayerTree() || !f.Ino.inLayerTree() {
		t.Errorf("d is %#x and %#x", d.Ino, merged.Ino)
	}
	if merged := get(t, v, "d/f"); f.Nlink != 2 || merged.Nlink != 1 {
		t.Errorf("%d names in the layer, %d in the view", f.Nlink, merged.Nlink)
	}
	if p, err := v.Parent(ctx, d.Ino); p != v.LayerRoot(0) || err != nil {
		t.Errorf("parent %#x, %v", p, err)
	}
	if p, err := v.Parent(ctx, v.LayerRoot(0)); p != v.LayerRoot(0) || err != nil {
		t.Errorf("parent of the root %#x, %v", p, err)
	}
	for _, name := range []string{"x", "", ".", "..", ".wh.d", ".wh..wh..opq", ".wh."} {
		if a, err := v.Lookup(ctx, d.Ino, name); !errors.Is(err, ErrNotExist) {
			t.Errorf("Lookup(%q) = %+v, %v", name, a, err)
		}
	}
	if _, err := v.Lookup(ctx, f.Ino, "x"); !errors.Is(err, ErrNotDir) {
		t.Errorf("Lookup in a file: %v", err)
	}
	if _, err := v.Attr(ctx, v.LayerRoot(2)); !errors.Is(err, ErrStale) {
		t.Errorf("root of a layer that is not there: %v", err)
	}
}

func TestMarkersAreEmptyFiles(t *testing.T) {
	v := rawView(tarball{tt.Opaque("d"), tt.Whiteout("x"), tt.Whiteout("d"), tt.File("d/f", "1"), tt.Link("l", "lower"), tt.Whiteout("l")})
	for _, path := range []string{"d/.wh..wh..opq", ".wh.x", ".wh.d", ".wh.l"} {
		dir := v.LayerRoot(0)
		for name := range strings.SplitSeq(path, "/") {
			a, err := v.Lookup(t.Context(), dir, name)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			dir = a.Ino
		}
		a, err := v.Attr(t.Context(), dir)
		if err != nil || a.Kind != index.File || a.Size != 0 || a.Nlink != 1 {
			t.Errorf("%s: %+v, %v", path, a, err)
		}
		if n, err := v.ReadAt(t.Context(), dir, make([]byte, 4), 0); n != 0 || err != nil {
			t.Errorf("%s: read %d, %v", path, n, err)
		}
		if names, err := v.XattrNames(t.Context(), dir); len(names) != 0 || err != nil {
			t.Errorf("%s: xattrs %q, %v", path, names, err)
		}
		if _, err := v.ReadDir(t.Context(), dir); !errors.Is(err, ErrNotDir) {
			t.Errorf("%s: listing: %v", path, err)
		}
	}
}
