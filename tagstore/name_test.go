package tagstore

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNewName(t *testing.T) {
	got, err := NewName("mine")
	if err != nil || got != "docker.io/library/mine:latest" {
		t.Errorf("%s, %v", got, err)
	}
	for _, bad := range []string{"foo/bar_", "a@" + dg("x").String(), "oci:/x", "a..b"} {
		if got, err := NewName(bad); err == nil {
			t.Errorf("%s is taken as %s", bad, got)
		}
	}
}

// No two names share a file.
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
	})
}
