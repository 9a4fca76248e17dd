package layers

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/layers/cachedir"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/opened"
)

const fixture = "../testdata/fixture/images"

func fixtureBlob(t *testing.T, d digest.Digest) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(fixture, "blobs", d.Algorithm().String(), d.Encoded()))
	must(t, err)
	return b
}

// fixtureLayers are the layers of one of the fixture's images, base first.
func fixtureLayers(t *testing.T, ref string) (sources []Source, blobs []*memBlob) {
	t.Helper()
	var idx ocispec.Index
	b, err := os.ReadFile(filepath.Join(fixture, "index.json"))
	must(t, err)
	must(t, json.Unmarshal(b, &idx))
	for _, d := range idx.Manifests {
		if d.Annotations[ocispec.AnnotationRefName] != ref {
			continue
		}
		var m ocispec.Manifest
		must(t, json.Unmarshal(fixtureBlob(t, d.Digest), &m))
		var cfg ocispec.Image
		must(t, json.Unmarshal(fixtureBlob(t, m.Config.Digest), &cfg))
		for i, l := range m.Layers {
			blob := &memBlob{data: fixtureBlob(t, l.Digest)}
			blobs = append(blobs, blob)
			src := Source{Digest: l.Digest, MediaType: l.MediaType, Annotations: l.Annotations, Blob: blob}
			if i < len(cfg.RootFS.DiffIDs) { // an image of tables has none
				src.DiffID = cfg.RootFS.DiffIDs[i]
			}
			sources = append(sources, src)
		}
	}
	if len(sources) == 0 {
		t.Fatalf("no image %q", ref)
	}
	return sources, blobs
}

// describe is what an index says of every entry, data offsets apart.
func describe(x *index.Index) string {
	var b strings.Builder
	for id := range uint32(x.Len()) {
		e := x.Entry(id)
		e.Data = 0
		if e.Kind == index.Dir {
			e.Size = 0
		}
		json.NewEncoder(&b).Encode([]any{id, x.Path(id), e, string(x.Target(id)), x.Links(id)})
	}
	return b.String()
}

func TestTablesOfContentsListAndReadLikeAScan(t *testing.T) {
	for _, ref := range []string{"estargz", "estargz-inner", "zstdchunked", "zstdchunked-stargz"} {
		t.Run(ref, func(t *testing.T) {
			sources, blobs := fixtureLayers(t, ref)
			lazy, whole := openTestStore(t, t.TempDir(), Options{}), openTestStore(t, t.TempDir(), Options{})
			for i, src := range sources {
				a := lazy.Layer(src)
				x, err := a.Index(t.Context())
				must(t, err)
				large := len(blobs[i].data) > opened.SmallLayer
				if got, n := x.Header().Source, blobs[i].requests.Load(); large != (got != index.Scan) || n != 1 {
					t.Errorf("layer %d of %d bytes: source %v after %d requests", i, len(blobs[i].data), got, n)
				}
				src.Annotations = nil
				b := whole.Layer(src)
				y, err := b.Index(t.Context())
				must(t, err)
				if describe(x) != describe(y) {
					t.Fatalf("layer %d:\n%s\nscan:\n%s", i, describe(x), describe(y))
				}
				sameContents(t, a, b, x)
			}
		})
	}
}

func sameContents(t *testing.T, a, b *Layer, x *index.Index) {
	t.Helper()
	for id := range uint32(x.Len()) {
		e := x.Entry(id)
		if e.Kind != index.File || e.Flags&index.HardLink != 0 {
			continue
		}
		p, q := make([]byte, e.Size), make([]byte, e.Size)
		if _, err := a.ReadAt(t.Context(), id, p, 0); err != nil {
			t.Fatalf("%s: %v", x.Path(id), err)
		}
		if _, err := b.ReadAt(t.Context(), id, q, 0); err != nil {
			t.Fatal(err)
		}
		if string(p) != string(q) {
			t.Fatalf("%s differs", x.Path(id))
		}
	}
}

