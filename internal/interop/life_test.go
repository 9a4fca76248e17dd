//go:build interop

package interop

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/internal/peers"
)

// serverOf is the process that serves dir, as `peelfs mounts` tells it.
func (b *box) serverOf(dir string) int {
	b.t.Helper()
	var mounts []struct {
		Mountpoint string `json:"mountpoint"`
		PID        int    `json:"pid"`
	}
	out := b.peelfs("mounts", "--format", "json")
	if err := json.Unmarshal([]byte(out), &mounts); err != nil {
		b.t.Fatalf("peelfs mounts --format json: %v in %s", err, out)
	}
	for _, m := range mounts {
		if m.Mountpoint == dir {
			return m.PID
		}
	}
	b.t.Fatalf("peelfs mounts does not list %s: %s", dir, out)
	return 0
}

// Every way to unmount ends the server and leaves the directory as it was.
func TestEveryWayToUnmount(t *testing.T) {
	ref, _ := pushFixture(t)
	for _, way := range [][]string{
		{"PEELFS", "umount", "DIR"},
		{"PEELFS", "umount", "-a"},
		{"umount", "DIR"},
		{"fusermount3", "-u", "DIR"},
	} {
		t.Run(strings.Join(way, " "), func(t *testing.T) {
			b := newBox(t)
			dir := b.mount(ref)
			pid := b.serverOf(dir)
			args := slices.Clone(way)
			for i := range args {
				args[i] = strings.NewReplacer("PEELFS", lab.peelfs, "DIR", dir).Replace(args[i])
			}
			cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
			cmd.Env = b.env()
			if _, err := peers.Finish(cmd); err != nil {
				t.Fatal(err)
			}
			eventually(t, "nothing is mounted and nobody serves", func() bool {
				return !isMounted(dir) && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
			})
			if err := os.Remove(dir); err != nil {
				t.Errorf("the mountpoint afterwards: %v", err)
			}
		})
	}
}

// Ctrl-C ends a mount in the foreground.
func TestInterruptEndsForeground(t *testing.T) {
	ref, _ := pushFixture(t)
	b := newBox(t)
	dir := b.mountpoint("mnt")
	t.Cleanup(func() { forceUnmount(dir) })
	cmd := b.command("mount", "-f", ref, dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the mount is there", func() bool { return isMounted(dir) })
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil && exitCode(err) != 130 {
		t.Errorf("after Ctrl-C: %v", err)
	}
	if isMounted(dir) {
		t.Error("still mounted after Ctrl-C")
	}
}

// The server of a mount is killed in the middle of its work. Its readers get
// errors, not waits; the next mount clears the dead one away and is whole.
func TestKilledServer(t *testing.T) {
	ref, _ := pushFixture(t)
	b := newBox(t)
	dir := b.mount(ref)
	if _, err := os.ReadFile(filepath.Join(dir, "back")); err != nil {
		t.Fatal(err)
	}
	pid := b.serverOf(dir)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the mount is dead", func() bool {
		var st unix.Statfs_t
		return errors.Is(unix.Statfs(dir, &st), unix.ENOTCONN)
	})
	b.mountAt(dir, ref)
	wantFixture(t, dir)
	b.umount(dir)
	if isMounted(dir) {
		t.Error("a second mount lies under the first")
	}
	b.peelfs("cache", "verify")
}

// With the registry gone, what was read is there by name, across mounts.
func TestWorksWithoutRegistry(t *testing.T) {
	ref, _ := pushFixture(t)
	b := newBox(t)
	dir := b.mount(ref)
	wantFixture(t, dir)
	b.umount(dir)
	lab.reg.Hide()
	defer show(t)
	wantFixture(t, b.mount(ref))
}

// A read that the registry cannot answer fails, and works when it is back.
func TestReadFailsAndRecovers(t *testing.T) {
	ref, _ := pushFixture(t)
	b := newBox(t)
	dir := b.mount(ref, "--io-timeout=1s")
	lab.reg.Hide()
	shown := false
	defer func() {
		if !shown {
			show(t)
		}
	}()
	if _, err := os.ReadFile(filepath.Join(dir, "back")); !errors.Is(err, syscall.EIO) && !errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("a read without the registry: %v", err)
	}
	show(t)
	shown = true
	eventually(t, "reads work again", func() bool {
		got, err := os.ReadFile(filepath.Join(dir, "back"))
		return err == nil && string(got) == "again"
	})
	wantFixture(t, dir)
}
