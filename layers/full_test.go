package layers

import (
	"fmt"
	"os"
	"path/filepath"
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
