package view

import (
	"context"
	"testing"

	tt "github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/layers/index"
)

// Every rule about what a layer does to those below it.
func TestAcrossLayers(t *testing.T) {
	for _, c := range []struct {
		name string
		tars []tarball // base first
		want string
	}{
		{"whiteout of a file", []tarball{{tt.File("f", "1"), tt.File("g", "1")}, {tt.Whiteout("f")}}, "g=1"},
		{"whiteout of a directory takes all below", []tarball{{tt.Dir("d/"), tt.File("d/a", "1"), tt.File("d/s/b", "1")}, {tt.Whiteout("d")}}, ""},
		{"f then .wh.f in one layer", []tarball{{tt.File("f", "1")}, {tt.File("f", "2"), tt.Whiteout("f")}}, "f=2"},
		{".wh.f then f in one layer", []tarball{{tt.File("f", "1")}, {tt.Whiteout("f"), tt.File("f", "2")}}, "f=2"},
		{".wh.d then d/ d/b", []tarball{{tt.Dir("d/"), tt.File("d/a", "1")}, {tt.Whiteout("d"), tt.Dir("d/"), tt.File("d/b", "2")}}, "d/ d/b=2"},
		{"d/ d/b then .wh.d", []tarball{{tt.Dir("d/"), tt.File("d/a", "1")}, {tt.Dir("d/"), tt.File("d/b", "2"), tt.Whiteout("d")}}, "d/ d/b=2"},
		{".wh.d and d/b without an entry for d", []tarball{{tt.Dir("d/"), tt.File("d/a", "1")}, {tt.Whiteout("d"), tt.File("d/b", "2")}}, "d/ d/b=2"},
		{".wh.d and d/.wh.x", []tarball{{tt.Dir("d/"), tt.File("d/a", "1")}, {tt.Whiteout("d"), tt.Whiteout("d/x")}}, ""},
		{"opaque first", []tarball{{tt.Dir("d/"), tt.File("d/a", "1")}, {tt.Opaque("d"), tt.Dir("d/"), tt.File("d/b", "2")}}, "d/ d/b=2"},
		{"opaque last", []tarball{{tt.Dir("d/"), tt.File("d/a", "1")}, {tt.Dir("d/"), tt.File("d/s/b", "2"), tt.Opaque("d")}}, "d/ d/s/ d/s/b=2"},
		{"opaque without anything else", []tarball{{tt.Dir("d/"), tt.File("d/a", "1")}, {tt.Opaque("d")}}, "d/"},
		{"opaque hides in subdirectories too", []tarball{{tt.File("d/s/a", "1")}, {tt.Opaque("d"), tt.File("d/s/b", "2")}}, "d/ d/s/ d/s/b=2"},
		{"opaque at the root", []tarball{{tt.File("a", "1"), tt.File("d/b", "1")}, {tt.Opaque(""), tt.File("d/c", "2")}}, "d/ d/c=2"},
		{"opaque at the root of an emptied image", []tarball{{tt.File("a", "1")}, {tt.Opaque("")}}, ""},
		{"opaque in a directory that does not exist", []tarball{{tt.File("a", "1")}, {tt.Opaque("d/e")}}, "a=1"},
		{"whiteout in a directory that does not exist", []tarball{{tt.File("a", "1")}, {tt.Whiteout("d/e/f")}}, "a=1"},
		{"opaque and a whiteout in one directory", []tarball{{tt.File("d/a", "1"), tt.File("d/b", "1")}, {tt.Opaque("d"), tt.Whiteout("d/a"), tt.File("d/c", "2")}}, "d/ d/c=2"},
		{"marker that is a directory", []tarball{{tt.File("f", "1")}, {tt.Dir(".wh.f/")}}, ""},
		{"marker that is a symlink", []tarball{{tt.File("f", "1")}, {tt.Symlink(".wh.f", "x")}}, ""},
		{"marker that is a hard link", []tarball{{tt.File("f", "1")}, {tt.File("g", "2"), tt.Link(".wh.f", "g")}}, "g=2"},
		{"opaque marker that is a directory", []tarball{{tt.File("d/f", "1")}, {tt.Dir("d/.wh..wh..opq/")}}, "d/"},
		{"invalid whiteouts", []tarball{{tt.File("f", "1")}, {tt.File(".wh.", ""), tt.File(".wh..", ""), tt.File(".wh...", "")}}, "f=1"},
		{"marker as a path component", []tarball{{tt.File("d/x/f", "1")}, {tt.File("d/.wh.x/f", "2")}}, "d/ d/x/ d/x/f=1"},
		{"AUFS bookkeeping is invisible", []tarball{{tt.File("f", "1")}, {tt.Dir(".wh..wh.plnk/"), tt.File(".wh..wh.plnk/1.2", "2"), tt.File(".wh..wh.aufs", ""), tt.Dir(".wh..wh.orph/"), tt.Link("g", ".wh..wh.plnk/1.2")}}, "f=1 g=2"},
		{"whiteout of something that does not exist", []tarball{{tt.File("f", "1")}, {tt.Whiteout("x")}}, "f=1"},
		{"whiteout below a lower regular file", []tarball{{tt.File("f", "1")}, {tt.Whiteout("f/x")}}, "f=1"},
		{"opaque below a lower regular file", []tarball{{tt.File("f", "1")}, {tt.Opaque("f")}}, "f=1"},
		{"whiteout and again", []tarball{{tt.File("f", "1")}, {tt.Whiteout("f")}, {tt.File("f", "3")}}, "f=3"},
		{"whiteout of a directory, and again", []tarball{{tt.File("d/a", "1")}, {tt.Whiteout("d")}, {tt.File("d/b", "3")}}, "d/ d/b=3"},
		{"whiteout two layers up", []tarball{{tt.File("d/a", "1")}, {tt.File("d/b", "2")}, {tt.Whiteout("d/a")}, {tt.File("d/c", "4")}}, "d/ d/b=2 d/c=4"},

		{"directory over directory", []tarball{{tt.Dir("d/"), tt.File("d/a", "1"), tt.File("d/b", "1")}, {tt.Dir("d/"), tt.File("d/b", "2"), tt.File("d/c", "2")}}, "d/ d/a=1 d/b=2 d/c=2"},
		{"file over directory", []tarball{{tt.Dir("d/"), tt.File("d/a", "1")}, {tt.File("d", "2")}}, "d=2"},
		{"symlink over directory", []tarball{{tt.Dir("d/"), tt.File("d/a", "1")}, {tt.Symlink("d", "e")}}, "d->e"},
		{"fifo over directory", []tarball{{tt.Dir("d/"), tt.File("d/a", "1")}, {tt.Fifo("d")}}, "d=fifo"},
		{"directory over file", []tarball{{tt.File("d", "1")}, {tt.Dir("d/")}}, "d/"},
		{"implied directory over file", []tarball{{tt.File("d", "1")}, {tt.File("d/x", "2")}}, "d/ d/x=2"},
		{"directory over file over directory", []tarball{{tt.File("d/a", "1")}, {tt.File("d", "2")}, {tt.File("d/x", "3")}}, "d/ d/x=3"},
		{"implied directory over a symlink to a directory", []tarball{{tt.File("real/f", "1"), tt.Symlink("ln", "real")}, {tt.File("ln/g", "2")}}, "ln/ ln/g=2 real/ real/f=1"},
		{"file over file", []tarball{{tt.File("f", "1")}, {tt.File("f", "2")}}, "f=2"},
		{"char 0:0 is a plain node", []tarball{{tt.File("f", "1")}, {tt.Char("f", 0, 0)}}, "f=char:0:0"},

		{"hard link to a lower file", []tarball{{tt.File("a", "1")}, {tt.Link("b", "a")}}, "a=1 b=1"},
		{"hard link to a lower file, which is replaced above", []tarball{{tt.File("a", "1")}, {tt.Link("b", "a")}, {tt.File("a", "3")}}, "a=3 b=1"},
		{"hard link to a lower file, whose name goes with it", []tarball{{tt.File("a", "1")}, {tt.Link("b", "a"), tt.Whiteout("a")}}, "b=1"},
		{"hard link to a lower file, deleted between", []tarball{{tt.File("a", "1")}, {tt.Whiteout("a")}, {tt.Link("b", "a")}}, ""},
		{"hard link to a lower file, in a directory hidden between", []tarball{{tt.File("d/a", "1")}, {tt.Opaque("d")}, {tt.Link("b", "d/a")}}, "d/"},
		{"one of two names replaced above", []tarball{{tt.File("a", "1"), tt.Link("b", "a")}, {tt.File("a", "2")}}, "a=2 b=1"},
		{"primary deleted above", []tarball{{tt.File("a", "1"), tt.Link("b", "a")}, {tt.Whiteout("a")}}, "b=1"},
		{"own target before the lower one", []tarball{{tt.File("a", "1")}, {tt.Link("b", "a"), tt.File("a", "2")}}, "a=2 b=2"},
		{"hard link to a lower symlink", []tarball{{tt.Symlink("s", "x")}, {tt.Link("t", "s")}}, "s->x t->x"},
		{"hard link with an absolute name", []tarball{{tt.File("d/a", "1")}, {tt.Link("./b", "/d/../d/a")}}, "b=1 d/ d/a=1"},
		{"hard link to a hard link to a lower file", []tarball{{tt.File("a", "1")}, {tt.Link("b", "a")}, {tt.Link("c", "b")}}, "a=1 b=1 c=1"},
		{"hard link to another name in a lower layer", []tarball{{tt.File("a", "1"), tt.Link("b", "a")}, {tt.Link("c", "b")}}, "a=1 b=1 c=1"},
		{"hard link to nothing", []tarball{{tt.File("a", "1")}, {tt.Link("b", "x"), tt.File("c", "2")}}, "a=1 c=2"},
		{"hard link to nothing over a file", []tarball{{tt.File("b", "1")}, {tt.Link("b", "x")}}, "b=1"},
		{"hard link to nothing over a directory", []tarball{{tt.File("b/f", "1")}, {tt.Link("b", "x")}, {tt.File("b/g", "3")}}, "b/ b/f=1 b/g=3"},
		{"hard link to nothing with a whiteout of its name", []tarball{{tt.File("b", "1")}, {tt.Link("b", "x"), tt.Whiteout("b")}}, ""},
		{"the same over a directory", []tarball{{tt.File("b/f", "1")}, {tt.Whiteout("b"), tt.Link("b", "x")}, {tt.File("b/g", "3")}}, "b/ b/g=3"},
		{"hard link to a lower file with a whiteout of its name", []tarball{{tt.File("b", "1"), tt.File("x", "1")}, {tt.Link("b", "x"), tt.Whiteout("b")}}, "b=1 x=1"},
		{"hard link to a lower file through a link of its layer", []tarball{{tt.File("usr/lib/x", "1")}, {tt.Symlink("lib", "usr/lib"), tt.Link("b", "lib/x")}}, "b=1 lib->usr/lib usr/ usr/lib/ usr/lib/x=1"},
		{"whiteout below a link of its layer", []tarball{{tt.File("usr/lib/x", "1"), tt.File("lib/x", "1")}, {tt.Symlink("lib", "usr/lib"), tt.Whiteout("lib/x")}}, "lib->usr/lib usr/ usr/lib/"},
		{"opaque below a link of its layer", []tarball{{tt.File("usr/lib/x", "1")}, {tt.Symlink("lib", "/usr/lib"), tt.Opaque("lib"), tt.File("lib/y", "2")}}, "lib->/usr/lib usr/ usr/lib/ usr/lib/y=2"},
		{"file below a link of a lower layer", []tarball{{tt.Symlink("lib", "usr/lib"), tt.File("usr/lib/x", "1")}, {tt.File("lib/y", "2")}}, "lib/ lib/y=2 usr/ usr/lib/ usr/lib/x=1"},
		{"hard link to a directory", []tarball{{tt.File("d/f", "1")}, {tt.Link("b", "d")}}, "d/ d/f=1"},
		{"hard link to itself", []tarball{{tt.File("a", "1")}, {tt.Link("b", "b")}}, "a=1"},
		{"no layers with anything", []tarball{{}, {}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := rawView(c.tars...)
			if got := tree(t, v); got != c.want {
				t.Errorf("shows %q, want %q", got, c.want)
			}
			checkView(t, v)
		})
	}
}

