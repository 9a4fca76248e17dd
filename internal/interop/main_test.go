//go:build interop

package interop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/peelfs/peelfs/internal/peers"
)

// lab is what all tests of a run share: the registry with the images in it, and
// podman's storage, which is slow to fill.
var lab struct {
	dir    string
	peelfs string
	reg    *peers.Registry
	podman *peers.Podman
}

const fixture = "../../testdata/fixture"

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if why := notHere(); why != "" {
		fmt.Println("interop: " + why)
		return 1
	}
	var err error
	if lab.dir, err = os.MkdirTemp("", "peelfs-interop-"); err != nil {
		fmt.Println("interop:", err)
		return 1
	}
	defer os.RemoveAll(lab.dir)
	// Other users' tests read below it.
	if err := os.Chmod(lab.dir, 0o755); err != nil {
		fmt.Println("interop:", err)
		return 1
	}
	if lab.peelfs, err = filepath.Abs("../../bin/peelfs"); err != nil {
		fmt.Println("interop:", err)
		return 1
	}
	if lab.reg, err = peers.StartRegistry(filepath.Join(lab.dir, "registry")); err != nil {
		fmt.Println("interop:", err)
		return 1
	}
	defer lab.reg.Close()
	if lab.podman, err = peers.NewPodman(filepath.Join(lab.dir, "containers")); err != nil {
		fmt.Println("interop:", err)
		return 1
	}
	defer lab.podman.Close()
	return m.Run()
}

func notHere() string {
	if os.Getuid() != 0 {
		return "needs root: device nodes, owners, chroot and podman's overlayfs"
	}
	for _, tool := range []string{"docker-registry", "skopeo", "umoci", "podman", "buildah", "mmdebstrap", "fusermount3", "rsync"} {
		if _, err := exec.LookPath(tool); err != nil {
			return err.Error() + "; `make interop` installs it"
		}
	}
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		return err.Error()
	} else {
		f.Close()
	}
	return ""
}

// must runs a command and returns its stdout; it ends the test if the command fails.
func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := capture(t.Context(), os.Environ(), name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// capture runs a command for at most two minutes.
func capture(ctx context.Context, env []string, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return peers.Run(ctx, env, name, args...)
}

// exitCode is what err says about how a command ended; -1 if it says nothing.
func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}

// A box is a user's machine in small: a cache, a place for mountpoints, and
// peelfs run with them.
type box struct {
	t     *testing.T
	dir   string
	cache string
	cred  *syscall.Credential // nil: root
}

func newBox(t *testing.T) *box {
	t.Helper()
	dir, err := os.MkdirTemp(lab.dir, "box-")
	if err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, dir: dir, cache: filepath.Join(dir, "cache")}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return b
}

func (b *box) env() []string {
	return append(os.Environ(),
		"PEELFS_CACHE="+b.cache,
		"HOME="+b.dir,
		"PEELFS_RUNTIME="+filepath.Join(b.dir, "run"),
		"NO_COLOR=1")
}

func (b *box) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(b.t.Context(), lab.peelfs, args...)
	cmd.Env, cmd.Dir = b.env(), b.dir
	if b.cred != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: b.cred}
	}
	return cmd
}

// try runs peelfs and returns its stdout.
func (b *box) try(args ...string) (string, error) { return peers.Finish(b.command(args...)) }

// peelfs runs peelfs and ends the test if it fails.
func (b *box) peelfs(args ...string) string {
	b.t.Helper()
	out, err := b.try(args...)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// mountpoint makes an empty directory.
func (b *box) mountpoint(name string) string {
	b.t.Helper()
	dir := filepath.Join(b.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	if b.cred != nil {
		if err := os.Chown(dir, int(b.cred.Uid), int(b.cred.Gid)); err != nil {
			b.t.Fatal(err)
		}
	}
	return dir
}

// mount mounts ref as the image has it, at a new directory, until the test ends.
func (b *box) mount(ref string, flags ...string) string {
	b.t.Helper()
	dir := b.mountpoint(fmt.Sprintf("mnt-%d", time.Now().UnixNano()))
	b.mountAt(dir, ref, flags...)
	return dir
}

func (b *box) mountAt(dir, ref string, flags ...string) {
	b.t.Helper()
	b.t.Cleanup(func() { forceUnmount(dir) })
	b.peelfs(append(append([]string{"mount", "--symlinks=raw"}, flags...), ref, dir)...)
	if !isMounted(dir) {
		b.t.Fatalf("peelfs mount %s returned, and %s is not mounted", ref, dir)
	}
}

func (b *box) umount(dir string) {
	b.t.Helper()
	b.peelfs("umount", dir)
	if isMounted(dir) {
		b.t.Fatalf("peelfs umount returned, and %s is still mounted", dir)
	}
}

func forceUnmount(dir string) {
	if isMounted(dir) {
		_ = exec.Command("umount", "-l", dir).Run()
	}
}

func isMounted(dir string) bool {
	table, err := os.ReadFile("/proc/self/mountinfo")
	return err == nil && strings.Contains(string(table), " "+dir+" ")
}

// eventually waits for a condition that another process brings about.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
