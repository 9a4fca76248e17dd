package query

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	tt "github.com/peelfs/peelfs/internal/tartest"
)

func TestWalk(t *testing.T) {
	v := viewOf(layerOf(t, tt.File("a/b/c", ""), tt.File("a/.x", ""), tt.File("a/z", ""), tt.File("b", "")))
	walk := func(w Walker, visit Visit) string {
		var out []string
		err := w.Walk(t.Context(), root(t, v), func(e Entry) error {
			s := fmt.Sprintf("%s:%d", e.Path(), e.Depth)
			if e.Last {
				s += "."
			}
			out = append(out, s)
			return visit(e)
		})
		if err != nil {
			t.Error(err)
		}
		return strings.Join(out, " ")
	}
	all := func(Entry) error { return nil }
	for _, c := range []struct {
		show  func(Entry) bool
		visit Visit
		want  string
	}{
		{nil, all, "/:0. /a:1 /a/.x:2 /a/b:2 /a/b/c:3. /a/z:2. /b:1."},
		{func(e Entry) bool { return e.Name() != "z" && e.Name() != ".x" }, all, "/:0. /a:1 /a/b:2. /a/b/c:3. /b:1."},
		{func(e Entry) bool { return e.IsDir() }, all, "/:0. /a:1. /a/b:2."},
		{nil, func(e Entry) error {
			if e.Path() == "/a" {
				return fs.SkipDir
			}
			return nil
		}, "/:0. /a:1 /b:1."},
		{nil, func(e Entry) error {
			if e.Path() == "/a/b" {
				return fs.SkipAll
			}
			return nil
		}, "/:0. /a:1 /a/.x:2 /a/b:2"},
	} {
		if got := walk(Walker{View: v, Show: c.show}, c.visit); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func TestWalkEndsWithItsContext(t *testing.T) {
	v := viewOf(layerOf(t, tt.File("a", ""), tt.File("b", "")))
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	err := Walk(ctx, v, root(t, v), func(Entry) error { n++; cancel(); return nil })
	if !errors.Is(err, context.Canceled) || n != 1 {
		t.Errorf("%d entries, %v", n, err)
	}
}

func TestUsage(t *testing.T) {
	v := viewOf(
		layerOf(t, tt.File("d/a", "12345"), tt.Link("d/b", "d/a"), tt.File("d/e/f", "123"), tt.Symlink("d/s", "a"), tt.File("gone", "1234567")),
		layerOf(t, tt.Whiteout("gone"), tt.File("d/e/g", "1"), tt.Link("h", "d/a")),
	)
	var got []string
	err := Usage(t.Context(), v, root(t, v), false, func(u Total) error {
		got = append(got, fmt.Sprintf("%s %d/%d/%d own %d", u.Path(), u.Entries, u.Files, u.Bytes, u.Own.Bytes))
		return nil
	})
	want := []string{"/d/e 3/2/4 own 4", "/d 7/3/9 own 5", "/ 9/3/9 own 0"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	file, err := Find(t.Context(), v, "/d/a", false)
	if err != nil {
		t.Fatal(err)
	}
	err = Usage(t.Context(), v, file, false, func(u Total) error {
		if u.Bytes != 5 || u.Path() != "/d/a" {
			t.Errorf("%+v", u)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestByLayer(t *testing.T) {
	v := viewOf(
		layerOf(t, tt.File("a", "12345"), tt.File("b", "123"), tt.File("c", "1")),
		layerOf(t, tt.File("a", "54321"), tt.Whiteout("b")),
	)
	var hidden []string
	got, err := ByLayer(t.Context(), v, func(h Hidden) error {
		hidden = append(hidden, fmt.Sprintf("%s of %d by %d", h.Path(), h.Layer, h.By))
		return nil
	})
	want := []LayerUsage{
		{Layer: 0, Stored: Amount{Files: 3, Bytes: 9}, Hidden: Amount{Files: 2, Bytes: 8}, Again: Amount{Files: 1, Bytes: 5}},
		{Layer: 1, Stored: Amount{Files: 1, Bytes: 5}},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if want := []string{"/a of 0 by 1", "/b of 0 by 1"}; !slices.Equal(hidden, want) {
		t.Errorf("%v", hidden)
	}
}

// Largest is the beginning of the sorted whole.
func TestLargest(t *testing.T) {
	type item struct{ n, at int }
	rapid.Check(t, func(t *rapid.T) {
		keep := rapid.IntRange(1, 5).Draw(t, "keep")
		l := NewLargest(keep, func(i item) int64 { return int64(i.n) })
		var all []item
		for at, n := range rapid.SliceOfN(rapid.IntRange(0, 6), 0, 20).Draw(t, "sizes") {
			l.Add(item{n, at})
			all = append(all, item{n, at})
		}
		slices.SortStableFunc(all, func(a, b item) int { return cmp.Compare(b.n, a.n) })
		if got := l.Items(); !slices.Equal(got, all[:min(keep, len(all))]) {
			t.Fatalf("%v, want %v", got, all)
		}
	})
}

// A walk keeps nothing of what it has seen: at its end a directory of many files
// takes no more memory than the view's own listing of it.
func TestMemoryDoesNotGrowWithEntries(t *testing.T) {
	const n = 100_000
	entries := make([]tt.Entry, n)
	for i := range entries {
		entries[i] = tt.File(fmt.Sprintf("many/file-%06d", i), "")
	}
	v := viewOf(layerOf(t, entries...))
	clear(entries)
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before, after, seen := heap(), int64(0), 0
	err := Walk(t.Context(), v, root(t, v), func(Entry) error {
		if seen++; seen == n {
			after = heap()
		}
		return nil
	})
	if err != nil || seen != n+2 {
		t.Fatalf("%d entries, %v", seen, err)
	}
	if per := (after - before) / n; per > 16 {
		t.Errorf("%d bytes for each entry", per)
	}
}
