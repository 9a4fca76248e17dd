package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unicode"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/testregistry"
)

func TestVersionFlag(t *testing.T) {
	d := newDesk(t)
	if out := d.must("--version"); out != "peelfs "+version+"\n" {
		t.Errorf("%q", out)
	}
	if out := d.must("version"); !strings.HasPrefix(out, "peelfs "+version+" (go") {
		t.Errorf("%q", out)
	}
}

// A command line that is typed wrong is an error of kind Invalid, in our words and
// with a hint.
func TestWrongCommandLines(t *testing.T) {
	d := newDesk(t)
	for _, c := range []struct{ line, text, hint string }{
		{"help nosuch", `peelfs has no command "nosuch"`, "see: peelfs --help"},
		{"help cache nosuch", `peelfs cache has no command "nosuch"`, "see: peelfs cache --help"},
		{"completion tcsh", `there is no completion for "tcsh"`, "shells are"},
		{"muont x", `no command "muont"`, "did you mean mount?"},
		{"sl x", `no command "sl"`, "did you mean ls?"},
		{"insp x", `no command "insp"`, "did you mean inspect?"},
		{"frobnicate", `no command "frobnicate"`, "see: peelfs --help"},
		{"xx", `no command "xx"`, "see: peelfs --help"},
		{"cache prnue", `peelfs cache has no command "prnue"`, "did you mean prune?"},
		{"ls --recursiv x", "peelfs ls has no flag --recursiv", "did you mean --recursive?"},
		{"ls --nosuch x", "peelfs ls has no flag --nosuch", "see: peelfs ls --help"},
		{"ls -Z x", "peelfs ls has no flag -Z", "see: peelfs ls --help"},
		{"ls x --platform", "--platform needs a value", "see: peelfs ls --help"},
		{"ls --io-timeout=soon x", "--io-timeout=soon is not a duration", "see: peelfs ls --help"},
		{"tree --level=x y", "--level=x is not a number", "see: peelfs tree --help"},
		{"ls --long=perhaps y", "--long=perhaps is not true or false", "see: peelfs ls --help"},
		{"ls", "peelfs ls takes at least 1 argument, and none is given", "usage: peelfs ls"},
		{"tag a", "peelfs tag takes 2 arguments, and 1 is given", "usage: peelfs tag"},
		{"mount a b c", "peelfs mount takes 1 to 2 arguments, and 3 are given", "usage: peelfs mount"},
		{"version x", "peelfs version takes no arguments", "usage: peelfs version"},
		{"images a b", "at most 1 argument, and 2 are given", "usage: peelfs images"},
		{"ls --io-timeout=-1s x", "--io-timeout=-1s is negative", ""},
		{"automount --idle=-1s x", "--idle=-1s is negative", ""},
		{"status --watch --interval=-1s x", "--interval=-1s is too short", ""},
		{"ls --authfile /no/such/file x", "--authfile: ", "leave it out"},
		{"ls --format=xml x", `format "xml" is not known`, "use table or json"},
		{"ls --symlinks=x y", "has no flag --symlinks", ""},
		{"mount --prefetch=x y z", "--prefetch=x is not known", "use auto, none or all"},
		{"mount -o nosuch a b", "the mount option nosuch is not known", ""},
		{"mount -o uid a b", "the mount option uid needs a value", ""},
		{"mount -o io_timeout=x a b", "the mount option io_timeout=x is not a duration", ""},
		{"find x -nonsense", "find", "see: peelfs find --help"},
		{"diff a", "two images are needed", "usage: peelfs diff"},
		{"umount", "either directories or --all", "usage: peelfs umount"},
		{"cat x", "has no path", "write REF:/PATH"},
	} {
		out, diag, code := d.run(strings.Fields(c.line)...)
		if code != errkind.Invalid.ExitCode() || out != "" || !strings.Contains(diag, c.text) || !strings.Contains(diag, c.hint) {
			t.Errorf("%s: exit code %d, %q, %q", c.line, code, out, diag)
		}
		for _, word := range []string{"strconv", "pflag", "cobra", "shorthand", "invalid argument", "arg(s)", "time: "} {
			if strings.Contains(diag, word) {
				t.Errorf("%s: speaks of %q: %s", c.line, word, diag)
			}
		}
	}
}

