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

// Filling the disk at every point of making a layer ends in a right answer or in
// an error that says so, and once there is room everything works.
func TestADiskThatFillsAnywhere(t *testing.T) {
	tar, files := bigTar()
	src, _ := sourceOf(tar, gz(tar))
	for kb := 16; kb <= 512; kb += 31 {
		dir := smallDisk(t, fmt.Sprintf("%dk", kb))
		s, err := OpenStore(dir, Options{})
		if err != nil {
			if !errkind.Is(err, errkind.LocalFull) {
				t.Errorf("%d KiB: %v", kb, err)
			}
			continue
		}
		if _, err := s.Layer(src).Index(t.Context()); err != nil && !errkind.Is(err, errkind.LocalFull) {
			t.Errorf("%d KiB: %v (%v)", kb, err, errkind.Of(err))
		}
		s.Close()
		must(t, unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=64m"))
		s = openTestStore(t, dir, Options{})
		mustHave(t, s.Layer(src), files)
		s.Close()
	}
}
