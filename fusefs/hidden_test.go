package fusefs

import (
	"errors"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/peelfs/peelfs/internal/tartest"
)

func metaFiles(live func() string) map[string]File {
	return map[string]File{
		"manifest.json": static("{}"),
		"config.json":   static(pattern(10_000)),
		"status.json":   {Live: true, Read: func() ([]byte, error) { return []byte(live()), nil }},
	}
}

func TestHiddenDirectoryTouchesNoLayer(t *testing.T) {
	l := layerOf(t, tartest.File("f", "x"))
	for _, other := range []bool{false, true} {
		l.opens.Store(0)
		dir, _ := mounted(t, viewOf(l, l), Options{AllowOther: other, Files: metaFiles(func() string { return "live" })})
		if got, want := run(t, "ls", "-f", dir+"/.peelfs"), ".\n..\nconfig.json\nmanifest.json\nstatus.json\nlayers\n"; got != want {
			t.Errorf("listing %q, want %q", got, want)
		}
		if got, want := run(t, "ls", "-f", dir+"/.peelfs/layers"), ".\n..\n0\n1\n"; got != want {
			t.Errorf("layers %q, want %q", got, want)
		}
		run(t, "ls", "-lR", dir+"/.peelfs/layers", "--ignore=*")
		run(t, "stat", dir+"/.peelfs/layers/1", dir+"/.peelfs/layers/../status.json")
		if got := run(t, "cat", dir+"/.peelfs/manifest.json", dir+"/.peelfs/status.json"); got != "{}live" {
			t.Errorf("files %q", got)
		}
		if got := run(t, "cat", dir+"/.peelfs/config.json"); got != pattern(10_000) {
			t.Error("config.json is wrong")
		}
		for _, name := range []string{"none", "layers/2", "layers/00", "layers/-1", "layers/x"} {
			if err := exec.Command("stat", dir+"/.peelfs/"+name).Run(); err == nil {
				t.Errorf("there is a %s", name)
			}
		}
		if n := l.opens.Load(); n != 0 {
			t.Errorf("a layer was asked for %d times", n)
		}
	}
}

func TestHiddenDirectoryIsNotListed(t *testing.T) {
	l := layerOf(t, tartest.File(".peelfs/theirs", "x"), tartest.File("a", ""), tartest.File("b", ""))
	dir, _ := mounted(t, viewOf(l), Options{Files: metaFiles(func() string { return "" })})
	if got, want := run(t, "ls", "-fU", dir), ".\n..\na\nb\n"; got != want {
		t.Errorf("the root lists %q, want %q", got, want)
	}
	if err := exec.Command("stat", dir+"/.peelfs/theirs").Run(); err == nil {
		t.Error("the image's own .peelfs shows")
	}
	if got := run(t, "cat", dir+"/.peelfs/layers/0/.peelfs/theirs"); got != "x" {
		t.Errorf("in its layer it is %q", got)
	}
}

// Each look shows the file as it is then: not the size, the pages or the times
// that the kernel remembers.
func TestLiveFile(t *testing.T) {
	var n atomic.Int64
	content := func() string { return strings.Repeat("x", int(n.Load())*500) + strconv.Itoa(int(n.Load())) }
	dir, _ := mounted(t, empty(), Options{Files: metaFiles(content)})
	for _, i := range []int64{1, 30, 2, 30, 31, 0} {
		n.Store(i)
		if got := run(t, "cat", dir+"/.peelfs/status.json"); got != content() {
			t.Errorf("%d: %d bytes, want %d", i, len(got), len(content()))
		}
		if got := run(t, "stat", "-c", "%s", dir+"/.peelfs/status.json"); got != strconv.Itoa(len(content()))+"\n" {
			t.Errorf("%d: size %s", i, got)
		}
	}
}

func TestFileThatCannotBeMade(t *testing.T) {
	bad := File{Read: func() ([]byte, error) { return nil, errors.New("no") }}
	dir, _ := mounted(t, empty(), Options{Files: map[string]File{"x": bad}})
	if out, err := exec.Command("cat", dir+"/.peelfs/x").CombinedOutput(); err == nil || !strings.Contains(string(out), "Input/output error") {
		t.Errorf("cat: %v, %s", err, out)
	}
}

