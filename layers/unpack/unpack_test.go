package unpack

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/internal/errkind"
	tt "github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/query"
	"github.com/peelfs/peelfs/layers/tarindex"
	"github.com/peelfs/peelfs/layers/view"
)

// memLayer is a layer in memory. Reads of the file at broken fail.
type memLayer struct {
	tar    []byte
	idx    *index.Index
	broken string
}

var errBroken = errors.New("broken on purpose")

func (l *memLayer) Index(context.Context) (*index.Index, error) { return l.idx, nil }

func (l *memLayer) ReadAt(_ context.Context, id uint32, p []byte, off int64) (int, error) {
	if l.broken != "" && l.idx.Path(id) == l.broken && off > 0 {
		return 0, errBroken
	}
	e := l.idx.Entry(id)
	return copy(p[:min(int64(len(p)), e.Size-off)], l.tar[e.Data+off:]), nil
}

func layerOf(t *testing.T, entries ...tt.Entry) *memLayer {
	t.Helper()
	data := tt.Of(entries...)
	b := index.NewBuilder()
	if err := tarindex.Tar(bytes.NewReader(data), b); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := b.Write(&out, index.Header{SpaceSize: int64(len(data)), BlobSize: -1}, nil, nil); err != nil {
		t.Fatal(err)
	}
	x, err := index.OpenBytes(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return &memLayer{tar: data, idx: x}
}

func viewOf(layers ...*memLayer) *view.View {
	var parts []view.Layer
	for _, l := range layers {
		parts = append(parts, l)
	}
	return view.New(parts, view.Options{Symlinks: view.Raw})
}

func entry(t *testing.T, v *view.View, path string) query.Entry {
	t.Helper()
	e, err := query.Find(t.Context(), v, path, false)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// copyTo copies path into dir, under name.
func copyTo(t *testing.T, dir string, v *view.View, path, name string) (Losses, error) {
	t.Helper()
	d, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	err = d.Add(t.Context(), v, entry(t, v, path), name)
	return d.Losses(), errors.Join(err, d.Close(t.Context()))
}

func TestDir(t *testing.T) {
	v := viewOf(layerOf(t,
		tt.Dir("d/", tt.Mode(0o555), tt.MTime(5, 0)), tt.File("d/f", "content", tt.Mode(0o640), tt.MTime(-7, 9)),
		tt.Link("d/again", "d/f"), tt.Symlink("d/l", "/etc/passwd", tt.MTime(8, 0)), tt.Fifo("d/p", tt.Mode(0o600)),
		tt.File("d/sub/holes", strings.Repeat("\x00", 1<<20)+"end"), tt.File("d/tagged", "", tt.Xattr("user.a", "b\x00c")),
		tt.Link("d/sub/third", "d/f"),
	))
	dir := t.TempDir()
	if _, err := copyTo(t, dir, v, "/d", "copy"); err != nil {
		t.Fatal(err)
	}
	stat := func(name string) unix.Stat_t {
		t.Helper()
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(dir, "copy", name), &st); err != nil {
			t.Fatal(err)
		}
		return st
	}
	if st := stat("."); st.Mode&0o7777 != 0o555 || st.Mtim.Sec != 5 {
		t.Errorf("directory: mode %o, time %d", st.Mode, st.Mtim.Sec)
	}
	f := stat("f")
	if f.Mode != unix.S_IFREG|0o640 || f.Mtim != (unix.Timespec{Sec: -7, Nsec: 9}) || f.Nlink != 3 {
		t.Errorf("file: %+v", f)
	}
	if stat("again").Ino != f.Ino || stat("sub/third").Ino != f.Ino {
		t.Error("hard links are not kept")
	}
	if target, err := os.Readlink(filepath.Join(dir, "copy/l")); target != "/etc/passwd" || err != nil || stat("l").Mtim.Sec != 8 {
		t.Errorf("link to %s, %v", target, err)
	}
	if stat("p").Mode != unix.S_IFIFO|0o600 {
		t.Error("fifo")
	}
	if data, err := os.ReadFile(filepath.Join(dir, "copy/sub/holes")); len(data) != 1<<20+3 || string(data[1<<20:]) != "end" || err != nil {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	if st := stat("sub/holes"); st.Blocks*512 >= 1<<20 {
		t.Errorf("%d blocks: the hole is filled", st.Blocks)
	}
	value := make([]byte, 10)
	if n, err := unix.Getxattr(filepath.Join(dir, "copy/tagged"), "user.a", value); err == nil && string(value[:n]) != "b\x00c" {
		t.Errorf("%q", value[:n])
	}
}

// Whatever the image, and whatever was there: nothing outside is written.
func TestDirStaysInside(t *testing.T) {
	outside := t.TempDir()
	victim := filepath.Join(outside, "victim")
	reset := func() {
		if err := os.WriteFile(victim, []byte("untouched"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		what  string
		there func(dir string) error
		image []tt.Entry
		fails bool
	}{
		{"a link where a directory comes", func(dir string) error { return os.Symlink(outside, dir+"/d") },
			[]tt.Entry{tt.File("d/victim", "hit")}, true},
		{"a link where a file comes", func(dir string) error { return os.Symlink(victim, dir+"/f") },
			[]tt.Entry{tt.File("f", "hit")}, false},
		{"a link deeper down", func(dir string) error {
			return errors.Join(os.Mkdir(dir+"/a", 0o755), os.Symlink(outside, dir+"/a/b"))
		}, []tt.Entry{tt.File("a/b/victim", "hit")}, true},
		{"a link of the image itself", func(string) error { return nil },
			[]tt.Entry{tt.Symlink("out", outside), tt.File("z", "x")}, false},
		{"a file where a directory comes", func(dir string) error { return os.WriteFile(dir+"/d", nil, 0o600) },
			[]tt.Entry{tt.File("d/x", "")}, true},
		{"a directory where a file comes", func(dir string) error { return os.MkdirAll(dir+"/f/x", 0o700) },
			[]tt.Entry{tt.File("f", "")}, true},
		{"a hard link where a file comes", func(dir string) error { return os.Link(victim, dir+"/f") },
			[]tt.Entry{tt.File("f", "hit")}, false},
	} {
		dir, err := os.MkdirTemp(filepath.Dir(outside), "in-")
		if err != nil {
			t.Fatal(err)
		}
		reset()
		if err := c.there(dir); err != nil {
			t.Fatal(err)
		}
		_, err = copyTo(t, dir, viewOf(layerOf(t, c.image...)), "/", ".")
		if c.fails != (err != nil) || err != nil && !errkind.Is(err, errkind.Invalid) {
			t.Errorf("%s: %v", c.what, err)
		}
		if data, err := os.ReadFile(victim); string(data) != "untouched" || err != nil {
			t.Errorf("%s: the file outside is %q", c.what, data)
		}
		if names, _ := os.ReadDir(outside); len(names) != 1 {
			t.Errorf("%s: outside are %v", c.what, names)
		}
	}
}

// A file that cannot be read whole has no name, and the old one stays.
func TestNothingPartial(t *testing.T) {
	l := layerOf(t, tt.File("a", "whole"), tt.File("f", strings.Repeat("x", copyBuffer+1)))
	l.broken = "f"
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/f", []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := copyTo(t, dir, viewOf(l), "/", ".")
	if !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "/f") {
		t.Errorf("%v", err)
	}
	names, _ := os.ReadDir(dir)
	if fmt.Sprint(names) != "[- a - f]" {
		t.Errorf("left: %v", names)
	}
	if data, _ := os.ReadFile(dir + "/f"); string(data) != "old" {
		t.Errorf("%q", data)
	}
}

// A file that a second call replaces is not the one that further names of the first lead to.
func TestSeveralIntoOne(t *testing.T) {
	v := viewOf(layerOf(t, tt.File("a/f", "first"), tt.File("b/a/f", "second"), tt.Link("c/f", "a/f")))
	dir := t.TempDir()
	d, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, name string }{{"/a", "a"}, {"/b/a", "a"}, {"/c", "c"}} {
		if err := d.Add(t.Context(), v, entry(t, v, c.path), c.name); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a/f": "second", "c/f": "first"} {
		if data, err := os.ReadFile(filepath.Join(dir, name)); string(data) != want || err != nil {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
}

func TestTar(t *testing.T) {
	v := viewOf(
		layerOf(t, tt.Dir("d/", tt.Mode(0o1777)), tt.File("d/f", "content", tt.Mode(0o4755), tt.Owner(1<<31, 7), tt.MTime(-1, 500)),
			tt.Link("a", "d/f"), tt.Symlink("d/l", "../x"), tt.Char("d/null", 1, 3), tt.File("d/t", "", tt.Xattr("user.bin", "\x00=\n"))),
		layerOf(t, tt.Link("z", "d/f"), tt.Fifo("p")),
	)
	write := func() []byte {
		var out bytes.Buffer
		w := NewTar(&out)
		if err := errors.Join(w.Add(t.Context(), v, entry(t, v, "/"), "."), w.Close()); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	data := write()
	if !bytes.Equal(data, write()) {
		t.Error("two tars of one tree differ")
	}
	var got []string
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %c %o %d:%d %s%s%s %d", h.Name, h.Typeflag, h.Mode, h.Uid, h.Gid, h.Linkname, content, h.PAXRecords["SCHILY.xattr.user.bin"], h.Devminor))
		if h.Name == "a" && h.ModTime.UnixNano() != -1e9+500 {
			t.Errorf("time %v", h.ModTime)
		}
	}
	want := []string{
		"./ 5 755 0:0  0", "a 0 4755 2147483648:7 content 0", "d/ 5 1777 0:0  0", "d/f 1 4755 2147483648:7 a 0",
		"d/l 2 777 0:0 ../x 0", "d/null 3 600 0:0  3", "d/t 0 644 0:0 \x00=\n 0", "p 6 644 0:0  0", "z 1 4755 2147483648:7 a 0",
	}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// deepTree has files with two names on each of n levels.
func deepTree(t *testing.T, n int) *view.View {
	var entries []tt.Entry
	for i := range n {
		dir := strings.Repeat("d/", i)
		entries = append(entries, tt.File(dir+"a", fmt.Sprint(i)), tt.Link(dir+"z", dir+"a"))
	}
	return viewOf(layerOf(t, entries...))
}

// watcher measures what is in memory when a tar has nearly been written.
type watcher struct {
	at, n int
	heap  uint64
}

func (w *watcher) Write(p []byte) (int, error) {
	if w.n += len(p); w.heap == 0 && w.n >= w.at {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		w.heap = m.HeapAlloc
	}
	return len(p), nil
}

func TestTarsOfDeepTreesKeepNoPaths(t *testing.T) {
	const n = 2000 // all paths together are 12 MB
	v := deepTree(t, n)
	from := entry(t, v, "/")
	size := watcher{at: 1 << 60}
	for _, w := range []*watcher{&size, {}} {
		w.at = max(w.at, size.n*9/10)
		tw := NewTar(w)
		if err := errors.Join(tw.Add(t.Context(), v, from, "."), tw.Close()); err != nil {
			t.Fatal(err)
		}
		if w == &size {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			w.heap = m.HeapAlloc
		} else if grown := int64(w.heap) - int64(size.heap); grown > 4<<20 {
			t.Errorf("%d bytes more in memory", grown)
		}
	}
}

func TestDeepTreesTakeFewDescriptors(t *testing.T) {
	const n = 3 * maxOpen
	v := deepTree(t, n)
	dir := t.TempDir()
	if _, err := copyTo(t, dir, v, "/", "."); err != nil {
		t.Fatal(err)
	}
	at := dir
	for i := range n {
		a, err := os.ReadFile(at + "/a")
		z, errZ := os.ReadFile(at + "/z")
		if err != nil || errZ != nil || string(a) != fmt.Sprint(i) || string(z) != string(a) {
			t.Fatalf("level %d: %q %q %v %v", i, a, z, err, errZ)
		}
		at += "/d"
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	few := unix.Rlimit{Cur: maxOpen + 64, Max: limit.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
	if _, err := copyTo(t, t.TempDir(), v, "/", "."); err != nil {
		t.Error(err)
	}
}
