package layers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/tartest"
)

// readOnlyCopy is a copy of the cache in dir, as a directory that cannot be written.
func readOnlyCopy(t *testing.T, dir string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can mount a directory read-only")
	}
	to := t.TempDir()
	must(t, os.CopyFS(to, os.DirFS(dir)))
	if err := unix.Mount(to, to, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("cannot mount a directory: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(to, unix.MNT_DETACH) })
	must(t, unix.Mount("", to, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	return to
}

// What a read-only cache has is served without its source, by every kind of index,
// after a comparison with its checksums; layers that decode in one piece too.
func TestAReadOnlyCacheIsServed(t *testing.T) {
	tar, _ := bigTar()
	large := tartest.Of(tartest.File("big", words(7, 33<<20)))
	soci, _ := indexedLayers(t)
	estargz, _ := fixtureLayers(t, "estargz")
	gzip, _ := sourceOf(tar, gz(tar))
	zstd, _ := sourceOf(large, zst(large))
	unnamed := gzip
	unnamed.Digest, unnamed.Alias = "", "somebody's layer"
	for name, src := range map[string]Source{"gzip": gzip, "soci": soci[0], "estargz": estargz[0], "zstd": zstd, "without a name": unnamed} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, err := OpenStore(dir, Options{})
			must(t, err)
			x, err := s.Layer(src).Index(t.Context())
			must(t, err)
			must(t, s.Layer(src).FillInBackground(t.Context()))
			plain := openTestStore(t, t.TempDir(), Options{}).Layer(Source{Digest: src.Digest, Alias: src.Alias, Blob: src.Blob})
			sameContents(t, s.Layer(src), plain, x)
			must(t, s.Close())

			src.Blob = &memBlob{} // nothing can be had from it
			ro := openTestStore(t, readOnlyCopy(t, dir), Options{})
			if !errkind.Is(ro.Writable(), errkind.LocalFull) || errkind.Hint(ro.Writable()) == "" {
				t.Errorf("Writable: %v", ro.Writable())
			}
			l := ro.Layer(src)
			if st := l.Status(); st.State != Complete {
				t.Errorf("%+v", st)
			}
			y, err := l.Index(t.Context())
			must(t, err)
			sameContents(t, l, plain, y)
			if list := ro.List(); len(list) != 1 || list[0].Status.State != Complete || !list[0].InUse {
				t.Errorf("%+v", list)
			}
			if p := verifyAll(t, ro); len(p) > 0 {
				t.Error(p)
			}
		})
	}
}

// What a read-only cache lacks, or has wrong, comes from the source and is held in
// memory.
func TestAReadOnlyCacheIsCompletedInMemory(t *testing.T) {
	tar, files := bigTar()
	src, _ := sourceOf(tar, gz(tar))
	for name, spoil := range map[string]func(dir string){
		"empty":         func(dir string) { must(t, os.RemoveAll(filepath.Join(dir, "layers"))) },
		"without data":  func(dir string) { must(t, os.Remove(one(t, dir, "data.tar"))) },
		"data is wrong": func(dir string) { flip(t, one(t, dir, "data.tar"), 1<<20) },
		"data is cut":   func(dir string) { must(t, os.Truncate(one(t, dir, "data.tar"), 1000)) },
		"index is cut":  func(dir string) { must(t, os.Truncate(one(t, dir, "index"), 1000)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openTestStore(t, dir, Options{})
			must(t, s.Layer(src).Fill(t.Context()))
			must(t, s.Close())
			spoil(dir)
			ro := openTestStore(t, readOnlyCopy(t, dir), Options{})
			mustHave(t, ro.Layer(src), files)
			if err := ro.Layer(src).Fill(t.Context()); !errkind.Is(err, errkind.LocalFull) || !strings.Contains(errkind.Hint(err), "--cache-dir") {
				t.Errorf("Fill: %v, hint %q", err, errkind.Hint(err))
			}
		})
	}
}

// one is the one file with a name among the files of layers.
func one(t *testing.T, dir, name string) string {
	t.Helper()
	all, _ := filepath.Glob(filepath.Join(dir, "layers", "*", "*", name))
	if len(all) != 1 {
		t.Fatal(all)
	}
	return all[0]
}

func TestAReadOnlyCacheIsNotChanged(t *testing.T) {
	tar, _ := bigTar()
	src, _ := sourceOf(tar, gz(tar))
	dir := t.TempDir()
	s := openTestStore(t, dir, Options{})
	must(t, s.Layer(src).Fill(t.Context()))
	must(t, s.Close())
	ro := openTestStore(t, readOnlyCopy(t, dir), Options{})
	for what, do := range map[string]func() error{
		"pin":   func() error { return ro.Pin(src.Digest) },
		"unpin": func() error { return ro.Unpin(src.Digest) },
		"prune": func() error {
			_, err := ro.Prune(PruneOptions{Keep: func(digest.Digest) bool { return false }})
			return err
		},
	} {
		if err := do(); !errkind.Is(err, errkind.LocalFull) || !strings.Contains(err.Error(), "cannot be written") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := OpenStore(filepath.Join(ro.dir, "missing"), Options{}); !errkind.Is(err, errkind.LocalFull) {
		t.Errorf("a directory that is missing: %v", err)
	}
}
