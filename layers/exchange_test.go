package layers

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/layers/cachedir"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/opened"
	"github.com/peelfs/peelfs/layers/soci"
)

func TestAnIndexServesAnotherMachine(t *testing.T) {
	tar, files := bigTar()
	for name, blob := range map[string][]byte{"gzip": gz(tar), "plain": tar, "zstd": zst(tar)} {
		t.Run(name, func(t *testing.T) {
			src, _ := sourceOf(tar, blob)
			here := openTestStore(t, t.TempDir(), Options{IndexOnly: true})
			data, err := here.Layer(src).ExportIndex(t.Context())
			must(t, err)
			dir := t.TempDir()
			there := openTestStore(t, dir, Options{})
			d, added, err := there.ImportIndex(t.Context(), data)
			if err != nil || !added || d != src.Digest {
				t.Fatalf("%s, %v, %v", d, added, err)
			}
			if _, added, err := there.ImportIndex(t.Context(), data); added || err != nil {
				t.Errorf("a second time: %v, %v", added, err)
			}
			src, b := sourceOf(tar, blob)
			l := there.Layer(src)
			x, err := l.Index(t.Context())
			must(t, err)
			if b.requests.Load() != 0 {
				t.Errorf("%d requests for an index that is here", b.requests.Load())
			}
			if st := l.Status(); st.State != Indexed || st.Proof != "imported" {
				t.Errorf("%+v", st)
			}
			mustHave(t, l, files)
			must(t, l.Fill(t.Context()))
			if st := l.Status(); st.State != Complete || st.Proof != "layer" {
				t.Errorf("%+v", st)
			}
			mustHave(t, l, files)
			if x.Header().Imported == l.current.Load().Index.Header().Imported {
				t.Error("the proven index has not taken its place")
			}
		})
	}
}

// said is an index that claims to be of blob and has what ztoc says.
func said(t *testing.T, blob, tar, ztoc []byte, change func(*index.Header, []index.Span)) []byte {
	t.Helper()
	z, err := soci.Parse(ztoc)
	must(t, err)
	h := index.Header{Source: index.Scan, Space: index.Tar, Compression: index.Gzip, SpaceSize: z.SpaceSize,
		BlobDigest: digest.FromBytes(blob), BlobSize: int64(len(blob)), DiffID: digest.FromBytes(tar)}
	if change != nil {
		change(&h, z.Spans)
	}
	var b bytes.Buffer
	must(t, z.Builder.Write(&b, h, z.Spans, z.Windows))
	return b.Bytes()
}

func lyingLayer(t *testing.T) (tar, blob, ztoc []byte, files map[string]string) {
	t.Helper()
	files = map[string]string{"data": words(7, 2<<20), "tool": "#!/bin/true\n"}
	tar = tartest.Of(tartest.File("data", files["data"]), tartest.File("tool", files["tool"], tartest.Mode(0o751)))
	blob = gzipped(t, tar)
	built, err := soci.Build(bytes.NewReader(blob), soci.Options{SpanSize: 256 << 10})
	must(t, err)
	return tar, blob, built.Ztoc, files
}

func TestALyingImportIsFoundOut(t *testing.T) {
	tar, blob, ztoc, files := lyingLayer(t)
	for name, forged := range map[string][]byte{
		"a name":        patch(t, ztoc, []byte("tool"), []byte("evil")),
		"what precedes": otherWindow(t, ztoc),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openTestStore(t, dir, Options{})
			_, added, err := s.ImportIndex(t.Context(), said(t, blob, tar, forged, nil))
			if err != nil || !added {
				t.Fatalf("%v, %v", added, err)
			}
			src, _ := sourceOf(tar, blob)
			l := s.Layer(src)
			content(t, l, "data")
			if err := l.Fill(t.Context()); !errkind.Is(err, errkind.Corrupt) || !strings.Contains(err.Error(), "the imported index lies") {
				t.Fatalf("error %v", err)
			}
			mustHave(t, openTestStore(t, dir, Options{}).Layer(src), files)
		})
	}
}

func TestImportsThatAreRefused(t *testing.T) {
	tar, blob, ztoc, _ := lyingLayer(t)
	good := said(t, blob, tar, ztoc, nil)
	damaged := bytes.Clone(good)
	damaged[len(damaged)/2] ^= 1
	s := openTestStore(t, t.TempDir(), Options{})
	for name, data := range map[string][]byte{
		"nothing":     nil,
		"no index":    []byte("an index, I promise"),
		"damaged":     damaged,
		"no blob":     said(t, blob, tar, ztoc, func(h *index.Header, _ []index.Span) { h.BlobDigest = "" }),
		"no size":     said(t, blob, tar, ztoc, func(h *index.Header, _ []index.Span) { h.BlobSize = -1 }),
		"of a ztoc":   said(t, blob, tar, ztoc, func(h *index.Header, _ []index.Span) { h.Source = index.SOCI }),
		"no digest":   said(t, blob, tar, ztoc, func(_ *index.Header, s []index.Span) { s[1].DigestOf = index.DigestNone }),
		"not the tar": said(t, blob, tar, ztoc, func(h *index.Header, _ []index.Span) { h.Space = index.Packed }),
	} {
		if _, added, err := s.ImportIndex(t.Context(), data); added || !errkind.Is(err, errkind.Corrupt) {
			t.Errorf("%s: %v, %v", name, added, err)
		}
	}
	if got := s.List(); len(got) != 0 {
		t.Errorf("in the cache: %+v", got)
	}
}