func TestNoLayers(t *testing.T) {
	v := New(nil, Options{})
	if got := tree(t, v); got != "" {
		t.Errorf("shows %q", got)
	}
	if a := get(t, v, "/"); a != impliedAttr(RootIno) {
		t.Errorf("root %+v", a)
	}
	if v.LayerOf(RootIno) != -1 {
		t.Error("a layer describes the root of an image without layers")
	}
}

func TestDirectoryAttributes(t *testing.T) {
	for _, c := range []struct {
		name  string
		tars  []tarball
		mode  uint32
		xattr string // the value of user.x, "" for none
		layer int
	}{
		{"upper explicit", []tarball{{tt.Dir("d/", tt.Mode(0o700), tt.Xattr("user.x", "low"))}, {tt.Dir("d/", tt.Mode(0o711))}}, 0o711, "", 1},
		{"implied never overrides explicit", []tarball{{tt.Dir("d/", tt.Mode(0o700), tt.Xattr("user.x", "low"))}, {tt.File("d/f", "")}}, 0o700, "low", 1},
		{"implied only", []tarball{{tt.File("d/a", "")}, {tt.File("d/f", "")}}, 0o755, "", 1},
		{"traces only", []tarball{{tt.Dir("d/", tt.Mode(0o700), tt.Xattr("user.x", "low"))}, {tt.Whiteout("d/x")}}, 0o700, "low", 0},
		{"opaque leaves the attributes", []tarball{{tt.Dir("d/", tt.Mode(0o700), tt.Xattr("user.x", "low"))}, {tt.Opaque("d"), tt.File("d/f", "")}}, 0o700, "low", 1},
		{"replaced by an implied one", []tarball{{tt.Dir("d/", tt.Mode(0o700), tt.Xattr("user.x", "low"))}, {tt.Whiteout("d"), tt.File("d/f", "")}}, 0o755, "", 1},
		{"a file between hides", []tarball{{tt.Dir("d/", tt.Mode(0o700))}, {tt.File("d", "")}, {tt.File("d/f", "")}}, 0o755, "", 2},
		{"a whiteout between hides", []tarball{{tt.Dir("d/", tt.Mode(0o700))}, {tt.Whiteout("d")}, {tt.File("d/f", "")}}, 0o755, "", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := rawView(c.tars...)
			a := get(t, v, "d")
			if a.Mode != c.mode || a.Kind != index.Dir || a.Nlink != 1 {
				t.Errorf("%+v, want mode %o", a, c.mode)
			}
			if a.Sec != 0 && c.mode == 0o755 {
				t.Errorf("mtime %d of a directory that no layer describes", a.Sec)
			}
			value, ok, err := v.Xattr(t.Context(), a.Ino, "user.x")
			if err != nil || ok != (c.xattr != "") || string(value) != c.xattr {
				t.Errorf("user.x = %q, %v, %v", value, ok, err)
			}
			names, err := v.XattrNames(t.Context(), a.Ino)
			if err != nil || len(names) > 0 != (c.xattr != "") {
				t.Errorf("names %q, %v", names, err)
			}
			if got := v.LayerOf(a.Ino); got != c.layer {
				t.Errorf("layer %d, want %d", got, c.layer)
			}
		})
	}
}

