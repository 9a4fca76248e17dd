package index_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/tarindex"

	. "github.com/peelfs/peelfs/internal/tartest"
)

// indexOf is the index of a tar, with the number of entries refused.
func indexOf(t testing.TB, tarBytes []byte) (*index.Index, int) {
	t.Helper()
	b := index.NewBuilder()
	if err := tarindex.Tar(bytes.NewReader(tarBytes), b); err != nil {
		t.Fatal(err)
	}
	x := reopen(t, b, int64(len(tarBytes)))
	n, sample := b.Refused()
	if n != len(sample) && n < 20 {
		t.Fatalf("%d entries refused, sample %q", n, sample)
	}
	return x, n
}

func reopen(t testing.TB, b *index.Builder, size int64) *index.Index {
	t.Helper()
	var out bytes.Buffer
	if err := b.Write(&out, index.Header{BlobSize: -1, SpaceSize: size}, nil, nil); err != nil {
		t.Fatal(err)
	}
	x, err := index.OpenBytes(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return x
}

var flagNames = []struct {
	flag index.Flags
	name string
}{
	{index.Implied, "implied"}, {index.Opaque, "opaque"}, {index.Replaces, "replaces"},
	{index.MarkersOnly, "markers"}, {index.Sparse, "sparse"},
}

// describe is an entry as a line: path, kind and flags, then what it holds, then
// the name that it is another name of.
func describe(x *index.Index, id uint32, tarBytes []byte) string {
	e := x.Entry(id)
	line := "/" + x.Path(id) + " " + e.Kind.String()
	for _, f := range flagNames {
		if e.Flags&f.flag != 0 {
			line += " " + f.name
		}
	}
	switch e.Kind {
	case index.File:
		line += fmt.Sprintf(" %q", content(x, id, tarBytes))
	case index.Symlink, index.Link:
		line += " -> " + string(x.Target(id))
	case index.Char, index.Block:
		line += fmt.Sprintf(" %d:%d", e.Major(), e.Minor())
	}
	if e.Flags&index.HardLink != 0 {
		line += " = /" + x.Path(e.Link)
	}
	return line
}

func content(x *index.Index, id uint32, tarBytes []byte) string {
	e := x.Entry(id)
	out := make([]byte, e.Size)
	if e.Flags&index.Sparse == 0 {
		copy(out, tarBytes[e.Data:])
	}
	for _, s := range x.Extents(id) {
		copy(out[s.Logical:], tarBytes[s.Data:s.Data+s.Len])
	}
	return string(out)
}

// withAttrs adds what the attributes of an entry are.
func withAttrs(x *index.Index, id uint32) string {
	e := x.Entry(id)
	line := fmt.Sprintf("/%s %v %04o %d:%d %d.%09d", x.Path(id), e.Kind, e.Mode, e.UID, e.GID, e.Sec, e.Nsec)
	for name, value := range x.Xattrs(id) {
		line += fmt.Sprintf(" %s=%q", name, value)
	}
	return line
}

type row struct {
	name    string
	layer   []Entry
	want    string // lines, without that of a root that is implied
	refused int
	attrs   bool // lines are those of withAttrs
}

func (r row) run(t *testing.T) {
	tarBytes := Of(r.layer...)
	x, refused := indexOf(t, tarBytes)
	if refused != r.refused {
		t.Errorf("%d entries refused, want %d", refused, r.refused)
	}
	var got []string
	for id := range uint32(x.Len()) {
		line := describe(x, id, tarBytes)
		if r.attrs {
			line = withAttrs(x, id)
		}
		if line != "/ dir implied" && line != "/ dir 0755 0:0 0.000000000" {
			got = append(got, line)
		}
	}
	var want []string
	for line := range strings.Lines(r.want) {
		if line = strings.TrimSpace(line); line != "" {
			want = append(want, line)
		}
	}
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}

func runRows(t *testing.T, rows []row) {
	for _, r := range rows {
		t.Run(r.name, r.run)
	}
}

func TestPathsAndEntries(t *testing.T) {
	long := strings.Repeat("n", 255)
	deep := strings.Repeat("d/", 3000)
	runRows(t, []row{
		{name: "a, ./a, /a, x/../a, a/ are the same place", layer: []Entry{
			File("a", "1"), File("./a", "2"), File("/a", "3"), File("x/../a", "4"), File("b//./c", "5"), Dir("d/")},
			want: `/a file "4"
				/b dir implied
				/d dir
				/b/c file "5"`},
		{name: "a path that leaves the root is refused", layer: []Entry{
			File("../a", "1"), File("a/../../b", "2"), File("/../c", "3"), Dir(".."), File("ok", "4")},
			want: `/ok file "4"`, refused: 4},
		{name: "./ sets the root", attrs: true, layer: []Entry{
			Dir("./", Mode(0o1700), Owner(3, 4), MTime(5, 6), Xattr("user.r", "7"))},
			want: `/ dir 1700 3:4 5.000000006 user.r="7"`},
		{name: "the root defaults to 0755 root:root", layer: []Entry{File("a", "")}, attrs: true,
			want: `/a file 0644 0:0 1000000000.000000000`},
		{name: "the root that is no directory is refused", layer: []Entry{File(".", "x"), Symlink("x/..", "t")}, refused: 2},
		{name: "implied parents are 0755 root:root at 0", layer: []Entry{File("p/q/f", "x", Owner(1, 1))}, attrs: true,
			want: `/p dir 0755 0:0 0.000000000
				/p/q dir 0755 0:0 0.000000000
				/p/q/f file 0644 1:1 1000000000.000000000`},
		{name: "an explicit entry after its child", layer: []Entry{File("p/f", "x"), Dir("p", Mode(0o700))},
			want: `/p dir
				/p/f file "x"`},
		{name: "duplicate path: the last wins", layer: []Entry{File("f", "1"), Symlink("f", "t"), File("f", "2")},
			want: `/f file "2"`},
		{name: "duplicate directory keeps its children and takes the last attributes", attrs: true, layer: []Entry{
			Dir("d/", Mode(0o700), Xattr("user.a", "1")), Fifo("d/f"), Dir("d/", Mode(0o711), MTime(9, 0))},
			want: `/d dir 0711 0:0 9.000000000
				/d/f fifo 0644 0:0 1000000000.000000000`},
		{name: "f/x after regular f: f becomes an implied directory", layer: []Entry{File("f", "1"), File("f/x", "2")},
			want: `/f dir implied
				/f/x file "2"`},
		{name: "regular f after f/x: the subtree is gone", layer: []Entry{File("f/x/y", "2"), File("f", "1")},
			want: `/f file "1"`},
		{name: "directory, file, directory: only what came last", layer: []Entry{
			File("f/x", "1"), File("f", "2"), Dir("f/"), File("f/y", "3")},
			want: `/f dir
				/f/y file "3"`},
		{name: "PAX global header is skipped", layer: []Entry{Global(map[string]string{"comment": "x"}), File("a", "1")},
			want: `/a file "1"`},
		{name: "char, block, fifo keep their numbers; char 0:0 is plain", layer: []Entry{
			Char("c", 1, 3), Block("b", 4095, 1048575), Fifo("p"), Char("z", 0, 0)},
			want: `/b block 4095:1048575
				/c char 1:3
				/p fifo
				/z char 0:0`},
		{name: "device numbers that Linux has not are refused", layer: []Entry{Char("c", 4096, 0), Block("b", 0, 1<<20)}, refused: 2},
		{name: "owner, time, set-id and sticky bits as they are", attrs: true, layer: []Entry{
			File("a", "", Mode(0o6755), Owner(1876110778, 4294967295), MTime(-315619200, 5)), File("b", "", Mode(0o1644), MTime(4291747200, 999999999))},
			want: `/a file 6755 1876110778:4294967295 -315619200.000000005
				/b file 1644 0:0 4291747200.999999999`},
		{name: "xattrs are bytes; those of overlayfs are never shown", attrs: true, layer: []Entry{
			File("a", "", Xattr("user.b", "\x00\n=\xff"), Xattr("user.a", ""), Xattr("security.capability", "\x01\x00\x00\x02"),
				Xattr("trusted.overlay.opaque", "y"), Xattr("user.overlay.opaque", "y"), MTime(1, 0))},
			want: `/a file 0644 0:0 1.000000000 security.capability="\x01\x00\x00\x02" user.a="" user.b="\x00\n=\xff"`},
		{name: "an xattr that Linux cannot have is left out, the file stays", layer: []Entry{
			File("a", "1", Xattr("user."+long, "x"), Xattr("user.big", strings.Repeat("x", 1<<16+1)))},
			want: `/a file "1"`, refused: 2},
		{name: "names of 255 bytes work, of 256 are refused", layer: []Entry{
			File(long, "3"), File("d/"+long+"x", "4"), Dir(long + "y/z"), File(long+"y/../k", "5")},
			want: "/k file \"5\"\n/" + long + " file \"3\"", refused: 2},
		{name: "paths beyond 4096 bytes", layer: []Entry{File(deep+"f", "1"), File(strings.Repeat("e", 1<<16)+"/..", "")},
			want: impliedChain("d", 3000) + "/" + deep + "f file \"1\"", refused: 1},
		{name: "an empty symlink is refused", layer: []Entry{Symlink("l", ""), Symlink("m", strings.Repeat("x", 4096)), Symlink("n", "../../x")},
			want: `/n symlink -> ../../x`, refused: 2},
	})
}

func impliedChain(name string, n int) string {
	var out strings.Builder
	path := ""
	for range n {
		path += "/" + name
		out.WriteString(path + " dir implied\n")
	}
	return out.String()
}

func TestNewlinesInNames(t *testing.T) {
	x, _ := indexOf(t, Of(File("new\nline", "1"), File("\xff\xfe", "2"), File("\xe6\x97\xa5", "3")))
	for _, name := range []string{"new\nline", "\xff\xfe", "\xe6\x97\xa5"} {
		if _, ok := x.Find(0, name); !ok {
			t.Errorf("%q is not found", name)
		}
	}
}

func TestMarkers(t *testing.T) {
	long := strings.Repeat("n", 255)
	runRows(t, []row{
		{name: "whiteout", layer: []Entry{Whiteout("f"), Dir("d"), Whiteout("d/g")},
			want: `/d dir
				/f whiteout
				/d/g whiteout`},
		{name: "f then .wh.f: the new f", layer: []Entry{File("f", "1"), Whiteout("f")}, want: `/f file "1"`},
		{name: ".wh.f then f: the new f", layer: []Entry{Whiteout("f"), File("f", "1")}, want: `/f file "1"`},
		{name: ".wh.d then d/, d/b: only b", layer: []Entry{Whiteout("d"), Dir("d"), File("d/b", "1")},
			want: `/d dir replaces
				/d/b file "1"`},
		{name: "d/, d/b then .wh.d: only b", layer: []Entry{Dir("d"), File("d/b", "1"), Whiteout("d")},
			want: `/d dir replaces
				/d/b file "1"`},
		{name: ".wh.d and d/b without d: implied", layer: []Entry{Whiteout("d"), File("d/b", "1")},
			want: `/d dir implied replaces
				/d/b file "1"`},
		{name: "opaque first", layer: []Entry{Opaque("d"), Dir("d"), File("d/b", "1")},
			want: `/d dir opaque
				/d/b file "1"`},
		{name: "opaque last, with a file in a directory without entry", layer: []Entry{File("d/s/b", "1"), Opaque("d")},
			want: `/d dir implied opaque
				/d/s dir implied
				/d/s/b file "1"`},
		{name: "opaque at the root", layer: []Entry{Opaque("")}, want: `/ dir implied opaque`},
		{name: "markers in a directory that does not exist make none", layer: []Entry{Opaque("o/p"), Whiteout("w/x")},
			want: `/o dir implied markers
				/w dir implied markers
				/o/p dir implied opaque markers
				/w/x whiteout`},
		{name: "whiteout of a directory that has only markers", layer: []Entry{Whiteout("d/x"), Opaque("d/y"), Whiteout("d")},
			want: `/d whiteout`},
		{name: "the same, the other way round", layer: []Entry{Whiteout("d"), Opaque("d/y"), Whiteout("d/x")},
			want: `/d whiteout`},
		{name: "opaque and whiteout in one directory", layer: []Entry{Dir("d"), Opaque("d"), Whiteout("d/x")},
			want: `/d dir opaque
				/d/x whiteout`},
		{name: "a marker is one whatever its type", layer: []Entry{
			Dir(".wh.a"), Symlink(".wh.b", "t"), File("t", "1"), Link(".wh.c", "t"), Dir("d/.wh..wh..opq"), Char(".wh.e", 0, 0)},
			want: `/a whiteout
				/b whiteout
				/c whiteout
				/d dir implied opaque markers
				/e whiteout
				/t file "1"`},
		{name: "whiteouts of no name are refused", layer: []Entry{
			File(".wh.", ""), File("d/.wh..", ""), File("d/.wh...", "")}, refused: 3},
		{name: "a marker as a path component is refused", layer: []Entry{File("d/.wh.x/f", ""), File(".wh..wh..opq/f", "")}, refused: 2},
		{name: "AUFS bookkeeping is invisible", layer: []Entry{
			File(".wh..wh.aufs", ""), Dir(".wh..wh.orph/"), File(".wh..wh.orph/x", ""), File("d/.wh..wh.foo", ""), Dir(".wh..wh.plnk/"),
			File(".wh..wh.plnk/1.2", "x"), File(".wh..wh.plnk/.wh.y", ""), Dir("d/.wh..wh.plnk")}},
		{name: "a hard link into .wh..wh.plnk has that content", layer: []Entry{
			Dir(".wh..wh.plnk/"), File(".wh..wh.plnk/1.2", "x"), Link("b", ".wh..wh.plnk/1.2"), Link("a", "./.wh..wh.plnk/1.2"), Link("c", ".wh..wh.plnk/9")},
			want: `/a file "x"
				/b file "x" = /a
				/c link -> .wh..wh.plnk/9`},
		{name: "whiteout below a file of the same layer: nothing", layer: []Entry{Whiteout("f/x"), Opaque("f"), File("f", "1")},
			want: `/f file "1"`},
		{name: "whiteout of a name of 255 bytes", layer: []Entry{Whiteout(long), Whiteout(long + "x")},
			want: "/" + long + " whiteout", refused: 1},
		{name: "the place of a marker does not matter", layer: []Entry{File("d", "1"), Whiteout("d/x"), Dir("d")},
			want: `/d dir
				/d/x whiteout`},
		{name: "a second whiteout adds nothing", layer: []Entry{Whiteout("x"), Whiteout("./x"), Opaque(""), Opaque("")},
			want: `/ dir implied opaque
				/x whiteout`},
	})
}

func TestHardLinks(t *testing.T) {
	runRows(t, []row{
		{name: "two names in one layer: one inode", layer: []Entry{File("b", "1", Mode(0o600)), Link("a", "b"), Link("d/c", "./b"), Link("e", "/x/../a")},
			want: `/a file "1"
				/b file "1" = /a
				/d dir implied
				/e file "1" = /a
				/d/c file "1" = /a`},
		{name: "the attributes are the inode's", attrs: true, layer: []Entry{
			File("b", "1", Mode(0o600), Owner(7, 8), Xattr("user.x", "y"), MTime(3, 0)), Link("a", "b", Mode(0o777), Owner(1, 1))},
			want: `/a file 0600 7:8 3.000000000 user.x="y"
				/b file 0600 7:8 3.000000000 user.x="y"`},
		{name: "a later file of the target's name leaves the link the old content", layer: []Entry{
			File("a", "old"), Link("b", "a"), Link("c", "b"), File("a", "new")},
			want: `/a file "new"
				/b file "old"
				/c file "old" = /b`},
		{name: "a target replaced by a directory", layer: []Entry{File("a/x", "old"), Link("b", "a/x"), File("a", "f"), Dir("a")},
			want: `/a dir
				/b file "old"`},
		{name: "target in a lower layer only", layer: []Entry{Link("b", "./usr//bin/../a"), Link("c", "/a/")},
			want: `/b link -> usr/a
				/c link -> a`},
		{name: "link before its target: second pass", layer: []Entry{Link("b", "a"), Link("c", "b"), File("a", "1")},
			want: `/a file "1"
				/b file "1" = /a
				/c file "1" = /a`},
		{name: "link before its target is bound to the last one", layer: []Entry{Link("b", "a"), File("a", "1"), File("a", "2")},
			want: `/a file "2"
				/b file "2" = /a`},
		{name: "a chain into a lower layer", layer: []Entry{Link("a", "b"), Link("b", "c"), Link("d", "a")},
			want: `/a link -> c
				/b link -> c
				/d link -> c`},
		{name: "link to a symlink, a device, a fifo", layer: []Entry{
			Symlink("s", "t"), Link("s2", "s"), Char("c", 1, 2), Link("c2", "c"), Fifo("f"), Link("f2", "f")},
			want: `/c char 1:2
				/c2 char 1:2 = /c
				/f fifo
				/f2 fifo = /f
				/s symlink -> t
				/s2 symlink -> t = /s`},
		{name: "link to a directory, explicit, implied or the root, is refused", layer: []Entry{
			Dir("d"), Link("a", "d"), File("i/f", "1"), Link("b", "i"), Link("c", "/"), Link("e", "later"), Dir("later")},
			want: `/d dir
				/i dir implied
				/later dir
				/i/f file "1"`, refused: 4},
		{name: "link to itself is refused and leaves what was there", layer: []Entry{File("a", "1"), Link("a", "./a"), Link("b", "x/../b")},
			want: `/a file "1"`, refused: 2},
		{name: "circles are refused", layer: []Entry{Link("a", "b"), Link("b", "c"), Link("c", "a"), Link("d", "a"), File("e", "1")},
			want: `/e file "1"`, refused: 4},
		{name: "link out of the root, or to a marker, is refused", layer: []Entry{
			Link("a", "../x"), Link("b", ".wh.x"), Link("c", "d/.wh..wh..opq"), Link("d", ".wh..wh.orph/x"), Link("e", "")}, refused: 5},
		{name: "link to a whited out name is left to the lower layers", layer: []Entry{Link("b", "a"), Whiteout("a")},
			want: `/a whiteout
				/b link -> a`},
		{name: "a link that is replaced counts for nothing", layer: []Entry{File("a", "1"), Link("b", "a"), File("b", "2"), Link("c", "x"), Dir("c")},
			want: `/a file "1"
				/b file "2"
				/c dir`},
		{name: "a link below a path that a file takes later", layer: []Entry{Link("d/l", "d2"), Dir("d2"), File("d", "1")},
			want: `/d file "1"
				/d2 dir`},
		{name: "f/x linked to f that f/x replaces", layer: []Entry{File("f", "1"), Link("f/x", "f")},
			want: `/f dir implied
				/f/x file "1"`},
	})
}