func TestNear(t *testing.T) {
	names := []string{"mount", "mounts", "ls", "cat", "du", "cp", "inspect"}
	for typed, want := range map[string]string{
		"mont": "mount", "mounst": "mount mounts", "sl": "ls", "cta": "cat", "ud": "du", "x": "", "xx": "", "": "", "ca": "cat cp", "inspcet": "inspect", "tac": "",
	} {
		if got := strings.Join(near(typed, names), " "); got != want {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
}

// Names, tags and platforms that a registry or a layout chose reach no terminal as
// they are, in messages or hints.
func TestHintsAreClean(t *testing.T) {
	const evil = "x\x1b]0;PWNED\x07\u202e\npeelfs: all is well"
	d := newDesk(t)
	d.reg.Push("t:good", image("one"))
	d.reg.Fail(testregistry.Fault{Path: "/tags/list", Status: 200, Body: `{"name":"t","tags":["good","x\u001b]0;PWNED\u0007\u202e\npeelfs: all is well"]}`})
	d.reg.Fail(testregistry.Fault{Path: "/manifests/bad", Status: 404, Body: `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"x\u001b]0;PWNED\u0007\npeelfs: all is well"}]}`})
	for _, args := range [][]string{
		{"ls", d.reg.Ref("t:bad")}, {"ls", "oci:/no/" + evil}, {"cat", evil}, {"cat", d.reg.Ref("t:good") + ":/" + evil}, {"status", evil}, {"rmi", evil}, {evil},
	} {
		_, diag, code := d.run(args...)
		if code == 0 || diag == "" {
			t.Errorf("%q: exit code %d, %q", args, code, diag)
		}
		for i, line := range strings.Split(strings.TrimSuffix(diag, "\n"), "\n") {
			if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%q: raw: %q", args, line)
			}
			if i > 0 && strings.HasPrefix(line, "peelfs:") {
				t.Errorf("%q: a line passes for a message: %q", args, diag)
			}
		}
	}
}

// With --no-trunc nothing is cut, on a narrow terminal either.
func TestNoTruncIsWhole(t *testing.T) {
	for _, args := range [][]string{{"history", "--no-trunc", fixtureRef}, {"which", "--no-trunc", fixtureRef, "/etc/os-release"}} {
		if out := onTerminal(t, 40, []string{"NO_COLOR=1"}, args...); strings.Contains(out, "…") {
			t.Errorf("%s: %s", args[0], out)
		}
	}
}

// Every table fits the terminal that it is for.
func TestEveryTableFits(t *testing.T) {
	d := newDesk(t)
	d.must("pull", d.reg.Ref("fixture:gzip"))
	d.must("tag", d.reg.Ref("fixture:gzip"), "registry.example.com/with/a/very/long/name:and-a-long-tag")
	env := []string{"NO_COLOR=1", "PEELFS_CACHE=" + d.cache, "PEELFS_RUNTIME=" + filepath.Join(d.cache, "run"), "HOME=" + d.cache}
	for _, args := range [][]string{{"cache", "ls"}, {"cache", "du"}, {"images"}, {"index", "build", "--progress=none", fixtureRef}, {"mounts"}, {"inspect", "--layers", fixtureRef}} {
		for _, width := range []int{30, 60, 80} {
			for line := range strings.Lines(onTerminal(t, width, env, args...)) {
				if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > width {
					t.Errorf("%s: %d columns of %d: %s", strings.Join(args, " "), n, width, line)
				}
			}
		}
	}
}

// Ctrl-C is 130 at any moment, and nothing is mounted then.
func TestCtrlCIsAlways130(t *testing.T) {
	needsFUSE(t)
	reg := testregistry.New(t, testregistry.Options{})
	reg.Push("app:1", image("one"))
	reg.Fail(testregistry.Fault{Path: "/manifests/", Stall: true})
	dir := t.TempDir()
	for _, delay := range []string{"0", "0.002", "0.005", "0.01", "0.02", "0.05", "0.1", "0.3"} {
		cmd := peelfsProgram(t, nil, "mount", reg.Ref("app:1"), dir)
		var diag bytes.Buffer
		cmd.Stderr = &diag
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		exec.Command("sleep", delay).Run() // the moment is what is tried, not what is waited for
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
		state := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if code := cmd.ProcessState.ExitCode(); code != 130 && !(state.Signaled() && state.Signal() == syscall.SIGINT) { // which a shell calls 130
			t.Errorf("after %s s: exit code %d: %s", delay, code, diag.String())
		}
		if isMounted(dir) {
			t.Fatal("it is mounted")
		}
	}
}

// children are the processes that pid has started.
func children(pid int) []string {
	text, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + strconv.Itoa(pid) + "/children")
	all := strings.Fields(string(text))
	tasks, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	for _, task := range tasks {
		text, _ := os.ReadFile(task)
		all = append(all, strings.Fields(string(text))...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// A process that was to serve a mount ends with the one that started it, as long as
// nothing is mounted.
func TestKilledParentLeavesNoProcess(t *testing.T) {
	needsFUSE(t)
	reg := testregistry.New(t, testregistry.Options{})
	reg.Push("app:1", image("one"))
	reg.Fail(testregistry.Fault{Path: "/manifests/", Stall: true})
	cmd := peelfsProgram(t, nil, "mount", reg.Ref("app:1"), t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the registry is asked", func() bool { return reg.Count("", "/manifests/") > 0 })
	kids := children(cmd.Process.Pid)
	if len(kids) != 1 {
		t.Fatalf("children: %v", kids)
	}
	cmd.Process.Kill()
	cmd.Wait()
	until(t, "the child ends", func() bool {
		state, err := os.ReadFile("/proc/" + kids[0] + "/stat")
		return err != nil || strings.Contains(string(state), ") Z ")
	})
}

// The options of mount(8) are flags of mount as well.
func TestMountTakesOptions(t *testing.T) {
	a := newApp(nil, nil, nil, func(string) string { return "" })
	cmd := mountCommand(a)
	if err := applyOptions(cmd, []string{"ro,allow_other,uid=5", `extra_dirs="proc,sys",noexec`, "x-whatever,defaults"}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"allow-other": "true", "uid": "5", "extra-dirs": "[proc,sys]", "noexec": "true", "gid": ""} {
		if got := cmd.Flags().Lookup(name).Value.String(); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// In a directory that was removed, names with whole paths work, and others say why
// they do not.
func TestRemovedWorkingDirectory(t *testing.T) {
	layout, err := filepath.Abs("../../testdata/fixture/images")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		text string
	}{
		{[]string{"ls", "oci:" + layout + ":gzip:/etc"}, 0, "os-release"},
		{[]string{"mount", "oci:" + layout + ":gzip", "mnt"}, 2, "the working directory is not there any more"},
		{[]string{"mount", "oci:" + layout + ":gzip"}, 2, "the working directory is not there any more"},
		{[]string{"ls", "--authfile", "x", "oci:" + layout + ":gzip"}, 2, "the working directory is not there any more"},
		{[]string{"--cache-dir", "x", "images"}, 2, "the working directory is not there any more"},
	} {
		gone := t.TempDir()
		cmd := peelfsProgram(t, nil, c.args...)
		shell := exec.CommandContext(t.Context(), "sh", append([]string{"-c", `cd "$0" && rmdir "$0" && exec "$@"`, gone, cmd.Path}, c.args...)...)
		shell.Env = append(cmd.Env, "PEELFS_TEST=1")
		link := filepath.Join(t.TempDir(), "peelfs") // by its name the test binary is the program
		if err := os.Symlink(cmd.Path, link); err != nil {
			t.Fatal(err)
		}
		shell.Args[4] = link
		out, _ := shell.CombinedOutput()
		if code := shell.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(out), c.text) {
			t.Errorf("%q: exit code %d: %s", c.args, code, out)
		}
	}
}
