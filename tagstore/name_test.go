package tagstore

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/peelfs/peelfs/internal/errkind"
)

func TestCanonical(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"debian", "docker.io/library/debian:latest"},
		{"debian:bookworm", "docker.io/library/debian:bookworm"},
		{"docker://u/r:1", "docker.io/u/r:1"},
		{"localhost:5000/a/b/c:1", "localhost:5000/a/b/c:1"},
		{"debian@" + dg("x").String(), "docker.io/library/debian@" + dg("x").String()},
		{"oci:/some dir:1", "oci:/some dir:1"},
		{"foo/bar_", "docker.io/foo/bar_:latest"}, // docker 1.x only
		{"old.example:5000/a..b:x", "old.example:5000/a..b:x"},
		{"_x", "docker.io/library/_x:latest"},
	} {
		got, err := Canonical(c.in)
		if err != nil || got != c.want {
			t.Errorf("%s: %s, %v; want %s", c.in, got, err, c.want)
		}
	}
	for _, bad := range []string{"", "a/B", "a b", "a:b:c", "../x", "x:" + strings.Repeat("t", 129), strings.Repeat("a", 64) + "/" + strings.Repeat("b", 300), "oci:a\nb"} {
		if got, err := Canonical(bad); !errkind.Is(err, errkind.Invalid) {
			t.Errorf("%q is taken as %q, %v", bad, got, err)
		}
	}
}

func TestCanonicalStrict(t *testing.T) {
	got, err := CanonicalStrict("mine")
	if err != nil || got != "docker.io/library/mine:latest" {
		t.Errorf("%s, %v", got, err)
	}
	for _, bad := range []string{"foo/bar_", "a@" + dg("x").String(), "oci:/x", "a..b"} {
		if got, err := CanonicalStrict(bad); err == nil {
			t.Errorf("%s is taken as %s", bad, got)
		}
	}
}

// Canonical names are fixed points, and no two names share a file.
func TestNamesAndFiles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[a-z0-9._~%/:@-]{1,20}|[a-z]{200,300}`)
		a, b := word.Draw(t, "a"), word.Draw(t, "b")
		if (fileName(a) == fileName(b)) != (a == b) {
			t.Fatalf("%q and %q are in %q and %q", a, b, fileName(a), fileName(b))
		}
		if f := fileName(a); len(f) > 255 || strings.ContainsAny(f, "/\x00") || f[0] == '.' {
			t.Fatalf("file name %q", f)
		}
		if c, err := Canonical(a); err == nil {
			if again, err := Canonical(c); err != nil || again != c {
				t.Fatalf("%q is %q is %q, %v", a, c, again, err)
			}
		}
	})
}

func FuzzCanonical(f *testing.F) {
	for _, s := range []string{"debian", "r:5000/a/b:c", "foo/bar_", "oci:/x:y", "a@sha256:" + strings.Repeat("0", 64)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := Canonical(s)
		if err != nil {
			return
		}
		if again, err := Canonical(c); err != nil || again != c {
			t.Fatalf("%q is %q is %q, %v", s, c, again, err)
		}
		if n := fileName(c); len(n) > 255 || strings.Contains(n, "/") {
			t.Fatalf("file name %q", n)
		}
	})
}
