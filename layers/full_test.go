package layers

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/layers/cachedir"
)

// smallDisk is a directory on a file system of its own with the given size.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can mount a small file system to fill")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func TestAFullDiskServesReadsUncached(t *testing.T) {
	tar, files := bigTar()
	for name, blob := range map[string][]byte{"gzip": gz(tar), "plain": tar, "zstd": zst(tar)} {
		t.Run(name, func(t *testing.T) {
			dir := smallDisk(t, "1500k")
			s := openTestStore(t, dir, Options{})
			src, b := sourceOf(tar, blob)
			l := s.Layer(src)
			if content(t, l, "f13") != files["f13"] || content(t, l, "big") != files["big"] {
				t.Fatal("wrong content")
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "tmp", "*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			t.Logf("%d requests", b.requests.Load())
			if _, err := s.Verify(t.Context(), func(p Problem) { t.Errorf("%+v", p) }); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// What was to be local and is not has to be said, with what to do.
func TestFillingAFullDiskFails(t *testing.T) {
	tar, _ := bigTar()
	dir := smallDisk(t, "1500k")
	var text bytes.Buffer
	s, err := OpenStore(dir, Options{Logger: slog.New(slog.NewTextHandler(&text, nil))})
	must(t, err)
	src, _ := sourceOf(tar, gz(tar))
	if err := s.Layer(src).Fill(t.Context()); !errkind.Is(err, errkind.LocalFull) || !strings.Contains(errkind.Hint(err), "prune") {
		t.Errorf("%v, hint %q", err, errkind.Hint(err))
	}
	if n := strings.Count(text.String(), "cannot take a span"); n != 1 {
		t.Errorf("said %d times:\n%s", n, text.String())
	}
	must(t, s.Close()) // what it holds in memory goes
	must(t, unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=64m"))
	l := openTestStore(t, dir, Options{}).Layer(src)
	if err := l.Fill(t.Context()); err != nil || l.Status().State != Complete {
		t.Errorf("with room again: %v, %v", err, l.Status().State)
	}
}

// However early the disk fills, a layer is listed and read all the same, and once
// there is room everything is kept.
func TestADiskThatFillsAnywhere(t *testing.T) {
	tar, files := bigTar()
	src, _ := sourceOf(tar, gz(tar))
	for kb := 16; kb <= 512; kb += 31 {
		dir := smallDisk(t, fmt.Sprintf("%dk", kb))
		s, err := OpenStore(dir, Options{})
		must(t, err)
		mustHave(t, s.Layer(src), files)
		s.Close()
		must(t, unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=64m"))
		s = openTestStore(t, dir, Options{})
		mustHave(t, s.Layer(src), files)
		s.Close()
	}
}

// fillUp takes all room of the disk that dir is on.
func fillUp(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "ballast"))
	must(t, err)
	defer f.Close()
	for _, n := range []int{1 << 20, 4096, 1} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, n))
		}
	}
	if !cachedir.IsFull(err) {
		t.Fatal(err)
	}
}

