package layers

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peelfs/peelfs/layers/index"
)

// listing is what is below dir: names, sizes and times.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		fmt.Fprintln(&out, path, info.Mode(), info.Size(), info.ModTime())
		return err
	}))
	return out.String()
}

// Looking at layers that are in the cache changes nothing there: no time by which
// layers are evicted moves, nobody is kept out, nothing is made and nothing goes.
func TestLookingIsNotUsing(t *testing.T) {
	soci, _ := indexedLayers(t)
	estargz, _ := fixtureLayers(t, "estargz")
	tar, _ := bigTar()
	gzip, _ := sourceOf(tar, gz(tar))
	past := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, src := range map[string]Source{"gzip": gzip, "soci": soci[0], "estargz": estargz[0]} {
		for _, state := range []string{"filled", "without data", "damaged"} {
			t.Run(name+", "+state, func(t *testing.T) {
				dir := t.TempDir()
				s := openTestStore(t, dir, Options{})
				l := s.Layer(src)
				_, err := l.Index(t.Context())
				must(t, err)
				if name == "gzip" {
					must(t, l.Fill(t.Context()))
				}
				must(t, s.Close())
				layerDir, err := s.cache.LayerDir(src.Digest)
				must(t, err)
				switch state {
				case "without data":
					_, err := openTestStore(t, dir, Options{}).Prune(PruneOptions{DataOnly: true})
					must(t, err)
				case "damaged":
					must(t, os.Truncate(filepath.Join(layerDir, "index"), 300))
				}
				must(t, os.Chtimes(filepath.Join(layerDir, "lock"), past, past))
				before := listing(t, layerDir)

				s = openTestStore(t, dir, Options{})
				l = s.Layer(src)
				l.Status()
				s.List()
				if state != "damaged" {
					if _, err := l.Index(t.Context()); err != nil {
						t.Fatal(err)
					}
					l.Status()
				}
				if after := listing(t, layerDir); after != before {
					t.Errorf("before\n%safter\n%s", before, after)
				}
				if c := openTestStore(t, dir, Options{}).List(); c[0].InUse || !c[0].Used.Equal(past) {
					t.Errorf("in use: %v, used %v", c[0].InUse, c[0].Used)
				}

				readAFile(t, l)
				if c := openTestStore(t, dir, Options{}).List(); !c[0].InUse || !c[0].Used.After(past) {
					t.Errorf("reading is no use: in use: %v, used %v", c[0].InUse, c[0].Used)
				}
			})
		}
	}
}

// readAFile reads the first file of l that has content.
func readAFile(t *testing.T, l *Layer) {
	t.Helper()
	x, err := l.Index(t.Context())
	must(t, err)
	for id := range uint32(x.Len()) {
		if e := x.Entry(id); e.Kind == index.File && e.Size > 0 {
			if _, err := l.ReadAt(t.Context(), id, make([]byte, 1), 0); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("the layer has no file")
}

// What was only looked at may go: a reader that comes then makes it again.
func TestALayerThatWasLookedAtGoes(t *testing.T) {
	tar, files := bigTar()
	for name, remove := range map[string]func(t *testing.T, s *Store){
		"all of it": func(t *testing.T, s *Store) {
			p, err := s.Prune(PruneOptions{})
			must(t, err)
			if len(p.Layers) != 1 || p.InUse != 0 {
				t.Errorf("not pruned: %+v", p)
			}
		},
		"its data": func(t *testing.T, s *Store) {
			_, err := s.Prune(PruneOptions{DataOnly: true})
			must(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			src, _ := sourceOf(tar, gz(tar))
			dir := t.TempDir()
			s := openTestStore(t, dir, Options{})
			must(t, s.Layer(src).Fill(t.Context()))
			must(t, s.Close())
			l := openTestStore(t, dir, Options{}).Layer(src)
			if _, err := l.Index(t.Context()); err != nil {
				t.Fatal(err)
			}
			other := openTestStore(t, dir, Options{})
			remove(t, other)
			mustHave(t, l, files)
			if c := other.List(); len(c) != 1 || !c[0].InUse || c[0].Data == 0 {
				t.Errorf("what was read is not kept: %+v", c)
			}
		})
	}
}
