package fusefs

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/layers/view"
	"pgregory.net/rapid"
)

// part is the view of a directory of the layers, and the options to mount it.
func part(t *testing.T, path string, layers ...*memLayer) (*view.View, Options) {
	t.Helper()
	list := make([]view.Layer, len(layers))
	for i, l := range layers {
		list[i] = l
	}
	a, err := view.New(list, view.Options{}).Resolve(t.Context(), path, true)
	if err != nil {
		t.Fatal(err)
	}
	return view.New(list, view.Options{Subtree: view.Subtree{Path: path, Ino: a.Ino}}), Options{Top: a.Ino}
}

func TestSubtreeIsTheRoot(t *testing.T) {
	l := layerOf(t, tartest.Dir("usr/", tartest.Mode(0o711)), tartest.Dir("usr/bin/"), tartest.File("usr/bin/vi", "the editor"),
		tartest.Symlink("usr/bin/editor", "/etc/alternatives/editor"), tartest.Symlink("etc/alternatives/editor", "/usr/bin/vi"),
		tartest.Symlink("usr/bin/up", "../../etc/passwd"), tartest.File("etc/passwd", "root"), tartest.Symlink("usr/abs", "/usr/bin/vi"),
		tartest.Symlink("bin", "usr/bin"), tartest.Symlink("usr/viabin", "/bin/vi"))
	v, opt := part(t, "/usr", l)
	dir, _ := mounted(t, v, opt)
	if got := run(t, "find", dir, "-printf", "%P %m %y\n"); !strings.HasPrefix(got, " 711 d\n") || !strings.Contains(got, "\nbin/vi ") || strings.Contains(got, "etc") {
		t.Errorf("the tree is %q", got)
	}
	for _, path := range []string{"bin/editor", "abs", "viabin", ".peelfs/outside/usr/bin/vi", ".peelfs/outside/bin/vi", ".peelfs/outside/etc/alternatives/editor"} {
		if got := run(t, "cat", dir+"/"+path); got != "the editor" {
			t.Errorf("%s: %q", path, got)
		}
	}
	if got := run(t, "cat", dir+"/bin/up"); got != "root" {
		t.Errorf("bin/up: %q", got)
	}
	if got := run(t, "ls", "-U", dir+"/.peelfs"); got != "layers\noutside\n" {
		t.Errorf(".peelfs has %q", got)
	}
	if got := run(t, "sh", "-c", "cd "+dir+"/.peelfs/outside/usr && cd bin && pwd -P"); got != dir+"/bin\n" {
		t.Errorf("the way in from outside ends in %q", got)
	}
	if got := run(t, "sh", "-c", "cd "+dir+"/.peelfs/outside/etc && cd .. && ls -f && cd .. && ls"); got != ".\n..\nbin\netc\nusr\nlayers\noutside\n" {
		t.Errorf("the way up outside: %q", got)
	}
	run(t, "find", "-L", dir, "-inum", "0") // no loops, no errors
}

func TestSquash(t *testing.T) {
	l := layerOf(t, tartest.File("secret", "x", tartest.Mode(0o600), tartest.Owner(0, 0)), tartest.Symlink("l", "secret"),
		tartest.File("su", "x", tartest.Mode(0o4711), tartest.Owner(7, 8)), tartest.Dir("d/", tartest.Mode(0o1700), tartest.Owner(1, 2)))
	id := func(n uint32) *uint32 { return &n }
	for _, c := range []struct {
		squash Squash
		want   string
	}{
		{Squash{}, "d 1700 1 2\nl 777 0 0\nsecret 600 0 0\nsu 4711 7 8\n"},
		{Squash{UID: id(5)}, "d 1700 5 2\nl 777 5 0\nsecret 600 5 0\nsu 4711 5 8\n"},
		{Squash{GID: id(6), FMask: id(0o022), DMask: id(0o022)}, "d 755 1 6\nl 777 0 6\nsecret 644 0 6\nsu 755 7 6\n"},
		{Squash{UID: id(0), FMask: id(0o077)}, "d 1700 0 2\nl 777 0 0\nsecret 600 0 0\nsu 700 0 8\n"},
	} {
		dir, _ := mounted(t, viewOf(l), Options{Squash: c.squash})
		got := run(t, "sh", "-c", "find "+dir+" -mindepth 1 -printf '%P %m %U %G\n' | sort")
		stats := run(t, "sh", "-c", "cd "+dir+" && stat -c '%n %a %u %g' *") // by other requests
		if got != c.want || stats != c.want {
			t.Errorf("%+v: %q and %q, want %q", c.squash, got, stats, c.want)
		}
	}
}

// Layers below the image's are not counted among them.
func TestExtraLayersAreNoneOfTheImage(t *testing.T) {
	extra, base := layerOf(t, tartest.Dir("proc/")), layerOf(t, tartest.File("f", "x"))
	dir, _ := mounted(t, viewOf(extra, base), Options{Extra: 1, LayerName: func(n int) string { return string(rune('a' + n)) }})
	if got := run(t, "sh", "-c", "ls "+dir+"; ls "+dir+"/.peelfs/layers; ls "+dir+"/.peelfs/layers/0"); got != "f\nproc\n0\nf\n" {
		t.Errorf("listing: %q", got)
	}
	if got := run(t, "getfattr", "--absolute-names", "--only-values", "-n", "user.peelfs.layer", dir+"/f"); got != "a" {
		t.Errorf("f is of layer %q", got)
	}
	if err := exec.Command("getfattr", "-n", "user.peelfs.layer", dir+"/proc").Run(); err == nil {
		t.Error("an extra directory has a layer")
	}
}

// Each number has one node in each image, and the way back.
func TestNumbersGoBothWays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		layer := rapid.Uint64Range(1, packedLayerMask).Draw(t, "layer")
		entry := rapid.Uint64Range(0, view.EntryMask).Draw(t, "entry")
		marker := rapid.Uint64Range(0, 2).Draw(t, "marker")
		for _, number := range []uint64{
			1, 2, 3, nodeBack, 16, layer&127<<25 | entry&(1<<25-1) | 1<<25, layer<<40 | entry, 1<<62 | layer<<40 | marker<<38 | entry,
		} {
			for _, n := range []numbers{{top: 1}, {top: 1, image: 1}, {top: 1, image: maxImages}, {top: 1<<25 | 77}, {top: 1<<25 | 77, image: 3}} {
				node := n.out(number)
				if got := n.in(node); got != number || n.image != 0 && imageOf(node) != n.image {
					t.Fatalf("%+v: %#x is told as %#x, which means %#x", n, number, node, got)
				}
			}
		}
	})
}
