package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/internal/testregistry"
)

// picture is what a terminal shows that is told to move its cursor up and to clear
// what is below or to the right of it, as bars are drawn.
func picture(text string) []string {
	var lines []string
	row := 0
	for _, part := range regexp.MustCompile(`\x1b\[\d*[A-Za-z]|\n|[^\x1b\n]+`).FindAllString(strings.ReplaceAll(text, "\r", ""), -1) {
		for row >= len(lines) {
			lines = append(lines, "")
		}
		switch {
		case part == "\n":
			row++
		case strings.HasSuffix(part, "A") && part[0] == '\x1b':
			n, _ := strconv.Atoi(strings.Trim(part, "\x1b[A"))
			row -= n
		case part == "\x1b[J":
			lines = lines[:row]
		case part[0] == '\x1b':
		default:
			lines[row] = part
		}
	}
	return lines
}

// watched collects what comes to a terminal.
type watched struct {
	mu struct {
		sync.Mutex
		text strings.Builder
	}
}

func watch(master *os.File) *watched {
	w := &watched{}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			w.mu.Lock()
			w.mu.text.Write(buf[:n])
			w.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return w
}

func (w *watched) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.text.String()
}

// until polls for what another process does.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("in vain: %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func needsFUSE(t *testing.T) {
	t.Helper()
	if ok, err := condition("fuse"); err != nil {
		t.Fatal(err)
	} else if !ok {
		t.Skip("no /dev/fuse")
	}
}

// Bars of a mount in the foreground go when nothing is on its way any more, and
// they leave the messages above them alone.
func TestBarsOfAMountEnd(t *testing.T) {
	needsFUSE(t)
	reg := testregistry.New(t, testregistry.Options{})
	var layers []testregistry.Layer
	for i := range 3 {
		layers = append(layers, testregistry.Layers(tartest.Of(tartest.File("f"+strconv.Itoa(i), noise(i, 60_000))))...)
	}
	reg.Push("app:1", testregistry.Image{Layers: layers})
	reg.Fail(testregistry.Fault{Path: "/blobs/", Rate: 60_000})
	master, tty := terminal(t, 100)
	dir := t.TempDir()
	cmd := peelfsProgram(t, nil, "mount", "-f", reg.Ref("app:1"), dir)
	cmd.Stderr = tty
	screen := watch(master)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); syscall.Unmount(dir, syscall.MNT_DETACH) })
	until(t, "it is mounted", func() bool { return isMounted(dir) })
	for i := range 3 {
		if text, err := os.ReadFile(filepath.Join(dir, "f"+strconv.Itoa(i))); err != nil || len(text) != 60_000 {
			t.Errorf("%d bytes, %v", len(text), err)
		}
	}
	if !strings.Contains(screen.text(), "downloading") {
		t.Errorf("no bar was drawn: %q", screen.text())
	}
	until(t, "the bars are gone", func() bool { return !strings.Contains(strings.Join(picture(screen.text()), "\n"), "load") })
	if shown := strings.Join(picture(screen.text()), "\n"); !strings.Contains(shown, "is mounted on") {
		t.Errorf("the terminal shows %q", shown)
	}
	cmd.Process.Signal(os.Interrupt)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %q", err, screen.text())
	}
}

// noise is text that does not compress to nothing.
func noise(seed, n int) string {
	b := make([]byte, n)
	x := uint32(seed*2 + 1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return string(b)
}
