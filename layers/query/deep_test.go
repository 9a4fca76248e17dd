package query

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	tt "github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/layers/view"
)

const deep = 20_000 // directories, one in the other

// deepLayer has a file deep down. All paths of its directories together are 400 MB.
func deepLayer(t testing.TB, content string) *memLayer {
	return layerOf(t, tt.File(strings.Repeat("d/", deep)+"f", content))
}

// frugal runs do with little stack, and fails if it allocates more than a
// constant for each of n entries.
func frugal(t *testing.T, n int, do func()) {
	t.Helper()
	defer debug.SetMaxStack(debug.SetMaxStack(256 << 10)) // a recursion over the tree would end the test
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	done := make(chan struct{})
	go func() { // whose stack is new
		defer close(done)
		do()
	}()
	<-done
	runtime.ReadMemStats(&after)
	if each := int64(after.TotalAlloc-before.TotalAlloc) / int64(n); each > 4<<10 {
		t.Errorf("%d bytes for each entry", each)
	}
}

func TestDeepTreesCostWhatTheyHave(t *testing.T) {
	v := viewOf(deepLayer(t, "12345"))
	ctx := t.Context()
	top := root(t, v)
	frugal(t, deep, func() {
		n, last := 0, Entry{}
		if err := Walk(ctx, v, top, func(e Entry) error { n, last = n+1, e; return nil }); err != nil || n != deep+2 {
			t.Errorf("walk: %d entries, %v", n, err)
		}
		if want := "/" + strings.Repeat("d/", deep) + "f"; last.Path() != want || last.Name() != "f" || last.Depth != deep+1 {
			t.Errorf("the last entry is %s at %d, with a path of %d bytes", last.Name(), last.Depth, len(last.Path()))
		}
	})
	frugal(t, deep, func() {
		var all Total
		if err := Usage(ctx, v, top, true, func(u Total) error { all = u; return nil }); err != nil || all.Bytes != 5 || all.Path() != "/" {
			t.Errorf("usage: %+v, %v", all.Amount, err)
		}
	})
	frugal(t, deep, func() {
		w := Walker{View: v, Show: func(e Entry) bool { return e.Name() != "x" }}
		if err := w.Walk(ctx, top, func(Entry) error { return nil }); err != nil {
			t.Error(err)
		}
	})
}

func TestDeepTreesAreComparedFrugally(t *testing.T) {
	a, b, empty := viewOf(deepLayer(t, "12345")), viewOf(deepLayer(t, "12346")), viewOf(layerOf(t))
	for _, c := range []struct {
		a, b *view.View
		want string
	}{
		{a, b, "0 of A, 0 of B, 1 of both"},
		{a, empty, fmt.Sprintf("%d of A, 0 of B, 0 of both", deep+1)},
		{empty, b, fmt.Sprintf("0 of A, %d of B, 0 of both", deep+1)},
	} {
		frugal(t, deep, func() {
			var onlyA, onlyB, both int
			err := (&Comparison{A: Side{View: c.a}, B: Side{View: c.b}}).Diff(t.Context(), "/", func(c Change) error {
				switch {
				case c.New == nil:
					onlyA++
				case c.Old == nil:
					onlyB++
				default:
					both++
				}
				return nil
			})
			if got := fmt.Sprintf("%d of A, %d of B, %d of both", onlyA, onlyB, both); got != c.want || err != nil {
				t.Errorf("%s, %v; want %s", got, err, c.want)
			}
		})
	}
}

// Directories of several layers are found from entries of each of them.
func TestDeepTreesOfSeveralLayers(t *testing.T) {
	path := strings.Repeat("d/", deep)
	v := viewOf(
		layerOf(t, tt.File(path+"f", "1"), tt.Symlink(path+"l", "/x"), tt.Symlink(path+"m", "../y")),
		layerOf(t, tt.File(path+"g", "1")),
		layerOf(t, tt.Whiteout(path+"f")),
	)
	frugal(t, deep, func() {
		var names []string
		err := Walk(t.Context(), v, root(t, v), func(e Entry) error {
			if !e.IsDir() {
				names = append(names, e.Name())
			}
			return nil
		})
		if got := strings.Join(names, " "); got != "g l m" || err != nil {
			t.Errorf("%s, %v", got, err)
		}
	})
}