func TestLayerTreesShowMarkers(t *testing.T) {
	base := layerOf(t, tartest.File("d/low", "low"), tartest.File("gone", ""))
	top := layerOf(t, tartest.File("d/high", "high"), tartest.Whiteout("gone"), tartest.Opaque("d"))
	dir, _ := mounted(t, viewOf(base, top), Options{})
	if got, want := run(t, "find", dir, "-mindepth", "1", "-printf", "%P\n"), "d\nd/high\n"; got != want {
		t.Errorf("merged %q, want %q", got, want)
	}
	layer := dir + "/.peelfs/layers/"
	if got := run(t, "cat", layer+"0/d/low", layer+"1/d/high"); got != "lowhigh" {
		t.Errorf("read %q", got)
	}
	got := run(t, "find", layer+"1", "-mindepth", "1", "-printf", "%P\n")
	for _, name := range []string{".wh.gone\n", "d/.wh..wh..opq\n", "d/high\n"} {
		if !strings.Contains(got, name) {
			t.Errorf("layer 1 shows %q, not %q", got, name)
		}
	}
	if got := run(t, "sh", "-c", "cd "+layer+"1/d && cd .. && cd .. && ls"); got != "0\n1\n" {
		t.Errorf("above a layer's tree is %q", got)
	}
}

// Entries of an image by our names are found under other names.
func TestNamesOfTheImageThatOursCover(t *testing.T) {
	l := layerOf(t, tartest.File(".peelfs/theirs", "x"), tartest.File(".peelfs/sub/f", "y"), tartest.File("a", "",
		tartest.Xattr("user.peelfs.layer", "1"), tartest.Xattr("user.peelfs.created_by", "2"), tartest.Xattr("user.peelfs.other", "3")))
	var log syncBuffer
	dir, _ := mounted(t, viewOf(l), Options{
		Files: metaFiles(func() string { return "" }), Logger: log.logger(), LayerName: func(int) string { return "ours" },
	})
	if got := run(t, "cat", dir+"/.peelfs/image/theirs", dir+"/.peelfs/image/sub/f", dir+"/.peelfs/image/../image/theirs", dir+"/.peelfs/manifest.json"); got != "xyx{}" {
		t.Errorf("read %q", got)
	}
	if got, want := run(t, "ls", dir+"/.peelfs/image"), "sub\ntheirs\n"; got != want {
		t.Errorf("listed %q", got)
	}
	for range 2 {
		run(t, "ls", dir)
	}
	if got := log.String(); strings.Count(got, ".peelfs/image") != 1 {
		t.Errorf("logged: %s", got)
	}
	for name, want := range map[string]string{
		"user.peelfs.layer": `"ours"`, "user.peelfs.created_by": "ENODATA", "user.peelfs.other": `"3"`,
		"user.peelfs.own.layer": `"1"`, "user.peelfs.own.created_by": `"2"`, "user.peelfs.own.image": "ENODATA", "user.peelfs.own.other": "ENODATA",
	} {
		if got := runChild(t, "getxattr", dir+"/a", name); got != want {
			t.Errorf("%s = %s, want %s", name, got, want)
		}
	}
	got := strings.Fields(run(t, "getfattr", "--absolute-names", "-m", "-", dir+"/a"))
	slices.Sort(got)
	if want := []string{"#", dir + "/a", "file:", "user.peelfs.other", "user.peelfs.own.created_by", "user.peelfs.own.layer"}; !slices.Equal(got, want) {
		t.Errorf("listed: %q", got)
	}
	none, _ := mounted(t, viewOf(layerOf(t, tartest.File("f", ""))), Options{Files: metaFiles(func() string { return "" })})
	if err := exec.Command("stat", none+"/.peelfs/image").Run(); err == nil {
		t.Error("an image without .peelfs has one")
	}
}