// What fills the disk belongs to nobody: a cold layer is listed and read, by every
// kind of index, and is kept as soon as there is room, without opening it anew.
func TestAColdLayerOnAFullDisk(t *testing.T) {
	tar, _ := bigTar()
	soci, _ := indexedLayers(t)
	estargz, _ := fixtureLayers(t, "estargz")
	zstd, _ := fixtureLayers(t, "zstdchunked")
	gzip, _ := sourceOf(tar, gz(tar))
	unnamed := gzip
	unnamed.Digest, unnamed.Alias = "", "somebody's layer"
	for name, src := range map[string]Source{"gzip": gzip, "soci": soci[0], "estargz": estargz[0], "zstd:chunked": zstd[0], "without a name": unnamed} {
		t.Run(name, func(t *testing.T) {
			plain := openTestStore(t, t.TempDir(), Options{}).Layer(Source{Digest: src.Digest, Alias: src.Alias, Blob: src.Blob})
			dir := smallDisk(t, "2m")
			s := openTestStore(t, dir, Options{})
			s.shared.RoomAgain = 0
			fillUp(t, dir)
			l := s.Layer(src)
			x, err := l.Index(t.Context())
			must(t, err)
			sameContents(t, l, plain, x)
			if err := l.Fill(t.Context()); !errkind.Is(err, errkind.LocalFull) || !strings.Contains(errkind.Hint(err), "prune --data") {
				t.Errorf("Fill: %v, hint %q", err, errkind.Hint(err))
			}
			must(t, unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=64m"))
			if a := l.current.Load(); a.Data.IsNowhere() {
				sameContents(t, l, plain, x)
				l.crew.Wait()
			}
			sameContents(t, l, plain, x)
			if st := l.Status(); st.SpansPresent < st.Spans-1 { // all but a table's own
				t.Errorf("with room again: %+v", st)
			}
			if p := verifyAll(t, s); len(p) > 0 {
				t.Error(p)
			}
		})
	}
}

// A full disk gets room from layers that nobody uses and nobody pinned.
func TestAFullDiskGetsRoomFromIdleLayers(t *testing.T) {
	tar, files := bigTar()
	dir := smallDisk(t, "24m")
	layer := func(i int) Source {
		src, _ := sourceOf(tar, append(gz(tar), gz([]byte(strings.Repeat("\x00", 512*(i+1))))...))
		src.DiffID = ""
		return src
	}
	// Each has some 7 MB of data: 0 is pinned, 1 is open, 2 is idle.
	used := openTestStore(t, dir, Options{})
	for _, i := range []int{0, 2} {
		s := openTestStore(t, dir, Options{})
		must(t, s.Layer(layer(i)).Fill(t.Context()))
		s.Close()
	}
	must(t, used.Pin(layer(0).Digest))
	must(t, used.Layer(layer(1)).Fill(t.Context()))
	data := func(i int) int64 {
		for _, c := range used.List() {
			if c.Digest == layer(i).Digest {
				return c.Data
			}
		}
		return 0
	}
	if data(0) == 0 || data(1) == 0 || data(2) == 0 {
		t.Fatalf("%d, %d, %d bytes", data(0), data(1), data(2))
	}
	l := openTestStore(t, dir, Options{}).Layer(layer(3))
	if err := l.Fill(t.Context()); err != nil || l.Status().State != Complete {
		t.Errorf("%v, %v", err, l.Status().State)
	}
	mustHave(t, l, files)
	if data(0) == 0 || data(1) == 0 || data(2) != 0 {
		t.Errorf("pinned %d, open %d, idle %d bytes", data(0), data(1), data(2))
	}
}

// A layer that can only be decoded from its start, and is too large for memory, is
// read by passes that keep a window of it.
func TestALayerTooLargeForMemoryOnAFullDisk(t *testing.T) {
	var text strings.Builder
	for i := 0; text.Len() < 40<<20; i++ {
		fmt.Fprintf(&text, "%x line %d\n", i*i*2654435761, i)
	}
	tar := tartest.Of(tartest.File("big", text.String()), tartest.File("small", "small"))
	for name, blob := range map[string][]byte{"zstd": zst(tar)} {
		t.Run(name, func(t *testing.T) {
			dir := smallDisk(t, "24m")
			s := openTestStore(t, dir, Options{})
			src, b := sourceOf(tar, blob)
			l := s.Layer(src)
			mustHave(t, l, map[string]string{"big": text.String(), "small": "small"})
			if n := b.requests.Load(); n > 12 {
				t.Errorf("%d passes", n)
			}
			x, err := l.Index(t.Context())
			must(t, err)
			if x.Spans() != 1 {
				t.Errorf("%d spans; this is a test of one", x.Spans())
			}
			id, _ := x.Find(0, "big")
			p := make([]byte, 1000)
			for _, off := range []int64{8<<20 - 512 - 500, 30 << 20, 100, 16 << 20} { // across windows, and back
				_, err := l.ReadAt(t.Context(), id, p, off)
				must(t, err)
				if string(p) != text.String()[off:][:len(p)] {
					t.Errorf("wrong bytes at %d", off)
				}
			}
			if err := l.Fill(t.Context()); !errkind.Is(err, errkind.LocalFull) {
				t.Errorf("Fill: %v", err)
			}
			if n := l.store.List()[0].Data; n > 1<<20 {
				t.Errorf("%d bytes of a span that is not kept are on the disk", n)
			}
			must(t, unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=90m"))
			mustHave(t, l, map[string]string{"small": "small"})
			must(t, l.Fill(t.Context()))
			if st := l.Status(); st.State != Complete {
				t.Errorf("with room again: %v", st.State)
			}
			if p := verifyAll(t, s); len(p) > 0 {
				t.Error(p)
			}
		})
	}
}