func TestRootAttributes(t *testing.T) {
	v := rawView(tarball{tt.File("a", "")}, tarball{tt.Dir("./", tt.Mode(0o700), tt.Owner(7, 8), tt.MTime(-5, 6), tt.Xattr("user.r", "v"))}, tarball{tt.File("b", "")})
	a, err := v.Root(t.Context())
	if want := (Attr{Ino: 1, Kind: index.Dir, Mode: 0o700, UID: 7, GID: 8, Sec: -5, Nsec: 6, Nlink: 1}); err != nil || a != want {
		t.Errorf("%+v, %v, want %+v", a, err, want)
	}
	if value, ok, err := v.Xattr(t.Context(), RootIno, "user.r"); string(value) != "v" || !ok || err != nil {
		t.Errorf("user.r = %q, %v, %v", value, ok, err)
	}
	if v.LayerOf(RootIno) != 1 {
		t.Errorf("layer %d", v.LayerOf(RootIno))
	}
	if p, err := v.Parent(t.Context(), RootIno); p != RootIno || err != nil {
		t.Errorf("parent %v, %v", p, err)
	}
}

func TestLinkCounts(t *testing.T) {
	for _, c := range []struct {
		name  string
		tars  []tarball
		path  string
		nlink uint32
		same  []string // names of the same inode
	}{
		{"one name", []tarball{{tt.File("a", "")}}, "a", 1, nil},
		{"two in a layer", []tarball{{tt.File("a", ""), tt.Link("b", "a")}}, "a", 2, []string{"b"}},
		{"by the other name", []tarball{{tt.File("a", ""), tt.Link("b", "a")}}, "b", 2, []string{"a"}},
		{"one replaced", []tarball{{tt.File("a", ""), tt.Link("b", "a"), tt.Link("c", "a")}, {tt.File("b", "")}}, "c", 2, []string{"a"}},
		{"the primary deleted", []tarball{{tt.File("a", ""), tt.Link("b", "a"), tt.Link("c", "a")}, {tt.Whiteout("a")}}, "c", 2, []string{"b"}},
		{"one in a hidden directory", []tarball{{tt.File("a", ""), tt.Link("d/b", "a")}, {tt.Opaque("d")}}, "a", 1, nil},
		{"one below a replaced directory", []tarball{{tt.File("a", ""), tt.Link("d/b", "a")}, {tt.File("d", "")}}, "a", 1, nil},
		{"one more from above", []tarball{{tt.File("a", "")}, {tt.Link("b", "a")}}, "a", 2, []string{"b"}},
		{"only from above", []tarball{{tt.File("a", "")}, {tt.Link("b", "a"), tt.Whiteout("a")}}, "b", 1, nil},
		{"chain", []tarball{{tt.File("a", "")}, {tt.Link("b", "a")}, {tt.Link("c", "b")}}, "a", 3, []string{"b", "c"}},
		{"a link deleted above", []tarball{{tt.File("a", "")}, {tt.Link("b", "a")}, {tt.Whiteout("b")}}, "a", 1, nil},
		{"a link replaced by a link to nothing", []tarball{{tt.File("a", "")}, {tt.Link("b", "a")}, {tt.Link("b", "x")}}, "a", 2, []string{"b"}},
		{"to another name", []tarball{{tt.File("a", ""), tt.Link("b", "a")}, {tt.Link("c", "b")}}, "a", 3, []string{"b", "c"}},
		{"symlink", []tarball{{tt.Symlink("a", "x")}, {tt.Link("b", "a")}}, "a", 2, []string{"b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := rawView(c.tars...)
			a := get(t, v, c.path)
			if a.Nlink != c.nlink {
				t.Errorf("nlink %d, want %d", a.Nlink, c.nlink)
			}
			for _, name := range c.same {
				if b := get(t, v, name); b != a {
					t.Errorf("%s is %+v, %s is %+v", c.path, a, name, b)
				}
			}
			checkView(t, v)
		})
	}
}

