package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/cmd/peelfs/mounttab"
	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/internal/testregistry"
)

// The test binary is peelfs too: scripts run it as a program of its own.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"peelfs": main, "mount.peelfs": main, "mount.fuse.peelfs": main})
}

// TestScripts runs testdata/script. Beside testscript's own commands, scripts have
//
//	exits N PROGRAM ARG...     the program ends with exactly this code
//	registry VAR [basic]       starts a registry, its address in $VAR, with app:1 and app:2;
//	                           basic wants user joe, password secret
//	registry-v1 VAR SERVER     starts one of the first protocol with foo/bar, id $OLDID, that behaves as python, quay, …
//	old-schema VAR             pushes fixture:old, by a manifest of schema 1
//	odd VAR                    pushes app:loop, app:odd and app:multi as well
//	push VAR WORD [TAG]        moves app:1, or app:TAG, to an image whose /top says WORD
//	push-tars VAR NAME TAR...  pushes an image as NAME whose layers are these tars
//	stop-registry VAR          nobody listens there any more
//	fail VAR PATH STATUS       answers so from now on
//	fixture VAR                the fixture's images are there too, as fixture:gzip and so on; and its gzip
//	                           image as plain:1, with nothing beside it
//	hang VAR PATH              does not answer from now on
//	mend VAR                   answers as ever
//	wait-for PROGRAM ARG...    runs it again and again until it succeeds
//	forget VAR                 forgets what was asked so far
//	asked VAR N REGEXP         N requests matched, as "GET /v2/app/manifests/1 200"
//	[!] mounted DIR            something is mounted there
//	kill-mount DIR             ends its process by SIGKILL
//	terminate-mount DIR        sends its process SIGTERM
//	gone DIR                   waits until nothing is mounted there, and no process serves it
//	start DIR PROGRAM ARG...   runs it in the background and waits until DIR is mounted
//	signal NAME                sends the program that start began SIGINT, TERM, …
//	ended CODE                 waits for that program
//
// and the conditions [fuse] and [root]. Each script has a cache, records and a home of its own.
func TestScripts(t *testing.T) {
	fixture, err := filepath.Abs("../../testdata/fixture")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PEELFS_CACHE", filepath.Join(env.WorkDir, ".cache"))
			env.Setenv("PEELFS_RUNTIME", filepath.Join(env.WorkDir, ".run"))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("FIXTURE", fixture)
			env.Setenv("NO_COLOR", "1")
			env.Values[stateKey{}] = &scriptState{registries: map[string]*testregistry.Registry{}, old: map[string]*httptest.Server{}, dir: env.WorkDir}
			env.Defer(func() { leaveNothing(t, env.WorkDir) })
			return nil
		},
		Condition:           condition,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": cmdExits, "registry": cmdRegistry, "push": cmdPush, "push-tars": cmdPushTars, "stop-registry": cmdStop, "fail": cmdFail,
			"fixture": cmdFixture, "forget": cmdForget, "asked": cmdAsked, "mounted": cmdMounted, "kill-mount": cmdKill, "gone": cmdGone,
			"terminate-mount": cmdTerminate, "start": cmdStart, "signal": cmdSignal, "ended": cmdEnded,
			"hang": cmdHang, "mend": cmdMend, "wait-for": cmdWaitFor,
			"odd": cmdOdd, "registry-v1": cmdRegistryV1, "old-schema": cmdOldSchema,
		},
	})
}

type stateKey struct{}

type scriptState struct {
	dir        string
	registries map[string]*testregistry.Registry
	old        map[string]*httptest.Server // of the first protocol
	started    *exec.Cmd
	done       chan error
}

func stateOf(ts *testscript.TestScript) *scriptState { return ts.Value(stateKey{}).(*scriptState) }

func (s *scriptState) registry(ts *testscript.TestScript, name string) *testregistry.Registry {
	r := s.registries[name]
	if r == nil {
		ts.Fatalf("no registry %s", name)
	}
	return r
}

