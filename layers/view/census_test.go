package view

import (
	"testing"

	tt "github.com/peelfs/peelfs/internal/tartest"
)

func TestCensus(t *testing.T) {
	v := rawView(
		tarball{tt.File("a", "1"), tt.File("b", "22"), tt.File("c", "333"), tt.Link("c2", "c"), tt.File("d/e", "4444"), tt.File("f", "55555"), tt.Symlink("s", "a"), tt.File("g", "6")},
		tarball{tt.Whiteout("a"), tt.File("b", "xx"), tt.Whiteout("c"), tt.File("d", "now a file"), tt.Link("f2", "f")},
		tarball{tt.Whiteout("f"), tt.File("b", "longer"), tt.Whiteout("d")},
	)
	type file struct {
		Path string
		Stored
	}
	for layer, want := range [][]file{
		{
			{"/a", Stored{Size: 1, By: 1}},
			{"/b", Stored{Size: 2, By: 1, Again: true}},
			{"/c", Stored{Size: 3, By: 1, Shown: true}}, // as c2
			{"/f", Stored{Size: 5, By: 2, Shown: true}}, // as f2 of the layer above
			{"/g", Stored{Size: 1, By: -1, Shown: true}},
			{"/d/e", Stored{Size: 4, By: 1}},
		},
		{{"/b", Stored{Size: 2, By: 2}}, {"/d", Stored{Size: 10, By: 2}}},
		{{"/b", Stored{Size: 6, By: -1, Shown: true}}},
	} {
		var got []file
		err := v.Census(t.Context(), layer, func(s Stored) error {
			got = append(got, file{s.Path(), Stored{Size: s.Size, Shown: s.Shown, By: s.By, Again: s.Again}})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) {
			t.Fatalf("layer %d: %+v, want %+v", layer, got, want)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("layer %d: %+v, want %+v", layer, got[i], want[i])
			}
		}
	}
}
