package fusefs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/tartest"
)

func init() {
	children["try-mount"] = tryMount
	children["unmount"] = func(args []string) error { return Unmount(args[0], UnmountOptions{Force: len(args) > 1}) }
}

// tryMount prints how a mount fails.
func tryMount(args []string) error {
	s, err := Mount(args[0], empty(), Options{FSName: "peelfs:try", AllowOther: args[1] == "other", Suid: args[1] == "suid"})
	if err == nil {
		return s.Unmount(false)
	}
	fmt.Printf("%v | %v | %s", errkind.Of(err), err, errkind.Hint(err))
	return nil
}

func asNobody(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: nobody}
	return cmd
}

func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", cmd.Args, err, out)
	}
	return string(out)
}

func TestUserMounts(t *testing.T) {
	needFUSE(t)
	needRoot(t)
	dir := userDir(t)
	startServer(t, dir, nobody)
	m, err := mountAt(dir)
	if err != nil || m == nil {
		t.Fatal(m, err)
	}
	for _, o := range []string{"ro", "nosuid", "nodev"} {
		if !strings.Contains(","+m.Options+",", ","+o+",") {
			t.Errorf("mount options %q lack %s", m.Options, o)
		}
	}
	if m.FSType != fsType || m.Source != "peelfs:child" || !strings.Contains(m.VFSOptions, "max_read=1048576") {
		t.Errorf("mounted as %+v", m)
	}
	if got := output(t, asNobody(exec.Command("cat", dir+"/.peelfs/x"))); got != "text" {
		t.Errorf("read %q", got)
	}
	if out, err := exec.Command("cat", dir+"/.peelfs/x").CombinedOutput(); err == nil {
		t.Errorf("another user, root even, can read it: %s", out)
	}
	if got := output(t, asNobody(child("unmount", dir))); got != "" {
		t.Errorf("unmount said %s", got)
	}
	if m, _ := mountAt(dir); m != nil {
		t.Error("still mounted")
	}
}

func TestUserClearsOwnDeadMount(t *testing.T) {
	needFUSE(t)
	needRoot(t)
	dir := userDir(t)
	kill(startServer(t, dir, nobody))
	if got := output(t, asNobody(child("try-mount", dir, ""))); got != "" {
		t.Errorf("mounting over it: %s", got)
	}
	if m, _ := mountAt(dir); m != nil {
		t.Errorf("left: %+v", m)
	}
}

func TestUserForcesUnmount(t *testing.T) {
	needFUSE(t)
	needRoot(t)
	dir := userDir(t)
	startServer(t, dir, nobody)
	sleeper := asNobody(exec.Command("sleep", "1000"))
	sleeper.Dir = dir
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer sleeper.Wait()
	defer sleeper.Process.Kill()
	out, err := asNobody(child("unmount", dir)).CombinedOutput()
	if err == nil || !strings.Contains(string(out), fmt.Sprintf("sleep (%d)", sleeper.Process.Pid)) {
		t.Errorf("busy: %v, %s", err, out)
	}
	output(t, asNobody(child("unmount", dir, "force")))
	if m, _ := mountAt(dir); m != nil {
		t.Error("still mounted")
	}
}

func TestUserIsToldWhatIsMissing(t *testing.T) {
	needFUSE(t)
	needRoot(t)
	dir := userDir(t)
	foreign := t.TempDir()
	if err := os.Chmod(filepath.Dir(foreign), 0o755); err != nil {
		t.Fatal(err)
	}
	roots, _ := mounted(t, empty(), Options{FSName: "peelfs:roots"})
	if err := os.Chmod(filepath.Dir(roots), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		dir, how string
		want     []string
	}{
		{roots, "", []string{"mountpoint already", "peelfs:roots"}},
		{dir, "other", []string{"no FUSE", "allow_other", "add the line `user_allow_other` to /etc/fuse.conf"}},
		{dir, "suid", []string{"denied", "only root"}},
		{foreign, "", []string{"mountpoint", "belongs to someone else", "of their own"}},
	} {
		if c.how == "other" && allowsOther(readIfThere(fuseConf)) {
			continue
		}
		got := output(t, asNobody(child("try-mount", c.dir, c.how)))
		for _, w := range c.want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: %q does not say %q", c.how, got, w)
			}
		}
	}
}

func readIfThere(path string) []byte {
	data, _ := os.ReadFile(path)
	return data
}

func TestNoHelperIsNamed(t *testing.T) {
	needFUSE(t)
	needRoot(t)
	if _, err := os.Stat("/bin/fusermount3"); err == nil {
		t.Setenv("PATH", "/nonexistent")
		if _, err := helper(); err != nil {
			t.Errorf("not found outside of PATH: %v", err)
		}
	}
}

// In a user namespace of one's own no helper is needed.
func TestUserNamespace(t *testing.T) {
	needFUSE(t)
	needRoot(t)
	dir := userDir(t)
	cmd := child("try-mount", dir, "")
	cmd.Env = append(cmd.Env, "PATH=/nonexistent")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{NoSetGroups: true}, // root in there
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 65534, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 65534, Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if err != nil && strings.Contains(err.Error(), "fork/exec") {
		t.Skip("no user namespaces: ", err)
	}
	if err != nil || len(out) > 0 {
		t.Errorf("mount in a user namespace: %v, %s", err, out)
	}
}

func TestPermissionsWithAllowOther(t *testing.T) {
	needRoot(t)
	tree := []tartest.Entry{
		tartest.File("public", "public"), tartest.File("secret", "secret", tartest.Mode(0o600)),
		tartest.Dir("closed", tartest.Mode(0o700)), tartest.File("closed/f", "inside"),
	}
	dir, _ := mounted(t, viewOf(layerOf(t, tree...)), Options{AllowOther: true})
	for top := dir; top != "/tmp" && top != "/"; top = filepath.Dir(top) {
		if top != dir {
			if err := os.Chmod(top, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := output(t, asNobody(exec.Command("cat", dir+"/public"))); got != "public" {
		t.Errorf("public: %q", got)
	}
	for _, name := range []string{"secret", "closed/f"} {
		out, err := asNobody(exec.Command("cat", dir+"/"+name)).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "Permission denied") {
			t.Errorf("%s: %v, %s", name, err, out)
		}
		run(t, "cat", dir+"/"+name)
	}
}
