package view

import (
	"testing"

	tt "github.com/peelfs/peelfs/internal/tartest"
)

// The links of a subtree that is a mount's root: those that stay below it are
// as short as they can be, and the others go by way of the directory that has the
// rest of the tree.
func TestRewriteInSubtree(t *testing.T) {
	files := tarball{tt.Dir("usr/bin/"), tt.Dir("usr/lib/x/"), tt.Dir("etc/alt/"), tt.File("f", ""), tt.Symlink("lib", "usr/lib")}
	for _, c := range []struct{ at, text, want string }{
		{"usr/l", "bin/a", "bin/a"},
		{"usr/l", "/usr/bin/a", "bin/a"},
		{"usr/l", "//usr/./bin//a", "./bin//a"},
		{"usr/l", "/usr", "."},
		{"usr/l", "/usr/", "."},
		{"usr/l", "..", ".peelfs/outside/"},
		{"usr/l", "../f", ".peelfs/outside/f"},
		{"usr/l", "../../../f", ".peelfs/outside/f"},
		{"usr/l", "../usr/bin", "bin"},
		{"usr/l", "/lib/x", ".peelfs/outside/lib/x"},
		{"usr/l", "bin/../../f", "bin/.././/f"}, // ".." behind a name stays
		{"usr/bin/l", "/etc/alt/vi", "../.peelfs/outside/etc/alt/vi"},
		{"usr/bin/l", "../lib/x", "../lib/x"},
		{"usr/bin/l", "../../f", "../.peelfs/outside/f"},
		{"usr/bin/l", "..", ".."},
		{"usr/bin/l", "/usr", ".."},
		{"usr/bin/l", "/usr/../f", ".././/f"},
		{"usr/lib/x/l", "/usr/lib/x", "../../lib/x"},
		{"usrlocal", "/f", "f"}, // outside of the subtree all is as without
		{"etc/alt/l", "/usr/bin/vi", "../../usr/bin/vi"},
		{"usr2/l", "/f", "../f"},
	} {
		layers := stack(append(files, tt.Symlink(c.at, c.text)))
		whole := viewOf(layers, Options{})
		v := viewOf(layers, Options{Subtree: Subtree{Path: "/usr", Ino: get(t, whole, "usr").Ino}})
		a, err := v.Resolve(t.Context(), c.at, false)
		if err != nil {
			t.Fatal(err)
		}
		got, err := v.Readlink(t.Context(), a.Ino)
		if err != nil || string(got) != c.want {
			t.Errorf("%s -> %s: %q, want %q (%v)", c.at, c.text, got, c.want, err)
		}
		if a.Size != int64(len(got)) {
			t.Errorf("%s -> %s: size %d of %q", c.at, c.text, a.Size, got)
		}
	}
}

// Deeper subtrees: what lies between the root and the subtree is outside too.
func TestRewriteInDeepSubtree(t *testing.T) {
	layers := stack(tarball{tt.Dir("a/b/c/"), tt.Symlink("a/b/c/l", "../../../x"), tt.Symlink("a/b/c/m", "../../y"), tt.Symlink("a/b/c/n", "/a/b/c/z"), tt.Symlink("a/b/c/o", "../../b/c/z")})
	v := viewOf(layers, Options{Subtree: Subtree{Path: "/a/b", Ino: get(t, viewOf(layers, Options{}), "a/b").Ino}})
	for at, want := range map[string]string{
		"l": "../.peelfs/outside/x", "m": "../.peelfs/outside/a/y", "n": "../c/z", "o": "../c/z",
	} {
		a := get(t, v, "a/b/c/"+at)
		got, err := v.Readlink(t.Context(), a.Ino)
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, want %q (%v)", at, got, want, err)
		}
	}
}
