package view

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/peelfs/peelfs/internal/errkind"
	tt "github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/layers/index"
)

func TestResolve(t *testing.T) {
	tar := tarball{
		tt.File("usr/bin/sh", "sh"), tt.Symlink("bin", "usr/bin"), tt.Symlink("abs", "/usr/bin/sh"), tt.Symlink("up", "../../../usr"),
		tt.Symlink("a/rel", "../usr/./bin//sh"), tt.Symlink("loop", "loop"), tt.Symlink("dangling", "usr/none"),
	}
	for i := range 41 {
		tar = append(tar, tt.Symlink(fmt.Sprintf("chain%d", i), fmt.Sprintf("chain%d", i+1)))
	}
	tar = append(tar, tt.File("chain41", "end"))
	for _, opt := range []Options{{Symlinks: Raw}, {Symlinks: Rewrite}} {
		v := viewOf(stack(tar), opt)
		for _, c := range []struct {
			path   string
			follow bool
			want   string // the path of the same object, or the message
		}{
			{"", true, "/"},
			{"/", false, "/"},
			{"..", true, "/"},
			{"bin/sh", false, "usr/bin/sh"},
			{"/bin/../bin/sh", false, "usr/bin/sh"},
			{"bin", true, "usr/bin"},
			{"bin/", false, "usr/bin"},
			{"bin/..", false, "usr"},
			{"abs", true, "usr/bin/sh"},
			{"up/bin", true, "usr/bin"},
			{"a/rel", true, "usr/bin/sh"},
			{"chain1", true, "chain41"},
			{"chain0", true, "chain0: too many levels of symbolic links: in /"},
			{"loop", true, "loop: too many levels of symbolic links: in /"},
			{"dangling", true, `dangling: no such file or directory: /usr has no "none"`},
			{"/usr/lib/x/y", true, `/usr/lib/x/y: no such file or directory: /usr has no "lib"`},
			{"bin/x", true, `bin/x: no such file or directory: /usr/bin has no "x"`},
			{"usr/bin/sh/x", true, "usr/bin/sh/x: not a directory: /usr/bin/sh"},
			{"abs/", false, "abs/: not a directory: /usr/bin/sh"},
		} {
			a, err := v.Resolve(t.Context(), c.path, c.follow)
			if err != nil {
				if err.Error() != c.want || errkind.Of(err) != errkind.NotFound {
					t.Errorf("%q: %v (%v), want %s", c.path, err, errkind.Of(err), c.want)
				}
				continue
			}
			if strings.Contains(c.want, ":") {
				t.Errorf("%q is found, want %s", c.path, c.want)
			} else if a != get(t, v, c.want) {
				t.Errorf("%q is %+v, want %s", c.path, a, c.want)
			}
		}
		if a := get(t, v, "bin"); a.Kind != index.Symlink {
			t.Errorf("bin, not followed, is a %v", a.Kind)
		}
	}
}

