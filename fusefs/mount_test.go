package fusefs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/view"
	"golang.org/x/sys/unix"
)

// childEnv makes the test binary one of the children below instead.
const childEnv = "FUSEFS_TEST_CHILD"

var children = map[string]func(args []string) error{}

func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		if err := children[name](os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Geteuid() == 0 && os.Getenv(isolatedEnv) == "" && !fuzzing() {
		os.Exit(runIsolated(m))
	}
	if os.Getenv(isolatedEnv) != "" {
		isolate()
	}
	os.Exit(m.Run())
}

// fuzzing reports whether this process fuzzes, or works for one that does: then it
// mounts nothing, and talks to the other over descriptors that a process started
// from it would not have.
func fuzzing() bool {
	return slices.ContainsFunc(os.Args, func(arg string) bool {
		return strings.HasPrefix(arg, "-test.fuzz=") || strings.HasPrefix(arg, "-test.fuzzworker")
	})
}

const isolatedEnv = "FUSEFS_TEST_ISOLATED"

// runIsolated runs the tests in a mount namespace of their own, so that no mount
// outlives them and /dev/fuse may be what they need.
func runIsolated(m *testing.M) int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), isolatedEnv+"=1")
	runtime.LockOSThread() // whose end would be the child's as well
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	fmt.Fprintln(os.Stderr, "running outside of a mount namespace: ", err)
	return m.Run()
}

// letGo drops this namespace's copies of mounts that others are testing now: each
// would keep its server from ending.
func letGo() {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("fuse.peelfs"))
	must(err)
	for _, m := range mounts {
		_ = unix.Unmount(m.Mountpoint, unix.MNT_DETACH) // gone already, perhaps
	}
}