func TestOneFileOfATableFetchesItsChunks(t *testing.T) {
	sources, blobs := fixtureLayers(t, "estargz")
	l := openTestStore(t, t.TempDir(), Options{}).Layer(sources[0])
	x, err := l.Index(t.Context())
	must(t, err)
	after := blobs[0].bytes.Load()
	etc, _ := x.Find(0, "etc")
	id, ok := x.Find(etc, "os-release")
	if !ok {
		t.Fatal("no etc/os-release")
	}
	p := make([]byte, 100)
	n, err := l.ReadAt(t.Context(), id, p, 0)
	if err != nil || !strings.HasPrefix(string(p[:n]), `NAME="Fixture"`) {
		t.Fatalf("%q, %v", p[:n], err)
	}
	if got := blobs[0].bytes.Load() - after; got > 1000 {
		t.Errorf("%d bytes for a file of %d", got, n)
	}
}

func TestAForgedTableIsNotUsed(t *testing.T) {
	for _, ref := range []string{"estargz", "zstdchunked"} {
		sources, _ := fixtureLayers(t, ref)
		src := sources[0]
		src.Annotations = map[string]string{}
		for k, v := range sources[0].Annotations {
			if strings.HasPrefix(v, "sha256:") {
				v = string(digest.FromString("forged"))
			}
			src.Annotations[k] = v
		}
		x, err := openTestStore(t, t.TempDir(), Options{}).Layer(src).Index(t.Context())
		must(t, err)
		if x.Header().Source != index.Scan {
			t.Errorf("%s: source %v", ref, x.Header().Source)
		}
	}
}

func TestExternalTable(t *testing.T) {
	sources, _ := fixtureLayers(t, "estargz-ext")
	outside, blobs := fixtureLayers(t, "estargz-ext-esgztoc")
	for i, o := range outside {
		if o.Annotations["containerd.io/snapshot/stargz/layer.digest"] == string(sources[0].Digest) {
			l := sources[0]
			l.Table = func(ctx context.Context) ([]byte, error) {
				r, _, err := blobs[i].ReadRange(ctx, 0, -1)
				if err != nil {
					return nil, err
				}
				return io.ReadAll(r)
			}
			lazy := openTestStore(t, t.TempDir(), Options{}).Layer(l)
			x, err := lazy.Index(t.Context())
			must(t, err)
			if x.Header().Source != index.EStargz {
				t.Fatalf("source %v", x.Header().Source)
			}
			l.Table, l.Annotations = nil, nil
			sameContents(t, lazy, openTestStore(t, t.TempDir(), Options{}).Layer(l), x)
			return
		}
	}
	t.Fatal("the fixture has no table for the layer")
}

func TestFillProvesALayerThatWasListedByItsTable(t *testing.T) {
	for _, ref := range []string{"estargz", "estargz-inner", "zstdchunked", "zstdchunked-stargz"} {
		t.Run(ref, func(t *testing.T) {
			sources, _ := fixtureLayers(t, ref)
			l := openTestStore(t, t.TempDir(), Options{}).Layer(sources[0])
			x, err := l.Index(t.Context())
			must(t, err)
			if st := l.Status(); st.Mode != "toc" || st.Proof != "spans" {
				t.Fatalf("before: %+v", st)
			}
			must(t, l.Fill(t.Context()))
			if st := l.Status(); st.State != Complete || st.Proof != "layer" {
				t.Fatalf("after: %+v", st)
			}
			other := openTestStore(t, t.TempDir(), Options{}).Layer(sources[0])
			sameContents(t, l, other, x) // by the numbers that readers still have
		})
	}
}

func TestPrefetchBringsWhatLiesInFrontOfTheLandmark(t *testing.T) {
	sources, _ := fixtureLayers(t, "estargz")
	l := openTestStore(t, t.TempDir(), Options{}).Layer(sources[0])
	must(t, l.Prefetch(t.Context()))
	a := l.current.Load()
	if a.Data.Present() != 0 {
		t.Fatalf("%d spans without a landmark", a.Data.Present())
	}
	must(t, cachedir.WriteLandmark(a.Dir, 5))
	must(t, l.Prefetch(t.Context()))
	for i := range 5 {
		if !a.Data.Has(i) {
			t.Errorf("span %d is missing", i)
		}
	}
	if a.Data.Complete() {
		t.Error("everything was fetched")
	}
	must(t, l.FillInBackground(t.Context()))
	if !a.Data.Complete() {
		t.Error("not everything was fetched")
	}
}
