package index_test

import (
	"strings"
	"testing"

	. "github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/layers/index"
)

func TestPathsThroughSymbolicLinks(t *testing.T) {
	runRows(t, []row{
		{name: "a file below a link is where the link leads", layer: []Entry{
			Dir("usr/lib"), Symlink("lib", "usr/lib"), File("lib/x", "1"), Dir("lib/d"), File("lib/d/y", "2")},
			want: `/lib symlink -> usr/lib
				/usr dir implied
				/usr/lib dir
				/usr/lib/d dir
				/usr/lib/x file "1"
				/usr/lib/d/y file "2"`},
		{name: "absolute, beyond the root, and to the root itself", layer: []Entry{
			Symlink("a", "/t"), Symlink("b", "../../t"), Symlink("d/c", "/"), File("a/1", ""), File("b/2", ""), File("d/c/3", "")},
			want: `/3 file ""
				/a symlink -> /t
				/b symlink -> ../../t
				/d dir implied
				/t dir implied
				/d/c symlink -> /
				/t/1 file ""
				/t/2 file ""`},
		{name: "chained, and links on the way of a link's text", layer: []Entry{
			Symlink("a", "b"), Symlink("b", "/c/d"), Symlink("c", "e"), File("a/f", "1")},
			want: `/a symlink -> b
				/b symlink -> /c/d
				/c symlink -> e
				/e dir implied
				/e/d dir implied
				/e/d/f file "1"`},
		{name: "climbing from where a link leads, not from its name", layer: []Entry{
			Dir("x/y"), Symlink("l", "x/y"), Symlink("m", "l/../z"), Symlink("n", "missing/../z"), File("m/f", "1"), File("n/g", "2")},
			want: `/l symlink -> x/y
				/m symlink -> l/../z
				/n symlink -> missing/../z
				/x dir implied
				/z dir implied
				/x/y dir
				/x/z dir implied
				/x/z/f file "1"
				/z/g file "2"`},
		{name: "several links in one path", layer: []Entry{
			Symlink("a", "b"), Symlink("b/c", "../d"), File("a/c/f", "1")},
			want: `/a symlink -> b
				/b dir implied
				/d dir implied
				/b/c symlink -> ../d
				/d/f file "1"`},
		{name: "a hard link to a symbolic link is one", layer: []Entry{
			Symlink("a", "t"), Link("b", "a"), File("b/f", "1")},
			want: `/a symlink -> t
				/b symlink -> t = /a
				/t dir implied
				/t/f file "1"`},
		{name: "the last element is not followed", layer: []Entry{
			Dir("t"), Symlink("a", "t"), Symlink("b", "t"), Dir("a"), File("b", "1"), File("a/f", "2")},
			want: `/a dir
				/b file "1"
				/t dir
				/a/f file "2"`},
		{name: "a link that comes after what is below its name replaces that", layer: []Entry{
			File("lib/x", "1"), Symlink("lib", "usr/lib"), File("lib/y", "2")},
			want: `/lib symlink -> usr/lib
				/usr dir implied
				/usr/lib dir implied
				/usr/lib/y file "2"`},
		{name: "each path takes the links of its moment", layer: []Entry{
			Symlink("l", "a"), File("l/1", ""), Symlink("l", "b"), File("l/2", "")},
			want: `/a dir implied
				/b dir implied
				/l symlink -> b
				/a/1 file ""
				/b/2 file ""`},
		{name: "a link to a file, in a circle, or to a marker is in the way", layer: []Entry{
			File("f", ""), Symlink("a", "f"), Symlink("b", "c"), Symlink("c", "b"), Symlink("d", "f/../g"), Symlink("e", ".wh.x"),
			File("a/1", ""), File("b/2", ""), File("d/3", ""), File("e/4", "")},
			want: `/a dir implied
				/b dir implied
				/c symlink -> b
				/d dir implied
				/e dir implied
				/f file ""
				/a/1 file ""
				/b/2 file ""
				/d/3 file ""
				/e/4 file ""`},
		{name: "a name that no directory can have", layer: []Entry{
			Symlink("a", strings.Repeat("n", 256)), File("a/1", "")},
			want: `/a dir implied
				/a/1 file ""`},
		{name: "what follows the dots of a name is cleaned first", layer: []Entry{
			Symlink("lib", "usr/lib"), File("lib/../f", "1")},
			want: `/f file "1"
				/lib symlink -> usr/lib`},
	})
}

