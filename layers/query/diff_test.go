package query

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"pgregory.net/rapid"

	"github.com/peelfs/peelfs/internal/errkind"
	tt "github.com/peelfs/peelfs/internal/tartest"
)

func changes(t testing.TB, c Comparison, path string) []string {
	t.Helper()
	var out []string
	err := c.Diff(t.Context(), path, func(c Change) error {
		switch {
		case c.Old == nil:
			out = append(out, "A "+c.Path())
		case c.New == nil:
			out = append(out, "D "+c.Path())
		default:
			out = append(out, fmt.Sprintf("C %s %v", c.Path(), c.Aspects))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDiff(t *testing.T) {
	a := viewOf(layerOf(t,
		tt.File("same", "x"), tt.File("content", "abc"), tt.File("size", "1"), tt.File("mode", ""), tt.File("owner", ""),
		tt.File("xattr", "", tt.Xattr("user.a", "1")), tt.File("value", "", tt.Xattr("user.a", "1")),
		tt.Symlink("target", "x"), tt.Char("dev", 1, 3), tt.File("kind/below", ""), tt.File("gone/f", ""), tt.File("time", "", tt.MTime(1, 0)),
	))
	b := viewOf(layerOf(t,
		tt.File("same", "x"), tt.File("content", "abd"), tt.File("size", "12"), tt.File("mode", "", tt.Mode(0o600)), tt.File("owner", "", tt.Owner(1, 0)),
		tt.File("xattr", ""), tt.File("value", "", tt.Xattr("user.a", "2")),
		tt.Symlink("target", "y"), tt.Char("dev", 1, 5), tt.File("kind", ""), tt.File("new/f", ""), tt.File("time", "", tt.MTime(2, 0)),
	))
	want := []string{
		"C /content [content]", "C /dev [device]", "D /gone", "D /gone/f", "C /kind [type]", "D /kind/below", "C /mode [mode]",
		"A /new", "A /new/f", "C /owner [owner]", "C /size [content]", "C /target [target]", "C /value [xattrs]", "C /xattr [xattrs]",
	}
	c := Comparison{A: Side{View: a}, B: Side{View: b}}
	if got := changes(t, c, "/"); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	c.Times = true
	if got := changes(t, c, "/time"); !slices.Equal(got, []string{"C /time [mtime]"}) {
		t.Errorf("%q", got)
	}
	if got := changes(t, c, "/gone"); !slices.Equal(got, []string{"D /gone", "D /gone/f"}) {
		t.Errorf("%q", got)
	}
	if got := changes(t, c, "/kind/below"); !slices.Equal(got, []string{"D /kind/below"}) {
		t.Errorf("%q", got)
	}
	if err := c.Diff(t.Context(), "/nowhere", nil); !errkind.Is(err, errkind.NotFound) {
		t.Errorf("%v", err)
	}
}

// Content in a layer that both sides have is not read, nor are files of
// different sizes.
func TestDiffReadsLittle(t *testing.T) {
	base := layerOf(t, tt.File("shared", "xxx"), tt.File("moved/f", "yyy"))
	upper := layerOf(t, tt.File("longer", "12"), tt.File("equal", "12"))
	other := layerOf(t, tt.File("longer", "123"), tt.File("equal", "21"), tt.File("moved/g", ""))
	id := func(n int) Identity { return Identity{Blob: digest.FromString(fmt.Sprint(n))} }
	c := Comparison{
		A: Side{View: viewOf(base, upper), Layers: []Identity{id(0), id(1)}},
		B: Side{View: viewOf(base, other), Layers: []Identity{id(0), id(2)}},
	}
	want := []string{"C /equal [content]", "C /longer [content]", "A /moved/g"}
	if got := changes(t, c, "/"); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if base.reads.Load() != 0 || upper.reads.Load() != 1 || other.reads.Load() != 1 {
		t.Errorf("reads: %d of the base, %d, %d", base.reads.Load(), upper.reads.Load(), other.reads.Load())
	}
	// The same layers are the same image: not even the indexes are looked at.
	c.B = c.A
	c.B.View = nil
	if got := changes(t, c, "/"); len(got) > 0 {
		t.Errorf("%q", got)
	}
}

// A tree that a layer claims to have counts only if it was verified.
func TestIdentity(t *testing.T) {
	x, y := digest.FromString("x"), digest.FromString("y")
	for _, c := range []struct {
		a, b Identity
		want bool
	}{
		{Identity{}, Identity{}, false},
		{Identity{Blob: x}, Identity{Blob: x}, true},
		{Identity{Blob: x, Tar: x}, Identity{Blob: y, Tar: x}, true},
		{Identity{Blob: x}, Identity{Blob: y, Tar: x}, false},
	} {
		if c.a.same(c.b) != c.want {
			t.Errorf("%v and %v", c.a, c.b)
		}
	}
}

// Against a naive oracle: trees as maps from path to content.
func TestDiffProperty(t *testing.T) {
	tree := func(t *rapid.T, label string) map[string]string {
		return rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "c/a", "c/b", "d", "e/f/g"}), rapid.StringMatching("[xy]?"), 0, 6).Draw(t, label)
	}
	rapid.Check(t, func(rt *rapid.T) {
		a, b := tree(rt, "a"), tree(rt, "b")
		c := Comparison{A: Side{View: viewOf(layerOf(t, entriesOf(a)...))}, B: Side{View: viewOf(layerOf(t, entriesOf(b)...))}}
		var want []string
		da, db := withDirs(a), withDirs(b)
		for _, p := range slices.Sorted(maps.Keys(merged(da, db))) {
			x, inA := da[p]
			y, inB := db[p]
			switch {
			case !inA:
				want = append(want, "A /"+p)
			case !inB:
				want = append(want, "D /"+p)
			case x != y:
				want = append(want, fmt.Sprintf("C /%s [content]", p))
			}
		}
		got := changes(t, c, "/")
		slices.SortFunc(got, func(a, b string) int { return strings.Compare(a[2:], b[2:]) })
		if !slices.Equal(got, want) {
			rt.Fatalf("got %q, want %q", got, want)
		}
	})
}

func entriesOf(tree map[string]string) (out []tt.Entry) {
	for _, p := range slices.Sorted(maps.Keys(tree)) {
		out = append(out, tt.File(p, tree[p]))
	}
	return out
}

func withDirs(tree map[string]string) map[string]string {
	out := maps.Clone(tree)
	for p := range tree {
		for i := strings.LastIndexByte(p, '/'); i > 0; i = strings.LastIndexByte(p[:i], '/') {
			out[p[:i]] = "/"
		}
	}
	return out
}

func merged(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}
