package cachedir

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"
)

func openTestCache(t *testing.T, dir string) *Cache {
	t.Helper()
	c, err := OpenCache(dir, slog.New(slog.DiscardHandler))
	must(t, err)
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestTemporaryFilesOfTheDeadAreSwept(t *testing.T) {
	dir := t.TempDir()
	c := openTestCache(t, dir)
	dead := filepath.Join(dir, TempDir, "new-1")
	must(t, os.WriteFile(dead, []byte("x"), 0o600))
	alive, err := c.TempFile()
	must(t, err)
	openTestCache(t, dir)
	if exists(dead) {
		t.Error("a dead process's file stays")
	}
	if !exists(alive.Name()) {
		t.Error("a living process's file is gone")
	}
	alive.Discard()
	if exists(alive.Name()) {
		t.Error("a discarded file stays")
	}
}

func TestTemporaryFilesInARemovedCache(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	c := openTestCache(t, dir)
	must(t, os.RemoveAll(dir))
	f, err := c.TempFile()
	must(t, err)
	path := filepath.Join(dir, "kept")
	must(t, f.Rename(path))
	f.Discard()
	if !exists(path) {
		t.Error("a file that was renamed is gone")
	}
}

func TestAliases(t *testing.T) {
	dir := t.TempDir()
	c := openTestCache(t, dir)
	if d := c.Learned("v1:a"); d != "" {
		t.Errorf("%s was learned from nothing", d)
	}
	want := digest.FromString("a")
	must(t, c.Learn("v1:a", want))
	if d := openTestCache(t, dir).Learned("v1:a"); d != want {
		t.Errorf("learned %q instead of %s", d, want)
	}
	for name, text := range map[string]string{
		"damaged":         `{`,
		"of another name": `{"alias":"v1:b","digest":"` + want.String() + `"}`,
		"no digest":       `{"alias":"v1:a","digest":"sha256:../../x"}`,
	} {
		must(t, os.WriteFile(c.aliasPath("v1:a"), []byte(text), 0o600))
		if d := c.Learned("v1:a"); d != "" {
			t.Errorf("%s: %q was learned", name, d)
		}
	}
}

func TestPinsAreOfLayersWithDigests(t *testing.T) {
	dir := t.TempDir()
	c := openTestCache(t, dir)
	d := digest.FromString("a")
	layer, err := c.LayerDir(d)
	must(t, err)
	must(t, c.Unpin(d)) // was never pinned
	must(t, c.Pin(d))
	if !pinned(layer) {
		t.Error("a pinned layer is not")
	}
	must(t, c.Unpin(d))
	if pinned(layer) {
		t.Error("an unpinned layer is pinned")
	}
	for _, bad := range []digest.Digest{"", "sha256:../../../x", "nothing"} {
		if err := c.Pin(bad); !errkind.Is(err, errkind.Invalid) {
			t.Errorf("pin %q: %v", bad, err)
		}
	}
}

// The small files may have been damaged, or come from other programs.
func TestFactsBesideAnIndex(t *testing.T) {
	dir := t.TempDir()
	if d := DiffID(dir, digest.SHA512); d != "" {
		t.Errorf("the digest %q comes from nowhere", d)
	}
	want := digest.SHA512.FromString("tar")
	must(t, WriteDiffID(dir, want))
	if d := DiffID(dir, digest.SHA512); d != want {
		t.Errorf("the digest %q instead of %s", d, want)
	}
	must(t, WriteDiffID(dir, digest.FromString("tar")))
	must(t, WriteLandmark(dir, 0))
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v: more than the digest was written", entries, err)
	}
	must(t, os.WriteFile(filepath.Join(dir, DiffIDPrefix+"sha512"), []byte(want.String()+strings.Repeat("x", 1<<20)), 0o600))
	if d := DiffID(dir, digest.SHA512); d == want || len(d) > maxFact {
		t.Errorf("%d bytes of a long file are believed", len(d))
	}
}