// condition knows [root] and [fuse]. Without FUSE it is false, or an error if REQUIRE_FUSE
// says that it must not be.
func condition(cond string) (bool, error) {
	switch cond {
	case "root":
		return os.Geteuid() == 0, nil
	case "fuse":
	default:
		return false, errors.New("unknown condition")
	}
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err == nil {
		f.Close()
		return true, nil
	}
	if os.Getenv("REQUIRE_FUSE") == "1" {
		return false, err
	}
	return false, nil
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func cmdRegistry(ts *testscript.TestScript, neg bool, args []string) {
	opt := testregistry.Options{}
	if len(args) > 1 {
		opt = testregistry.Options{Auth: testregistry.Basic, User: "joe", Password: "secret"}
	}
	r, err := testregistry.Start(opt)
	ts.Check(err)
	ts.Defer(r.Close)
	r.Push("app:1", image("one"))
	r.Push("app:2", image("two"))
	r.Forget()
	stateOf(ts).registries[args[0]] = r
	ts.Setenv(args[0], r.Host)
}

// image has three layers; the two lower ones are the same for every word.
func image(word string) testregistry.Image {
	return testregistry.Image{Layers: testregistry.Layers(
		tartest.Of(tartest.Dir("etc/"), tartest.File("etc/os-release", "NAME=base\n"), tartest.File("big", strings.Repeat("0123456789", 100_000))),
		tartest.Of(tartest.Dir("etc/"), tartest.File("etc/middle", "middle\n"), tartest.Symlink("link", "/etc/middle")),
		tartest.Of(tartest.File("top", word+"\n")),
	)}
}

func cmdPush(ts *testscript.TestScript, neg bool, args []string) {
	tag := "1"
	if len(args) > 2 {
		tag = args[2]
	}
	stateOf(ts).registry(ts, args[0]).Push("app:"+tag, image(args[1]))
}

func cmdPushTars(ts *testscript.TestScript, neg bool, args []string) {
	var tars [][]byte
	for _, name := range args[2:] {
		data, err := os.ReadFile(ts.MkAbs(name))
		ts.Check(err)
		tars = append(tars, data)
	}
	stateOf(ts).registry(ts, args[0]).Push(args[1], testregistry.Image{Layers: testregistry.Layers(tars...)})
}

func cmdStop(ts *testscript.TestScript, neg bool, args []string) {
	if old := stateOf(ts).old[args[0]]; old != nil {
		old.Close()
		return
	}
	stateOf(ts).registry(ts, args[0]).Close()
}

func cmdFail(ts *testscript.TestScript, neg bool, args []string) {
	status, err := strconv.Atoi(args[2])
	ts.Check(err)
	stateOf(ts).registry(ts, args[0]).Fail(testregistry.Fault{Path: args[1], Status: status})
}

func cmdFixture(ts *testscript.TestScript, neg bool, args []string) {
	r := stateOf(ts).registry(ts, args[0])
	images := filepath.Join(ts.Getenv("FIXTURE"), "images")
	r.PushLayout("fixture", images)
	raw, err := os.ReadFile(filepath.Join(images, "blobs/sha256/7fab6d710f6911db2d3df1e2a7f38d0d4087e5edc08b4ff88265d823d9ac9200"))
	ts.Check(err)
	r.PushManifest("plain:1", "application/vnd.oci.image.manifest.v1+json", raw)
	r.Forget()
}

func cmdHang(ts *testscript.TestScript, neg bool, args []string) {
	stateOf(ts).registry(ts, args[0]).Fail(testregistry.Fault{Path: args[1], Stall: true})
}

func cmdMend(ts *testscript.TestScript, neg bool, args []string) {
	stateOf(ts).registry(ts, args[0]).Mend()
}

func cmdWaitFor(ts *testscript.TestScript, neg bool, args []string) {
	eventually(ts, strings.Join(args, " "), func() bool { return ts.Exec(args[0], args[1:]...) == nil })
}

func cmdForget(ts *testscript.TestScript, neg bool, args []string) {
	stateOf(ts).registry(ts, args[0]).Forget()
}

func cmdAsked(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	match, err := regexp.Compile(args[2])
	ts.Check(err)
	got := 0
	var log []string
	for _, q := range stateOf(ts).registry(ts, args[0]).Requests() {
		log = append(log, q.String())
		if match.MatchString(q.String()) {
			got++
		}
	}
	if got != want {
		ts.Fatalf("%d requests match %s, want %d, of:\n%s", got, match, want, strings.Join(log, "\n"))
	}
}

func isMounted(dir string) bool {
	mounts, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(dir))
	return err == nil && len(mounts) > 0
}