func TestHardLinksThroughSymbolicLinks(t *testing.T) {
	runRows(t, []row{
		{name: "to what is there, and to what comes later", layer: []Entry{
			Symlink("l", "d"), Link("later", "l/f"), File("d/e", "1"), Link("now", "/l/e"), File("d/f", "2")},
			want: `/d dir implied
				/l symlink -> d
				/later file "2"
				/now file "1"
				/d/e file "1" = /now
				/d/f file "2" = /later`},
		{name: "from a name below a link", layer: []Entry{
			Symlink("l", "d"), File("f", "1"), Link("l/g", "f")},
			want: `/d dir implied
				/f file "1"
				/l symlink -> d
				/d/g file "1" = /f`},
		{name: "by way of a link that comes later", layer: []Entry{
			Link("a", "l/f"), File("d/f", "1"), Symlink("l", "d")},
			want: `/a file "1"
				/d dir implied
				/l symlink -> d
				/d/f file "1" = /a`},
		{name: "to a lower layer, by the path without links", layer: []Entry{
			Symlink("lib", "usr/lib"), Link("a", "lib/x"), Link("b", "later/x"), Symlink("later", "/lib/y")},
			want: `/a link -> usr/lib/x
				/b link -> usr/lib/y/x
				/later symlink -> /lib/y
				/lib symlink -> usr/lib`},
		{name: "to itself by another way", layer: []Entry{
			Symlink("l", "d"), File("d/f", "1"), Link("l/f", "d/f"), Link("d/g", "l/g")},
			want: `/d dir implied
				/l symlink -> d
				/d/f file "1"`, refused: 2},
		{name: "through a link to a file: to the lower layers, as it is", layer: []Entry{
			File("f", ""), Symlink("l", "f"), Link("a", "l/x")},
			want: `/a link -> l/x
				/f file ""
				/l symlink -> f`},
		{name: "a link at the end is not followed", layer: []Entry{
			File("f", "1"), Symlink("l", "f"), Link("a", "l")},
			want: `/a symlink -> f
				/f file "1"
				/l symlink -> f = /a`},
	})
}

func TestMarkersBelowSymbolicLinks(t *testing.T) {
	runRows(t, []row{
		{name: "a whiteout and an opaque marker act where the link leads", layer: []Entry{
			Symlink("lib", "usr/lib"), Whiteout("lib/x"), Symlink("o", "/d"), Opaque("o"), Dir("d")},
			want: `/d dir opaque
				/lib symlink -> usr/lib
				/o symlink -> /d
				/usr dir implied markers
				/usr/lib dir implied markers
				/usr/lib/x whiteout`},
		{name: "their place does not matter", layer: []Entry{
			Whiteout("lib/x"), Opaque("lib/d"), Symlink("lib", "usr/lib")},
			want: `/lib symlink -> usr/lib
				/usr dir implied markers
				/usr/lib dir implied markers
				/usr/lib/d dir implied opaque markers
				/usr/lib/x whiteout`},
		{name: "no marker hides the way of another", layer: []Entry{
			Symlink("lib", "a/../usr"), Whiteout("a"), Whiteout("lib/x")},
			want: `/a whiteout
				/lib symlink -> a/../usr
				/usr dir implied markers
				/usr/x whiteout`},
		{name: "a new file there stays", layer: []Entry{
			Symlink("lib", "usr/lib"), Whiteout("lib/x"), File("usr/lib/x", "1")},
			want: `/lib symlink -> usr/lib
				/usr dir implied
				/usr/lib dir implied
				/usr/lib/x file "1"`},
		{name: "below a link to a file or a circle: nothing", layer: []Entry{
			File("f", ""), Symlink("l", "f"), Whiteout("l/x"), Symlink("c", "c"), Opaque("c")},
			want: `/c symlink -> c
				/f file ""
				/l symlink -> f`},
		{name: "a whiteout of a hard link's name is kept", layer: []Entry{
			Whiteout("b"), Link("b", "lower"), Whiteout("c"), Link("c", "f"), File("f", "1")},
			want: `/b link replaces -> lower
				/c file "1"
				/f file "1" = /c`},
	})
}

// Symbolic links can make a path longer than any that a record may have.
func TestSymbolicLinksMakeNoEndlessPaths(t *testing.T) {
	long := strings.Repeat("n", 250)
	deep := strings.Repeat(long+"/", 15) // 3,765 bytes
	var layer []Entry
	path := ""
	for range 30 {
		layer = append(layer, Symlink(path+"l", deep+"."))
		path += "l/"
	}
	x, refused := indexOf(t, Of(append(layer, File(path+"f", ""), Whiteout(path+"w"), Link("a", path+"x"))...))
	if refused == 0 {
		t.Error("nothing is refused")
	}
	for id := range uint32(x.Len()) {
		if n := len(x.Path(id)); n > index.MaxPath {
			t.Errorf("a path of %d bytes", n)
		}
	}
}

func TestSymbolicLinksHaveOneMode(t *testing.T) {
	runRows(t, []row{{name: "0777", attrs: true, layer: []Entry{Symlink("a", "x", Mode(0o644)), Symlink("b", "x", Mode(0o4555)), Link("c", "a", Mode(0o600))},
		want: `/a symlink 0777 0:0 1000000000.000000000
			/b symlink 0777 0:0 1000000000.000000000
			/c symlink 0777 0:0 1000000000.000000000`}})
}
