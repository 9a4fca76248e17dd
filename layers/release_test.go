package layers

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
)

// openBelow counts the files below dir that this process has open or mapped.
func openBelow(t *testing.T, dir string) (n int) {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	must(t, err)
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && strings.HasPrefix(to, dir) {
			n++
		}
	}
	maps, err := os.ReadFile("/proc/self/maps")
	must(t, err)
	return n + strings.Count(string(maps), dir)
}

func TestReleaseClosesALayerWithItsLastReference(t *testing.T) {
	tar, files := bigTar()
	src, _ := sourceOf(tar, gz(tar))
	dir := t.TempDir()
	s := openTestStore(t, dir, Options{})
	before := openBelow(t, dir)
	a, b := s.Layer(src), s.Layer(src)
	if a != b {
		t.Fatal("two Layers for one digest")
	}
	mustHave(t, a, files)
	must(t, a.Release())
	mustHave(t, b, files)
	must(t, b.Release())
	if n := openBelow(t, dir); n != before {
		t.Errorf("%d files stay open or mapped", n-before)
	}
	if c := openTestStore(t, dir, Options{}).List(); c[0].InUse {
		t.Error("the lease stays")
	}
	again := s.Layer(src)
	mustHave(t, again, files)
	must(t, again.Release())
}

// Two images may name one blob with two diffIDs, one of which is wrong: each of
// them gets what it said, in one process too.
func TestReferencesOfAnotherDiffIDAreApart(t *testing.T) {
	tar, files := bigTar()
	src, _ := sourceOf(tar, gz(tar))
	s := openTestStore(t, t.TempDir(), Options{})
	mustHave(t, s.Layer(src), files)
	src.DiffID = digest.FromString("another")
	if _, err := s.Layer(src).Index(t.Context()); err == nil {
		t.Error("an image is believed that lies about its layer")
	}
}

func TestReferencesComeAndGo(t *testing.T) {
	tar, files := bigTar()
	src, _ := sourceOf(tar, gz(tar))
	s := openTestStore(t, t.TempDir(), Options{})
	var users sync.WaitGroup
	for range 8 {
		users.Go(func() {
			for range 10 {
				l := s.Layer(src)
				mustHave(t, l, files)
				if err := l.Release(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	users.Wait()
	if n := len(s.mu.layers); n > 0 {
		t.Errorf("%d layers stay", n)
	}
}

// What an image pinned by digest does not believe of a layer, it does not believe
// because another image in the process does.
func TestReferencesOfAnotherBeliefAreApart(t *testing.T) {
	tar, _ := bigTar()
	src, _ := sourceOf(tar, gz(tar))
	s := openTestStore(t, t.TempDir(), Options{})
	only := func(d digest.Digest) func(context.Context) (digest.Digest, error) {
		return func(context.Context) (digest.Digest, error) { return d, nil }
	}
	one, other, none := src, src, src
	one.OnlyZtoc, one.ZtocIndex = only("sha256:1"), "sha256:a"
	other.OnlyZtoc, other.ZtocIndex = only("sha256:2"), "sha256:b"
	none.OnlyZtoc = only("")
	seen := map[*Layer]bool{}
	for _, src := range []Source{src, one, other, none} {
		first, second := s.Layer(src), s.Layer(src)
		seen[first] = true
		if first != second {
			t.Error("one source is two layers")
		}
	}
	if len(seen) != 4 {
		t.Errorf("%d layers for four beliefs", len(seen))
	}
}
