package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/tour.md anew with what the commands print")

const (
	tourPage = "../../docs/tour.md"
	tourDir  = "../../testdata/tour" // a layout; its README says how it was made
)

// needsMount stands before the blocks of the tour that need FUSE.
const needsMount = "<!-- needs FUSE -->\n"

// Every command of docs/tour.md prints what the page says.
func TestTour(t *testing.T) {
	ok, err := condition("fuse")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("getfattr"); err != nil && ok {
		t.Skip("the page uses getfattr, of the package attr, which is not here")
	}
	have := readPage(t)
	got := walkTour(t, have, ok, []string{"sh", "-c"})
	if *update {
		if err := os.WriteFile(tourPage, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	samePage(t, got, have)
}

// Commands that need no mount need no /dev/fuse either: it is not there in this tour.
func TestTourWithoutFUSE(t *testing.T) {
	const hide = `set -e; d=$(mktemp -d); mount -t tmpfs none $d; for n in null zero urandom; do touch $d/$n; mount --bind /dev/$n $d/$n; done
mount --rbind $d /dev; test ! -e /dev/fuse; exec sh -c "$0"`
	if out, err := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-c", hide, "true").CombinedOutput(); err != nil {
		t.Skipf("/dev/fuse cannot be hidden here: %v %s", err, out)
	}
	have := readPage(t)
	samePage(t, walkTour(t, have, false, []string{"unshare", "--mount", "sh", "-c", hide}), have)
}

func readPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(tourPage)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

func samePage(t *testing.T, got, want string) {
	t.Helper()
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Fatalf("docs/tour.md, line %d: go test ./cmd/peelfs -run TestTour -update writes it anew\n got %q\nwant %q",
				i+1, g[min(i, len(g)-1)], w[min(i, len(w)-1)])
		}
	}
}

var block = regexp.MustCompile("(?ms)(" + needsMount + ")?^```console\n(.*?)^```\n")

// walkTour is the page with the output of its commands as it is now.
func walkTour(t *testing.T, page string, mounts bool, shell []string) string {
	t.Helper()
	if !strings.Contains(page, "```console\n") {
		t.Fatal("the page has no commands")
	}
	dir := tourPlace(t)
	layout, err := filepath.Abs(tourDir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(layout, filepath.Join(dir, "shop")); err != nil {
		t.Fatal(err)
	}
	return block.ReplaceAllStringFunc(page, func(text string) string {
		if strings.HasPrefix(text, needsMount) && !mounts {
			return text
		}
		head, _, _ := strings.Cut(text, "```console\n")
		out := head + "```console\n"
		for _, line := range strings.Split(text, "\n") {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				out += line + "\n" + steady(dir, runTour(t, dir, shell, command))
			}
		}
		return out + "```\n"
	})
}

// home is what the page calls the directory in which its commands run. Tables are
// as wide as the paths in them, so the real directory's name is just as long.
const home = "/home/you/containers"

func tourPlace(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("the page is root's: others are told that owners are not kept")
	}
	dir := fmt.Sprintf("/tmp/tour-%010d", os.Getpid())
	if len(dir) != len(home) {
		t.Fatalf("%s is not as long as %s", dir, home)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		leaveNothing(t, dir)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// runTour is what a command prints on both streams.
func runTour(t *testing.T, dir string, shell []string, command string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), shell[0], append(shell[1:len(shell):len(shell)], command)...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LC_ALL=C", "TZ=UTC", "NO_COLOR=1",
		"PEELFS_CACHE=" + filepath.Join(dir, ".cache"), "PEELFS_RUNTIME=" + filepath.Join(dir, ".run"),
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out)
}

// steady replaces what differs from run to run: where it happens, and the numbers
// of processes.
func steady(dir, out string) string {
	out = strings.ReplaceAll(out, dir, home)
	return regexp.MustCompile(`by process \d+`).ReplaceAllString(out, "by process 4711")
}
