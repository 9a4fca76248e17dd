package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// terminal opens a pseudo terminal of some width: the end that programs write to,
// and the other one, which the caller reads. Both are closed at the end of the test.
func terminal(t *testing.T, width int) (master, tty *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminal: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: uint16(width)}); err != nil {
		t.Fatal(err)
	}
	return master, tty
}

// peelfsProgram is peelfs as a process of its own, with a cache of its own.
func peelfsProgram(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Args[0] = "peelfs"
	cache := t.TempDir()
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "PEELFS_CACHE=" + cache, "PEELFS_RUNTIME=" + filepath.Join(cache, ".run"), "HOME=" + cache, "TERM=xterm"}, env...)
	return cmd
}

// onTerminal runs peelfs with stdout on a terminal of the given width and
// returns what came there.
func onTerminal(t *testing.T, width int, env []string, args ...string) string {
	t.Helper()
	master, tty := terminal(t, width)
	cmd := peelfsProgram(t, env, args...)
	cmd.Stdout = tty
	var diag strings.Builder
	cmd.Stderr = &diag
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close()
	out, _ := io.ReadAll(bufio.NewReader(master)) // ends with EIO when the program does
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, diag.String())
	}
	return strings.ReplaceAll(string(out), "\r\n", "\n")
}

const fixtureRef = "oci:../../testdata/fixture/images:gzip"

func TestNarrowTerminal(t *testing.T) {
	for _, args := range [][]string{
		{"ls", fixtureRef}, {"ls", fixtureRef + ":/app"}, {"history", fixtureRef}, {"top", fixtureRef}, {"which", fixtureRef, "/etc/os-release"}, {"du", "-h", fixtureRef},
	} {
		out := onTerminal(t, 40, []string{"NO_COLOR=1"}, args...)
		for line := range strings.Lines(out) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 40 {
				t.Errorf("%s: %d columns: %s", args[0], n, line)
			}
		}
	}
	wide, narrow := onTerminal(t, 160, []string{"NO_COLOR=1"}, "ls", fixtureRef), onTerminal(t, 20, []string{"NO_COLOR=1"}, "ls", fixtureRef)
	if strings.Count(wide, "\n") > 3 || strings.Count(narrow, "\n") < 9 {
		t.Errorf("on 160 columns:\n%son 20:\n%s", wide, narrow)
	}
}

func TestColoursAndQuotes(t *testing.T) {
	plain, painted := onTerminal(t, 80, []string{"NO_COLOR=1"}, "ls", fixtureRef+":/srv"), onTerminal(t, 80, nil, "ls", "-1", fixtureRef)
	if strings.Contains(plain, "\x1b") || !strings.Contains(plain, `"new\nline"`) {
		t.Errorf("without colours: %q", plain)
	}
	if !strings.Contains(painted, "\x1b[34metc\x1b[0m\n") || !strings.Contains(painted, "\x1b[36mlib\x1b[0m\n") || !strings.Contains(painted, "\ndup\n") {
		t.Errorf("with colours: %q", painted)
	}
	if out := onTerminal(t, 80, []string{"TERM=dumb"}, "find", fixtureRef+":/srv", "-name", "new*"); out != "\"/srv/new\\nline\"\n" {
		t.Errorf("%q", out)
	}
	if out := onTerminal(t, 80, nil, "find", fixtureRef+":/srv", "-name", "new*", "-print0"); !strings.Contains(out, "/srv/new\nline") {
		t.Errorf("%q", out)
	}
}

func TestHelpFitsAScreen(t *testing.T) {
	for _, name := range []string{"ls", "tree", "cat", "cp", "find", "stat", "which", "diff", "du", "top", "inspect", "history", "tags", "export"} {
		var out strings.Builder
		a := newApp(strings.NewReader(""), &out, &out, func(string) string { return "" })
		if code := a.run([]string{name, "--help"}); code != 0 {
			t.Errorf("%s: exit code %d", name, code)
		}
		if n := strings.Count(out.String(), "\n"); n > 30 {
			t.Errorf("%s: %d lines", name, n)
		}
		for line := range strings.Lines(out.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
				t.Errorf("%s: %d columns: %s", name, n, line)
			}
		}
		for _, part := range []string{"Examples:\n  peelfs " + name, "Usage:\n  peelfs " + name, "common-flags"} {
			if !strings.Contains(out.String(), part) {
				t.Errorf("%s: no %q in\n%s", name, part, out.String())
			}
		}
	}
}