func cmdMounted(ts *testscript.TestScript, neg bool, args []string) {
	if isMounted(ts.MkAbs(args[0])) == neg {
		ts.Fatalf("mounted: %v", !neg)
	}
}

func mountAt(ts *testscript.TestScript, dir string) mounttab.Entry {
	table, err := mounttab.Open(ts.Getenv("PEELFS_RUNTIME"))
	ts.Check(err)
	e, ok, err := table.At(ts.MkAbs(dir))
	ts.Check(err)
	if !ok {
		ts.Fatalf("no record of %s", dir)
	}
	return e
}

func cmdKill(ts *testscript.TestScript, neg bool, args []string) {
	e := mountAt(ts, args[0])
	ts.Check(syscall.Kill(e.PID, syscall.SIGKILL))
	eventually(ts, "the mount is dead", func() bool {
		var st unix.Statfs_t
		return errors.Is(unix.Statfs(e.Mountpoint, &st), unix.ENOTCONN)
	})
}

func cmdTerminate(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(syscall.Kill(mountAt(ts, args[0]).PID, syscall.SIGTERM))
}

func cmdGone(ts *testscript.TestScript, neg bool, args []string) {
	dir := ts.MkAbs(args[0])
	table, err := mounttab.Open(ts.Getenv("PEELFS_RUNTIME"))
	ts.Check(err)
	eventually(ts, dir+" is unmounted and nobody serves it", func() bool {
		_, known, err := table.At(dir)
		return err == nil && !known && !isMounted(dir)
	})
}

// eventually polls: what is waited for is the doing of other processes.
func eventually(ts *testscript.TestScript, what string, ok func() bool) {
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-deadline:
			ts.Fatalf("in vain: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func cmdStart(ts *testscript.TestScript, neg bool, args []string) {
	s := stateOf(ts)
	path, err := exec.LookPath(args[1])
	ts.Check(err)
	cmd := exec.CommandContext(context.Background(), path, args[2:]...)
	cmd.Args[0] = args[1]
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "NO_COLOR", "PEELFS_CACHE", "PEELFS_RUNTIME"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	ts.Check(cmd.Start())
	s.started, s.done = cmd, make(chan error, 1)
	go func() { s.done <- cmd.Wait() }()
	ts.Defer(func() { cmd.Process.Kill() })
	eventually(ts, "mounted", func() bool { return isMounted(ts.MkAbs(args[0])) })
}

func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(stateOf(ts).started.Process.Signal(unix.SignalNum("SIG" + args[0])))
}

func cmdEnded(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	select {
	case <-stateOf(ts).done:
	case <-time.After(20 * time.Second):
		ts.Fatalf("it has not ended")
	}
	if got := stateOf(ts).started.ProcessState.ExitCode(); got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// leaveNothing holds that a script has unmounted what it mounted.
func leaveNothing(t *testing.T, dir string) {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		t.Error(err)
	}
	for _, m := range mounts {
		if m.Mountpoint == dir {
			continue
		}
		t.Errorf("%s: still mounted at the end of the script", m.Mountpoint)
		_ = unix.Unmount(m.Mountpoint, unix.MNT_DETACH)
	}
	records := func() []string {
		paths, _ := filepath.Glob(filepath.Join(dir, ".run", "*.json"))
		return paths
	}
	// A process whose mount was copied to another mount namespace, as other tests
	// make them, ends with that.
	for deadline := time.Now().Add(time.Minute); len(records()) > 0 && time.Now().Before(deadline); {
		<-time.After(20 * time.Millisecond)
	}
	for _, path := range records() {
		data, err := os.ReadFile(path)
		var m mounttab.Mount
		if err == nil && json.Unmarshal(data, &m) == nil {
			t.Errorf("a record is left: %s", data)
			_ = syscall.Kill(m.PID, syscall.SIGKILL)
		}
	}
}
