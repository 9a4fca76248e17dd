package layers

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/mapfault"
	"github.com/peelfs/peelfs/internal/tartest"
)

// cuts are lengths that a file may be cut to.
var cuts = map[string]func(size int64) int64{
	"to nothing":    func(int64) int64 { return 0 },
	"to half":       func(n int64) int64 { return n / 2 },
	"by a byte":     func(n int64) int64 { return n - 1 },
	"to a page":     func(n int64) int64 { return min(n-1, 4096) },
	"within a page": func(n int64) int64 { return n/2 | 1 },
}

// A layer goes on while its files are cut short, whichever and wherever; others
// notice nothing.
func TestFilesCutUnderAnOpenLayer(t *testing.T) {
	tar, files := bigTar()
	for _, file := range []string{"index", "present.tar", "data.tar"} {
		for name, cut := range cuts {
			t.Run(file+" "+name, func(t *testing.T) {
				s := openTestStore(t, t.TempDir(), Options{})
				src, _ := sourceOf(tar, gz(tar))
				l := s.Layer(src)
				mustHave(t, l, files)
				otherTar := tartest.Of(tartest.File("other", words(99, 100<<10)))
				otherSrc, otherBlob := sourceOf(otherTar, gz(otherTar))
				other := s.Layer(otherSrc)
				otherFiles := map[string]string{"other": words(99, 100<<10)}
				mustHave(t, other, otherFiles)
				asked := otherBlob.requests.Load()

				truncate(t, s, src, file, cut)
				if err := mapfault.Catch(func() error { l.Status(); return nil }); err != nil {
					t.Error(err)
				}
				for range 2 {
					mustHaveDespiteFaults(t, l, files)
				}
				mustHave(t, other, otherFiles)
				if n := otherBlob.requests.Load(); n != asked {
					t.Errorf("%d more requests for the other layer", n-asked)
				}
				if v, err := s.Verify(t.Context(), func(p Problem) { t.Errorf("%+v", p) }); err != nil || v.Bytes == 0 {
					t.Errorf("verified %+v, %v", v, err)
				}
			})
		}
	}
}

func truncate(t *testing.T, s *Store, src Source, file string, cut func(int64) int64) {
	t.Helper()
	dir, err := s.cache.LayerDir(src.Digest)
	must(t, err)
	path := filepath.Join(dir, file)
	info, err := os.Stat(path)
	must(t, err)
	must(t, os.Truncate(path, cut(info.Size())))
}

// mustHaveDespiteFaults is mustHave for a caller that looks names up in an index
// which may be cut: as a view does, it starts over.
func mustHaveDespiteFaults(t *testing.T, l *Layer, files map[string]string) {
	t.Helper()
	for range maxHeals {
		x, err := l.Index(t.Context())
		must(t, err)
		var fault *mapfault.Fault
		err = mapfault.Catch(func() error {
			x.Sound()
			x.MustBeWhole()
			mustHave(t, l, files)
			return nil
		})
		if !errors.As(err, &fault) {
			must(t, err)
			return
		}
	}
	t.Error("it faults again and again")
}

// A span that comes after the data file was cut must not make the file long again:
// other spans, which count as present, would read as zeros.
func TestASpanThatComesToACutFileShowsNoHoles(t *testing.T) {
	tar, files := bigTar()
	s := openTestStore(t, t.TempDir(), Options{})
	src, _ := sourceOf(tar, gz(tar))
	l := s.Layer(src)
	mustHave(t, l, files)
	a, err := l.acquire(t.Context())
	must(t, err)
	h, err := a.Data.TryLock(a.Index.Spans() - 2)
	must(t, err)
	h.Drop()
	h.Release()
	truncate(t, s, src, "data.tar", func(int64) int64 { return 0 })
	must(t, l.Fill(t.Context()))
	mustHave(t, l, files)
}

// What another process makes of cut files is not what this one has open.
func TestTwoStoresAndACutFile(t *testing.T) {
	tar, files := bigTar()
	for _, file := range []string{"present.tar", "data.tar"} {
		t.Run(file, func(t *testing.T) {
			dir := t.TempDir()
			src, _ := sourceOf(tar, gz(tar))
			s := openTestStore(t, dir, Options{})
			one, two := s.Layer(src), openTestStore(t, dir, Options{}).Layer(src)
			mustHave(t, one, files)
			layerDir, _ := s.cache.LayerDir(src.Digest)
			if file == "present.tar" {
				must(t, os.Remove(filepath.Join(layerDir, file)))
			} else {
				truncate(t, s, src, file, func(int64) int64 { return 0 })
			}
			x, err := two.Index(t.Context())
			must(t, err)
			id, _ := x.Find(0, "f07")
			p := make([]byte, 100)
			if _, err := two.ReadAt(t.Context(), id, p, 0); err != nil || !bytes.Equal(p, []byte(files["f07"][:100])) {
				t.Errorf("the second store: %v", err)
			}
			mustHave(t, one, files)
			mustHave(t, two, files)
		})
	}
}

// While the source is away the damaged layer fails, and it alone; it comes back
// with the source.
func TestADamagedLayerWhoseSourceIsAway(t *testing.T) {
	tar, files := bigTar()
	s := openTestStore(t, t.TempDir(), Options{})
	src, blob := sourceOf(tar, gz(tar))
	l := s.Layer(src)
	mustHave(t, l, files)
	x, err := l.Index(t.Context())
	must(t, err)
	id, _ := x.Find(0, "big")
	away := errkind.New(errkind.Unavailable, "the source is away")
	blob.fail.Store(&away)
	truncate(t, s, src, "present.tar", func(int64) int64 { return 0 })
	if _, err := l.ReadAt(t.Context(), id, make([]byte, 10), 0); !errkind.Is(err, errkind.Unavailable) {
		t.Errorf("%v, want the source's error", err)
	}
	blob.fail.Store(nil)
	if a := l.current.Load(); a != nil {
		a.Forget() // the failure that is remembered
	}
	mustHave(t, l, files)
}
