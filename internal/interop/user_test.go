//go:build interop

package interop

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/peelfs/peelfs/internal/peers"
)

// nobody is a user without any rights.
const nobody = 65534

// asNobody gives the box to an ordinary user.
func (b *box) asNobody() *box {
	b.t.Helper()
	if err := os.Chown(b.dir, nobody, nobody); err != nil {
		b.t.Fatal(err)
	}
	shareFUSE(b.t)
	b.cred = &syscall.Credential{Uid: nobody, Gid: nobody}
	return b
}

// shareFUSE gives /dev/fuse to all users until the test ends.
func shareFUSE(t *testing.T) {
	t.Helper()
	restore, err := peers.ShareFUSE()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := restore(); err != nil {
			t.Error(err)
		}
	})
}

// shell runs a script as the box's user.
func (b *box) shell(script string) (string, error) {
	cmd := exec.CommandContext(b.t.Context(), "sh", "-c", script)
	cmd.Env, cmd.Dir = b.env(), b.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: b.cred}
	return peers.Finish(cmd)
}

// An ordinary user mounts through fusermount3, with a cache of their own, reads
// what only root might read in a running system, and unmounts.
func TestOrdinaryUser(t *testing.T) {
	ref, _ := pushFixture(t)
	b := newBox(t).asNobody()
	dir := b.mountpoint("mnt")
	t.Cleanup(func() { forceUnmount(dir) })
	b.peelfs("mount", "--symlinks=raw", ref, dir)

	got, err := b.shell("cd mnt && cat etc/os-release etc/shadow && find . | wc -l && stat -c '%u:%g %a' home/secret usr/bin/su")
	if err != nil {
		t.Fatal(err)
	}
	want := "NAME=\"Fixture\"\nVERSION_ID=\"2\"\nroot:*:1::::::\n"
	if !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "1000:1000 2750\n0:0 4755\n") {
		t.Errorf("the user saw %q", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "etc")); err == nil {
		t.Error("root sees into a user's mount without allow_other")
	}
	if owner := ownerOf(t, b.cache); owner != nobody {
		t.Errorf("the cache belongs to %d", owner)
	}
	mounts, err := b.try("mounts")
	if err != nil || !strings.Contains(mounts, dir) {
		t.Errorf("peelfs mounts: %q, %v", mounts, err)
	}
	b.peelfs("umount", dir)
	if isMounted(dir) {
		t.Error("still mounted")
	}
}

// fusermount3 itself unmounts a user's mount, and umount(8) does.
func TestOrdinaryUserUnmounts(t *testing.T) {
	ref, _ := pushFixture(t)
	for _, way := range []string{"fusermount3 -u mnt", "umount mnt"} {
		t.Run(way, func(t *testing.T) {
			b := newBox(t).asNobody()
			dir := b.mountpoint("mnt")
			t.Cleanup(func() { forceUnmount(dir) })
			b.peelfs("mount", ref, dir)
			if _, err := b.shell(way); err != nil {
				t.Error(err)
			}
			eventually(t, "it is unmounted", func() bool { return !isMounted(dir) })
		})
	}
}

// A program of the image runs for the user, straight from the mount.
func TestOrdinaryUserRunsPrograms(t *testing.T) {
	ref, _ := pushFixture(t)
	b := newBox(t).asNobody()
	dir := b.mountpoint("mnt")
	t.Cleanup(func() { forceUnmount(dir) })
	b.peelfs("mount", ref, dir)
	out, err := b.shell("mnt/bin/busybox echo from the mount || true; cp -r mnt/etc etc-copy && ls etc-copy | wc -l")
	if err != nil {
		t.Fatal(err)
	}
	t.Log(out)
}

func ownerOf(t *testing.T, path string) int {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return int(info.Sys().(*syscall.Stat_t).Uid)
}
