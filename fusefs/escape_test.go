package fusefs

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/layers/view"
	"golang.org/x/sys/unix"
)

// outsiders are texts of links that mean something outside of a mount, if they are
// let: the host's files, processes' own directories, ways up, and ways up behind
// names that are links, files, or the mount's own.
var outsiders = []string{
	"/", "/.", "/..", "//", "/etc/passwd", "//etc//passwd", "/./etc/../../etc/passwd", "/proc/self/root", "/proc/self/root/etc/passwd",
	"/proc/self/cwd/..", "/proc/1/root", "/dev/fd/0", "/dev/stdin", "/sys/..", "/tmp", "/tmp/..",
	"..", "../", "../..", "../../..", "../../../../../../../../etc/passwd", "./../.", "..//..//..", strings.Repeat("../", 1000) + "etc/passwd",
	"d/..", "d/../..", "d/../../..", "d/e/../../../..", "d/e/../../../../etc/passwd", "f/..", "f/../../etc", "none/..", "none/../../..",
	"up/..", "up/../..", "up/etc/passwd", "root/..", "root/../etc/passwd", "deep/../../..", "deep/../../../..", "loop/..", "self/..",
	".peelfs/..", ".peelfs/../..", ".peelfs/../../..", ".peelfs/layers/..", ".peelfs/layers/../../..", ".peelfs/layers/0/../../../..",
	".peelfs/layers/0/up/..", ".peelfs/layers/0/root/../../../..", ".peelfs/outside", ".peelfs/outside/..", ".peelfs/outside/../../..",
	".peelfs/outside/d/..", ".peelfs/outside/d/../..", "/.peelfs/layers/0/../../../..", "/.peelfs/../../etc/passwd", "/.peelfs/outside/../../..",
	"/d/e/../../..", "/root/../..", "/up/../../etc/passwd", "/deep/../../../..", "/d/up/../..", "../d/e/up/../..", "../root/../../..",
}

// hostile is a layer with a link of each text at each of some places, and links for
// them to go through; a second name for some, so that one inode has two places.
func hostile(t *testing.T, random int) *memLayer {
	t.Helper()
	entries := []tartest.Entry{
		tartest.Dir("d/"), tartest.Dir("d/e/"), tartest.File("f", "x"), tartest.File("d/f", "x"), tartest.Symlink("up", ".."), tartest.Symlink("root", "/"),
		tartest.Symlink("deep", "d/e"), tartest.Symlink("loop", "loop"), tartest.Symlink("self", "."), tartest.Symlink("d/up", ".."),
		tartest.Symlink("d/e/up", "../.."), tartest.Symlink("d/root", "/"), tartest.Symlink("d/out", "../../.."), tartest.Symlink("d/e/deep", "/d/e"),
	}
	texts := outsiders
	parts := []string{"..", ".", "", "d", "e", "f", "up", "root", "deep", "self", "loop", "out", "none", ".peelfs", "layers", "0", "outside", "etc", "..", ".."}
	rng := rand.New(rand.NewPCG(1, 2)) // the same at each run, so that a failure can be found again
	for range random {
		words := make([]string, 1+rng.IntN(7))
		for i := range words {
			words[i] = parts[rng.IntN(len(parts))]
		}
		if text := strings.Join(words, "/"); text != "" {
			texts = append(texts, text)
		}
	}
	for i, text := range texts {
		entries = append(entries, tartest.Symlink(fmt.Sprintf("l%d", i), text), tartest.Symlink(fmt.Sprintf("d/l%d", i), text),
			tartest.Symlink(fmt.Sprintf("d/e/l%d", i), text), tartest.Link(fmt.Sprintf("d/e/h%d", i), fmt.Sprintf("l%d", i)))
		if i > 0 {
			entries = append(entries, tartest.Symlink(fmt.Sprintf("d/c%d", i), fmt.Sprintf("l%d/../l%d", i, i-1)), tartest.Symlink(fmt.Sprintf("c%d", i), fmt.Sprintf("d/l%d/..", i)))
		}
	}
	return layerOf(t, entries...)
}

// The kernel itself is asked: what can be opened by a link can also be opened by it
// when the kernel is told not to leave the directory of the mount.
func TestLinksStayInside(t *testing.T) {
	l := hostile(t, 400)
	whole, _ := mounted(t, view.New([]view.Layer{l}, view.Options{}), Options{})
	v, opt := part(t, "/d", l)
	subtree, _ := mounted(t, v, opt)
	inside, checked := 0, 0
	for _, dir := range []string{whole, subtree} {
		root, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, below := range []string{".", ".peelfs/layers/0", ".peelfs/outside"} {
			walkLinks(t, filepath.Join(dir, below), func(path string) {
				name, err := filepath.Rel(dir, path)
				if err != nil {
					t.Fatal(err)
				}
				checked++
				if opens(t, int(root.Fd()), name) {
					inside++
				}
			})
		}
		root.Close()
	}
	if checked < 5*4*len(outsiders) || inside < checked/20 {
		t.Errorf("of %d links %d lead somewhere: the test is not what it should be", checked, inside)
	}
}

// walkLinks calls fn for each symbolic link below dir, if there is such a
// directory.
func walkLinks(t *testing.T, dir string, fn func(path string)) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		switch path := filepath.Join(dir, e.Name()); {
		case e.Type()&os.ModeSymlink != 0:
			fn(path)
		case e.IsDir():
			walkLinks(t, path, fn)
		}
	}
}

// opens follows a link, and a way on behind it, freely and within the directory
// root.
func opens(t *testing.T, root int, name string) bool {
	t.Helper()
	for _, path := range []string{name, name + "/etc/passwd", name + "/d"} {
		free, err := unix.Openat(root, path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			if path == name {
				return false
			}
			continue
		}
		unix.Close(free)
		bound, err := beneath(root, path)
		if err != nil {
			target, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d/%s", root, name))
			t.Errorf("%s -> %s leaves the mount: %v", path, target, err)
			continue
		}
		unix.Close(bound)
	}
	return true
}

// beneath opens a path that stays below root. The kernel gives up on ".." while
// anything is mounted or renamed anywhere: then it is asked again.
func beneath(root int, path string) (int, error) {
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS}
	for {
		fd, err := unix.Openat2(root, path, how)
		if !errors.Is(err, unix.EAGAIN) {
			return fd, err
		}
	}
}
