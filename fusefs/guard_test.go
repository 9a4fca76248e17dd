package fusefs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/view"
)

// diskLayer is a memLayer whose index is a mapped file. An index that was cut is
// written again when it is asked for.
type diskLayer struct {
	*memLayer
	path string
	mu   struct {
		sync.Mutex
		opened []*index.Index // the last one is current
	}
}

// newDiskLayer is to be called before the layer is mounted: cleanups run in the
// opposite order, so that indexes are closed after the mount has ended.
func newDiskLayer(t *testing.T, l *memLayer) *diskLayer {
	d := &diskLayer{memLayer: l, path: filepath.Join(t.TempDir(), "index")}
	t.Cleanup(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, x := range d.mu.opened {
			x.Close()
		}
	})
	return d
}

func (l *diskLayer) Index(context.Context) (*index.Index, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.mu.opened); n > 0 && !l.mu.opened[n-1].Cut() {
		return l.mu.opened[n-1], nil
	}
	_ = os.Remove(l.path)
	if err := os.WriteFile(l.path, l.memLayer.idx.Bytes(), 0o600); err != nil {
		return nil, err
	}
	x, err := index.Open(l.path)
	if err != nil {
		return nil, err
	}
	l.mu.opened = append(l.mu.opened, x)
	return x, nil
}

// manyDirs is a layer of 30 directories of 30 files each, about 8 pages of index.
func manyDirs(t *testing.T, mark string) *memLayer {
	var entries []tartest.Entry
	for d := range 30 {
		entries = append(entries, tartest.Dir(fmt.Sprintf("%s%02d/", mark, d)))
		for f := range 30 {
			name := fmt.Sprintf("%s%02d/file-%02d", mark, d, f)
			entries = append(entries, tartest.File(name, name))
		}
	}
	return layerOf(t, entries...)
}

// The kernel is told the right thing of a tree whose index files are cut while it
// asks, wherever they are cut.
func TestAMountOutlivesIndexFilesThatAreCut(t *testing.T) {
	a, b := manyDirs(t, "a"), manyDirs(t, "b")
	plain, _ := mounted(t, viewOf(a, b), Options{})
	want := runChild(t, "dump", plain)
	size := int64(len(a.idx.Bytes()))
	for _, cut := range []int64{0, 4096, size/2 | 1, size - 1} {
		t.Run(fmt.Sprint("to ", cut, " of ", size), func(t *testing.T) {
			disk := newDiskLayer(t, a)
			dir, s := mounted(t, view.New([]view.Layer{disk, b}, view.Options{Symlinks: view.Raw}), Options{})
			run(t, "ls", "-l", dir) // has the index mapped, and some of it in the kernel
			if err := os.Truncate(disk.path, cut); err != nil {
				t.Fatal(err)
			}
			s.fs.(*tree).view.Whole() // as a request does, 20 ms after the one before
			if got := runChild(t, "dump", dir); got != want {
				t.Error(firstDifference(got, want))
			}
			if n := s.Stats().Failed; n != 0 {
				t.Errorf("%d requests failed", n)
			}
		})
	}
}

// Images of a library heal one by one.
func TestALibraryOutlivesIndexFilesThatAreCut(t *testing.T) {
	disk := newDiskLayer(t, manyDirs(t, "a"))
	lib := newTestLibrary(t, map[string]string{"h/a:1": "1"})
	lib.layer = disk
	dir := mountedLibrary(t, lib, time.Hour)
	name := filepath.Join(dir, "h/a:1")
	run(t, "ls", name)
	if err := os.Truncate(disk.path, 0); err != nil {
		t.Fatal(err)
	}
	if got := run(t, "cat", name+"/a23/file-07"); got != "a23/file-07" {
		t.Errorf("%q", got)
	}
}