// isolate lets every user open /dev/fuse, as most systems do.
func isolate() {
	letGo()
	dir, err := os.MkdirTemp("", "dev")
	must(err)
	defer os.Remove(dir)
	must(unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"))
	var st unix.Stat_t
	if unix.Stat(devFUSE, &st) == nil {
		must(unix.Mknod(dir+"/fuse", unix.S_IFCHR, int(st.Rdev)))
		must(os.Chmod(dir+"/fuse", 0o666))
		must(unix.Mount(dir+"/fuse", devFUSE, "", unix.MS_BIND, ""))
	}
	must(unix.Unmount(dir, unix.MNT_DETACH))
	if _, err := os.Stat("/sys/fs/fuse/connections"); err == nil {
		must(unix.Mount("fusectl", "/sys/fs/fuse/connections", "fusectl", 0, ""))
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// child is a command that runs one of the children in a process of its own.
func child(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	return cmd
}

// needFUSE skips where there is no FUSE, or fails where there should be.
func needFUSE(t testing.TB) {
	t.Helper()
	fd, err := openDevice()
	if err == nil {
		unix.Close(fd)
		return
	}
	if os.Getenv("REQUIRE_FUSE") == "1" {
		t.Fatal(err)
	}
	t.Skip("needs FUSE: ", err)
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become someone else")
	}
}

// mounted mounts v at a new directory until the test ends, and then looks for
// what the mount may have left behind.
func mounted(t testing.TB, v *view.View, opt Options) (string, *Server) {
	t.Helper()
	needFUSE(t)
	dir := t.TempDir()
	before := countLeftovers()
	if opt.FSName == "" {
		opt.FSName = "peelfs:" + t.Name()
	}
	s, err := Mount(dir, v, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Unmount(false); err != nil {
			t.Errorf("unmount: %v", err)
			s.Unmount(true)
		}
		s.Wait()
		checkLeaks(t, dir, before)
	})
	return dir, s
}

func checkLeaks(t testing.TB, dir string, before leftovers) {
	t.Helper()
	if m, err := mountAt(dir); m != nil || err != nil {
		t.Errorf("still mounted: %v, %v", m, err)
	}
	if after := countLeftovers(); after.devices > before.devices || after.watchers > before.watchers {
		t.Errorf("the mount left something: %+v, before %+v", after, before)
	}
}

// leftovers is what an unmount must take away.
type leftovers struct{ devices, watchers int }

func countLeftovers() leftovers {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return leftovers{
		devices:  devices(),
		watchers: bytes.Count(stacks, []byte("fusefs.(*request).watch(")),
	}
}

// devices counts our descriptors of the FUSE device.
func devices() int {
	links, _ := filepath.Glob("/proc/self/fd/*")
	n := 0
	for _, l := range links {
		if target, err := os.Readlink(l); err == nil && target == devFUSE {
			n++
		}
	}
	return n
}

// run returns what the command printed, and fails the test if it failed.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed", name)
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func wantKind(t *testing.T, err error, kind errkind.Kind, words ...string) {
	t.Helper()
	if !errkind.Is(err, kind) {
		t.Fatalf("error %v, want the kind %v", err, kind)
	}
	for _, w := range words {
		if !strings.Contains(err.Error()+"\n"+errkind.Hint(err), w) {
			t.Errorf("error %q with hint %q does not say %q", err, errkind.Hint(err), w)
		}
	}
}

func empty() *view.View { return view.New(nil, view.Options{}) }

func TestMountIsReadOnlyAndNamed(t *testing.T) {
	dir, s := mounted(t, empty(), Options{FSName: "peelfs:a,b\\c@sha256:12"})
	m, err := mountAt(dir)
	if err != nil || m == nil {
		t.Fatal(m, err)
	}
	for _, o := range []string{"ro", "nosuid", "nodev"} {
		if !strings.Contains(","+m.Options+",", ","+o+",") {
			t.Errorf("mount options %q lack %s", m.Options, o)
		}
	}
	if !strings.Contains(m.VFSOptions, "max_read=1048576") {
		t.Errorf("options %q lack max_read", m.VFSOptions)
	}
	if m.Source != "peelfs:a,b\\c@sha256:12" || m.FSType != "fuse.peelfs" || m.ID != s.MountID() {
		t.Errorf("mounted as %q, %q, %d", m.Source, m.FSType, m.ID)
	}
}

func TestStatfs(t *testing.T) {
	dir, _ := mounted(t, empty(), Options{Usage: func() Usage { return Usage{Bytes: 5<<20 + 1, Inodes: 77} }})
	got := run(t, "stat", "-f", "-c", "%S %b %f %a %c %l", dir)
	if want := "4096 1281 0 0 77 255\n"; got != want {
		t.Errorf("statfs %q, want %q", got, want)
	}
}

func TestDeviceIsClosedInChildren(t *testing.T) {
	mounted(t, empty(), Options{})
	out, err := exec.Command("ls", "-l", "/proc/self/fd").CombinedOutput()
	if err != nil || strings.Contains(string(out), "fuse") {
		t.Errorf("a child has the device: %v\n%s", err, out)
	}
	links, _ := filepath.Glob("/proc/self/fdinfo/*")
	for _, l := range links {
		target, _ := os.Readlink("/proc/self/fd/" + filepath.Base(l))
		info, _ := os.ReadFile(l)
		if target == devFUSE && !bytes.Contains(info, []byte("02100002")) {
			t.Errorf("no close-on-exec: %s", info)
		}
	}
}

func TestCheckMountpoint(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantKind(t, CheckMountpoint(filepath.Join(dir, "none")), errkind.Mountpoint, "does not exist", "mkdir -p")
	wantKind(t, CheckMountpoint(file), errkind.Mountpoint, "not a directory")
	wantKind(t, CheckMountpoint(dir), errkind.Mountpoint, "not empty", `"file"`)
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	wantKind(t, CheckMountpoint(fifo), errkind.Mountpoint, "not a directory")
	wantKind(t, CheckMountpoint("/proc"), errkind.Mountpoint, "mountpoint already", "proc")
	if err := CheckMountpoint(t.TempDir()); err != nil {
		t.Error(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	if err := CheckMountpoint(link); err != nil {
		t.Error(err)
	}
}

func TestMountOverOurOwn(t *testing.T) {
	dir, _ := mounted(t, empty(), Options{FSName: "peelfs:first"})
	_, err := Mount(dir, empty(), Options{FSName: "peelfs:second"})
	wantKind(t, err, errkind.Mountpoint, "peelfs:first", "peelfs umount")
}

func TestUnmountOfOthers(t *testing.T) {
	wantKind(t, Unmount(t.TempDir(), UnmountOptions{}), errkind.Mountpoint, "not mounted")
	wantKind(t, Unmount("/proc", UnmountOptions{}), errkind.Mountpoint, "not a peelfs mount")
	dir, s := mounted(t, empty(), Options{})
	wantKind(t, Unmount(dir, UnmountOptions{MountID: s.MountID() + 1}), errkind.Mountpoint, "mounted over")
	if err := Unmount(dir, UnmountOptions{MountID: s.MountID()}); err != nil {
		t.Error(err)
	}
	s.Wait()
}

func TestUnmountBusyNamesTheUser(t *testing.T) {
	dir, s := mounted(t, empty(), Options{Files: map[string]File{"x": static("text")}})
	sleeper := exec.Command("tail", "-f", dir+"/.peelfs/x")
	out, err := sleeper.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer sleeper.Wait()
	defer sleeper.Process.Kill()
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	wantKind(t, s.Unmount(false), errkind.Mountpoint, "busy", fmt.Sprintf("tail (%d)", sleeper.Process.Pid), "--force")
	wantKind(t, Unmount(dir, UnmountOptions{}), errkind.Mountpoint, "busy")
	if err := s.Unmount(true); err != nil {
		t.Error(err)
	}
}

func TestUnmountOfAMomentsUse(t *testing.T) {
	dir, s := mounted(t, empty(), Options{Files: map[string]File{"x": static("text")}})
	// os.Open would ask the kernel to poll the file, which waits for this process.
	fd, err := unix.Open(dir+"/.peelfs/x", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Unmount(false)
	wantKind(t, err, errkind.Mountpoint, "busy")
	if self := fmt.Sprintf("(%d)", os.Getpid()); strings.Contains(err.Error(), self) {
		t.Errorf("names the process that asks: %v", err)
	}
	done := make(chan error)
	go func() { done <- s.Unmount(false) }()
	unix.Close(fd) // as a look at the status does
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestUnmountByOthersEndsTheServer(t *testing.T) {
	needRoot(t)
	dir, s := mounted(t, empty(), Options{})
	run(t, "umount", dir)
	s.Wait()
	if err := s.Unmount(false); err != nil {
		t.Error("unmounting twice: ", err)
	}
}

func static(text string) File {
	return File{Read: func() ([]byte, error) { return []byte(text), nil }}
}

// serveChild mounts an empty tree at args[0] and stays until it is killed.
func serveChild(args []string) error {
	_, err := Mount(args[0], empty(), Options{FSName: "peelfs:child", Files: map[string]File{"x": static("text")}})
	if err != nil {
		return err
	}
	fmt.Println("mounted")
	select {}
}

func init() { children["serve"] = serveChild }

// startServer runs serveChild, as another user perhaps.
func startServer(t *testing.T, dir string, as *syscall.Credential) *exec.Cmd {
	t.Helper()
	cmd := child("serve", dir)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		detach(dir, true)
	})
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatal("the server did not start: ", err)
	}
	return cmd
}

func kill(cmd *exec.Cmd) {
	cmd.Process.Kill()
	cmd.Wait()
}

func wantDead(t *testing.T, dir string, want bool) {
	t.Helper()
	if dead, err := Dead(dir); dead != want || err != nil {
		t.Fatalf("dead = %v, %v, want %v", dead, err, want)
	}
}

func TestDeadMountIsFoundAndCleared(t *testing.T) {
	needFUSE(t)
	dir := t.TempDir()
	server := startServer(t, dir, nil)
	wantDead(t, dir, false)
	kill(server)
	wantDead(t, dir, true)
	if err := CheckMountpoint(dir); err != nil {
		t.Error("a dead mount is no obstacle: ", err)
	}
	s, err := Mount(dir, empty(), Options{FSName: "peelfs:next"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Unmount(false); err != nil {
		t.Fatal(err)
	}
	if m, _ := mountAt(dir); m != nil {
		t.Errorf("the dead mount is still below: %+v", m)
	}
}

func TestDeadMountOfAnotherUser(t *testing.T) {
	needFUSE(t)
	needRoot(t)
	dir := userDir(t)
	server := startServer(t, dir, nobody)
	wantDead(t, dir, false)
	kill(server)
	wantDead(t, dir, true)
	if err := ClearDead(dir); err != nil {
		t.Fatal(err)
	}
	if m, _ := mountAt(dir); m != nil {
		t.Error("still mounted")
	}
}

var nobody = &syscall.Credential{Uid: 65534, Gid: 65534}

// userDir is a directory of nobody's, which nobody can reach.
func userDir(t *testing.T) string {
	t.Helper()
	top, err := os.MkdirTemp("/tmp", "fusefs-user")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(top) })
	dir := filepath.Join(top, "mnt")
	if err := errors.Join(os.Chmod(top, 0o755), os.Mkdir(dir, 0o755), os.Chown(dir, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestDeadIsFalseWithoutMount(t *testing.T) {
	wantDead(t, t.TempDir(), false)
	if err := ClearDead(t.TempDir()); err != nil {
		t.Error(err)
	}
}

func TestPanicIsContained(t *testing.T) {
	var log syncBuffer
	dir, s := mounted(t, empty(), Options{Logger: log.logger(), Files: map[string]File{
		"bad": {Read: func() ([]byte, error) { panic("oh dear") }}, "good": static("fine"),
	}})
	out, err := exec.Command("cat", dir+"/.peelfs/bad").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "Input/output error") {
		t.Errorf("cat of what panics: %v, %s", err, out)
	}
	if got := run(t, "cat", dir+"/.peelfs/good"); got != "fine" {
		t.Errorf("after a panic: %q", got)
	}
	if !strings.Contains(log.String(), "oh dear") || !strings.Contains(log.String(), "goroutine") {
		t.Errorf("log without panic and stack: %s", log.String())
	}
	if s.Stats().Failed == 0 {
		t.Error("a panic counts as no failure")
	}
}

func TestBudgetKnowsTheKernel(t *testing.T) {
	if got := (&Options{IOTimeout: time.Millisecond}).budget(); got != time.Millisecond {
		t.Errorf("budget %v", got)
	}
	if got := (&Options{}).budget(); got > DefaultIOTimeout || got <= 0 {
		t.Errorf("budget %v", got)
	}
}
