package fusefs

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/tartest"
)

// A question for the mount at a path is answered with the one that shows there.
func TestWhatLiesUponAMountIsNotTakenForIt(t *testing.T) {
	needRoot(t)
	dir, s := mounted(t, viewOf(layerOf(t, tartest.File("f", "x"))), Options{})
	covered := func() (ids []int) {
		list, err := List()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list {
			if m.Mountpoint == dir && m.Covered {
				ids = append(ids, m.ID)
			}
		}
		return ids
	}
	if id, ours, err := ShownAt(dir); id != s.MountID() || !ours || err != nil || len(covered()) != 0 {
		t.Errorf("mount %d, %v, %v; covered: %v", id, ours, err, covered())
	}
	for name, above := range map[string]string{"upon it": dir, "above it": filepath.Dir(dir)} {
		t.Run(name, func(t *testing.T) {
			if err := unix.Mount("above", above, "tmpfs", 0, ""); err != nil {
				t.Fatal(err)
			}
			defer unix.Unmount(above, unix.MNT_DETACH)
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			for _, opt := range []UnmountOptions{{}, {Force: true}, {MountID: s.MountID()}} {
				if err := Unmount(dir, opt); !errkind.Is(err, errkind.Mountpoint) {
					t.Errorf("%+v: %v", opt, err)
				}
			}
			if id, ours, err := ShownAt(dir); ours || err != nil {
				t.Errorf("mount %d counts as ours, %v", id, err)
			}
			if ids := covered(); !slices.Contains(ids, s.MountID()) {
				t.Errorf("covered: %v", ids)
			}
			if there, err := MountedIn(os.Getpid(), dir, s.MountID()); !there || err != nil {
				t.Errorf("it is gone: %v, %v", there, err)
			}
		})
	}
}