// checkView walks the view and checks that all ways to an object agree: listing,
// lookup, and the inode number alone in a view that has seen nothing yet.
func checkView(t tester, v *View) {
	t.Helper()
	ctx := t.Context()
	fresh := func() *View {
		w := New(nil, v.opt)
		w.layers = make([]stackedLayer, len(v.layers))
		for i := range w.layers {
			w.layers[i].layer = v.layers[i].layer
		}
		w.borrowed.Store(&borrowed{floor: len(w.layers), names: map[uint64]uint32{}})
		return w
	}
	checkDir(ctx, t, v, fresh, RootIno)
}

func checkDir(ctx context.Context, t tester, v *View, fresh func() *View, dir Ino) {
	t.Helper()
	d, err := v.ReadDir(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	last := ""
	for i := range d.Len() {
		name, ino, kind := d.Entry(i)
		a := d.Attr(i)
		if i > 0 && string(name) <= last {
			t.Errorf("%q comes after %q", name, last)
		}
		last = string(name)
		if a.Ino != ino || a.Kind != kind {
			t.Errorf("%q: Entry says %#x %v, Attr says %+v", name, ino, kind, a)
		}
		for _, w := range []*View{v, fresh()} {
			if b, err := w.Lookup(ctx, dir, last); err != nil || a != b {
				t.Errorf("%q: listed as %+v, looked up as %+v, %v", name, a, b, err)
			}
			if b, err := w.Attr(ctx, ino); err != nil || a != b {
				t.Errorf("%q: listed as %+v, by number %+v, %v", name, a, b, err)
			}
		}
		if kind != index.Dir {
			continue
		}
		for _, w := range []*View{v, fresh()} {
			if p, err := w.Parent(ctx, ino); err != nil || p != dir {
				t.Errorf("%q: parent %#x, %v, want %#x", name, p, err, dir)
			}
		}
		checkDir(ctx, t, v, fresh, ino)
	}
}