// An import that contradicts the image is dropped when the layer is first used.
func TestAnImportOfAnotherLayerIsDropped(t *testing.T) {
	tar, blob, ztoc, files := lyingLayer(t)
	s := openTestStore(t, t.TempDir(), Options{})
	d, _, err := s.ImportIndex(t.Context(), said(t, blob, tar, ztoc, func(h *index.Header, _ []index.Span) { h.DiffID = digest.FromString("x") }))
	must(t, err)
	src, _ := sourceOf(tar, blob)
	l := s.Layer(src)
	mustHave(t, l, files)
	if st := l.Status(); st.Proof != "layer" {
		t.Errorf("%+v", st)
	}
	_, err = os.Stat(filepath.Join(s.dir, "layers", "sha256", d.Encoded(), cachedir.IndexName))
	must(t, err)
}

// A flipped byte anywhere in the blob is found by the digest of its span, though
// the index came from elsewhere.
func TestImportedSpansHoldTheirDigests(t *testing.T) {
	tar, blob, ztoc, _ := lyingLayer(t)
	s := openTestStore(t, t.TempDir(), Options{})
	_, _, err := s.ImportIndex(t.Context(), said(t, blob, tar, ztoc, nil))
	must(t, err)
	src, b := sourceOf(tar, blob)
	b.data = bytes.Clone(blob)
	b.data[len(blob)/2] ^= 1
	l := s.Layer(src)
	x, err := l.Index(t.Context())
	must(t, err)
	if _, err := l.ReadAt(t.Context(), fileNamed(t, x, "data"), make([]byte, 2<<20), 0); !errkind.Is(err, errkind.Corrupt) {
		t.Errorf("%v", err)
	}
}

func TestBuildIndexTakesNobodysWord(t *testing.T) {
	sources, blobs := indexedLayers(t)
	dir := t.TempDir()
	s := openTestStore(t, dir, Options{IndexOnly: true})
	x, err := s.Layer(sources[0]).BuildIndex(t.Context())
	must(t, err)
	if x.Header().Source != index.Scan || blobs[0].requests.Load() != 1 {
		t.Errorf("source %v after %d requests", x.Header().Source, blobs[0].requests.Load())
	}
	must(t, s.Close())

	dir = t.TempDir()
	listed := openTestStore(t, dir, Options{})
	if x, err = listed.Layer(sources[0]).Index(t.Context()); err != nil || x.Header().Source != index.SOCI {
		t.Fatalf("%v, %v", x.Header().Source, err)
	}
	if x, err = openTestStore(t, dir, Options{IndexOnly: true}).Layer(sources[0]).BuildIndex(t.Context()); err != nil || x.Header().Source != index.Scan {
		t.Errorf("%v, %v", x.Header().Source, err)
	}
}

func TestZtocsOfLayers(t *testing.T) {
	sources, blobs := indexedLayers(t)
	s := openTestStore(t, t.TempDir(), Options{})
	for i, src := range sources {
		built, err := s.Layer(src).BuildZtoc(t.Context(), soci.Options{})
		if large := len(blobs[i].data) > opened.SmallLayer; !large {
			if !errkind.Is(err, errkind.Unsupported) {
				t.Errorf("layer %d: %v", i, err)
			}
			continue
		}
		must(t, err)
		src.Ztoc = saying(built.Ztoc, nil)
		x, err := openTestStore(t, t.TempDir(), Options{}).Layer(src).Index(t.Context())
		if err != nil || x.Header().Source != index.SOCI {
			t.Errorf("layer %d: source %v, %v", i, x.Header().Source, err)
		}
	}
	bad := sources[0]
	bad.Digest = digest.FromString("something else")
	if _, err := s.Layer(bad).BuildZtoc(t.Context(), soci.Options{}); !errkind.Is(err, errkind.Corrupt) {
		t.Errorf("another blob: %v", err)
	}
	for _, ref := range []string{"zstd", "estargz"} {
		others, _ := fixtureLayers(t, ref)
		if _, err := s.Layer(others[0]).BuildZtoc(t.Context(), soci.Options{}); !errkind.Is(err, errkind.Unsupported) {
			t.Errorf("%s: %v", ref, err)
		}
	}
}