func TestWhich(t *testing.T) {
	v := rawView(
		tarball{tt.File("d/f", "0"), tt.File("d/g", "0"), tt.File("w/x", "0"), tt.Dir("e/"), tt.File("p/q/r", "0"), tt.Symlink("ln", "d"), tt.File("gone/x", ""),
			tt.Symlink("far", "s/t"), tt.Dir("s/t/"), tt.File("s/u", "")},
		tarball{tt.Dir("d/"), tt.File("d/f", "1"), tt.Whiteout("w/x"), tt.File("e/y", "1"), tt.Link("h", "d/g"), tt.Link("bad", "nothing"), tt.Whiteout("gone")},
		tarball{tt.Opaque("d"), tt.Whiteout("d/f"), tt.File("p/q", "2"), tt.Whiteout("e"), tt.Dir("e/")},
	)
	for path, want := range map[string]string{
		"/d/f":     "/d/f: 2 whiteout /d/f hides; 1 has file /d/f hides hidden; 0 has file /d/f hides hidden",
		"d/g":      "/d/g: 2 opaque /d hides; 1 nothing; 0 has file /d/g hides hidden",
		"d":        "/d: 2 traces dir /d; 1 has dir /d decides; 0 implied dir /d",
		"w/x":      "/w/x: 2 nothing; 1 whiteout /w/x hides; 0 has file /w/x hides hidden",
		"w":        "/w: 2 nothing; 1 traces dir /w; 0 implied dir /w decides",
		"e":        "/e: 2 has dir /e hides decides; 1 implied dir /e hidden; 0 has dir /e hidden",
		"e/y":      "/e/y: 2 whiteout /e hides; 1 has file /e/y hides hidden; 0 nothing",
		"p/q/r":    "/p/q/r: 2 replaced file /p/q hides; 1 nothing; 0 has file /p/q/r hides hidden",
		"h":        "/h: 2 nothing; 1 has link /h hides decides; 0 nothing",
		"bad":      "/bad: 2 nothing; 1 dangling link /bad; 0 nothing",
		"ln/f":     "/d/f: 2 whiteout /d/f hides; 1 has file /d/f hides hidden; 0 has file /d/f hides hidden",
		"ln":       "/ln: 2 nothing; 1 nothing; 0 has symlink /ln hides decides",
		"ln/..":    "/: 2 implied dir / decides; 1 implied dir /; 0 implied dir /",
		"far/../u": "/s/u: 2 nothing; 1 nothing; 0 has file /s/u hides decides",
		"gone/x":   "/gone/x: 2 nothing; 1 whiteout /gone hides; 0 has file /gone/x hides hidden",
		"nowhere":  "/nowhere: 2 nothing; 1 nothing; 0 nothing",
	} {
		real, effects, err := v.Which(t.Context(), path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		var words []string
		for _, e := range effects {
			words = append(words, effectWords(e))
		}
		if got := real + ": " + strings.Join(words, "; "); got != want {
			t.Errorf("%s:\n got %s\nwant %s", path, got, want)
		}
	}
}

func effectWords(e Effect) string {
	words := fmt.Sprint(e.Layer, " ", e.Act)
	if e.Kind != 0 {
		words += " " + e.Kind.String()
	}
	if e.At != "" {
		words += " " + e.At
	}
	for _, f := range []struct {
		on   bool
		word string
	}{{e.Hides, " hides"}, {e.Decides, " decides"}, {e.Hidden, " hidden"}} {
		if f.on {
			words += f.word
		}
	}
	return words
}

func TestWhichFails(t *testing.T) {
	layers := stack(tarball{tt.File("f", "")}, tarball{tt.File("f", "")})
	layers[0].fault = failTimes(1)
	v := viewOf(layers, Options{})
	if _, _, err := v.Which(t.Context(), "f"); !errors.Is(err, errDown) {
		t.Fatalf("got %v", err)
	}
	if _, effects, err := v.Which(t.Context(), "f"); err != nil || len(effects) != 2 {
		t.Errorf("%v, %v", effects, err)
	}
}

func TestReadAt(t *testing.T) {
	v := rawView(tarball{tt.File("f", "0123456789"), tt.Dir("d/"), tt.File("empty", "")}, tarball{tt.Link("g", "f")})
	for _, path := range []string{"f", "g"} {
		ino := get(t, v, path).Ino
		for _, c := range []struct {
			off  int64
			n    int
			want string
		}{{0, 4, "0123"}, {8, 4, "89"}, {10, 4, ""}, {11, 4, ""}, {3, 0, ""}, {0, 100, "0123456789"}} {
			p := make([]byte, c.n)
			n, err := v.ReadAt(t.Context(), ino, p, c.off)
			if err != nil || string(p[:n]) != c.want {
				t.Errorf("%d bytes at %d: %q, %v", c.n, c.off, p[:n], err)
			}
		}
		if _, err := v.ReadAt(t.Context(), ino, make([]byte, 1), -1); errkind.Of(err) != errkind.Invalid {
			t.Errorf("at -1: %v", err)
		}
	}
	if n, err := v.ReadAt(t.Context(), get(t, v, "empty").Ino, make([]byte, 1), 0); n != 0 || err != nil {
		t.Errorf("empty file: %d, %v", n, err)
	}
	for _, ino := range []Ino{RootIno, get(t, v, "d").Ino} {
		if _, err := v.ReadAt(t.Context(), ino, make([]byte, 1), 0); errkind.Of(err) != errkind.Invalid {
			t.Errorf("directory %#x: %v", ino, err)
		}
	}
	short := New([]Layer{shortLayer{stack(tarball{tt.File("f", "0123")})[0]}}, Options{})
	if n, err := short.ReadAt(t.Context(), get(t, short, "f").Ino, make([]byte, 4), 0); n != 0 || errkind.Of(err) != errkind.Internal {
		t.Errorf("a short read of the layer became %d, %v", n, err)
	}
}

// shortLayer reads less than it should and says nothing.
type shortLayer struct{ *memLayer }

func (l shortLayer) ReadAt(ctx context.Context, id uint32, p []byte, off int64) (int, error) {
	return l.memLayer.ReadAt(ctx, id, p[:len(p)-1], off)
}

func TestPath(t *testing.T) {
	v := rawView(tarball{tt.File("d/f", "")})
	ino := get(t, v, "d/f").Ino
	for _, c := range []struct {
		v    *View
		ino  Ino
		want string
	}{{v, RootIno, "/"}, {v, ino, "/d/f"}, {rawView(tarball{}), ino, ""}} {
		if got := c.v.Path(c.ino); got != c.want {
			t.Errorf("path of %#x is %q, want %q", c.ino, got, c.want)
		}
	}
}
