package layers

import (
	"bytes"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/layers/soci"
)

// algorithms are all that images may use.
var algorithms = []digest.Algorithm{digest.SHA256, digest.SHA384, digest.SHA512}

// smallTar is a layer of two spans.
func smallTar() ([]byte, map[string]string) {
	files := map[string]string{"one": words(1, 1<<20), "two": words(2, 1<<19)}
	return tartest.Of(tartest.File("one", files["one"]), tartest.File("two", files["two"])), files
}

// sourceBy is sourceOf with digests of the algorithms given.
func sourceBy(blobAlg, tarAlg digest.Algorithm, tar, blob []byte) Source {
	return Source{Digest: blobAlg.FromBytes(blob), DiffID: tarAlg.FromBytes(tar), Blob: &memBlob{data: blob}}
}

func TestDigestsOfEveryAlgorithm(t *testing.T) {
	tar, files := smallTar()
	for _, blobAlg := range algorithms {
		for _, tarAlg := range algorithms {
			t.Run(blobAlg.String()+" of a tar by "+tarAlg.String(), func(t *testing.T) {
				for name, blob := range map[string][]byte{"gzip": gz(tar), "plain": tar, "xz": xzed(tar)} {
					dir := t.TempDir()
					s := openTestStore(t, dir, Options{})
					src := sourceBy(blobAlg, tarAlg, tar, blob)
					mustHave(t, s.Layer(src), files)
					if st := s.Layer(src).Status(); st.Digest != src.Digest || st.DiffID != src.DiffID || st.Proof != "layer" {
						t.Errorf("%s: %+v", name, st)
					}
					s.Close()

					again := openTestStore(t, dir, Options{}).Layer(sourceBy(blobAlg, tarAlg, tar, blob))
					mustHave(t, again, files)
					if n := again.src.Blob.(*memBlob).requests.Load(); n != 0 {
						t.Errorf("%s: %d requests for a layer that is in the cache", name, n)
					}
				}
			})
		}
	}
}

func TestAWrongDiffIDOfAnyAlgorithmIsFound(t *testing.T) {
	tar, _ := smallTar()
	for _, alg := range algorithms {
		src := sourceBy(digest.SHA256, alg, tar, gz(tar))
		src.DiffID = alg.FromString("another tar")
		_, err := openTestStore(t, t.TempDir(), Options{}).Layer(src).Index(t.Context())
		if !errkind.Is(err, errkind.Corrupt) || !strings.Contains(err.Error(), string(alg.FromBytes(tar))) {
			t.Errorf("%s: %v", alg, err)
		}
		if _, err := openTestStore(t, t.TempDir(), Options{}).Layer(src).BuildZtoc(t.Context(), soci.Options{}); !errkind.Is(err, errkind.Corrupt) {
			t.Errorf("%s, reading for a ztoc: %v", alg, err)
		}
	}
}

// Two images may name one layer's tar by two algorithms: each is held to its own
// word, also where the other has filled the cache.
func TestAlgorithmsOfTwoImagesOfOneLayer(t *testing.T) {
	tar, files := smallTar()
	blob := gz(tar)
	for _, first := range algorithms {
		for _, second := range algorithms {
			dir := t.TempDir()
			s := openTestStore(t, dir, Options{})
			mustHave(t, s.Layer(sourceBy(digest.SHA256, first, tar, blob)), files)
			s.Close()
			s = openTestStore(t, dir, Options{})
			mustHave(t, s.Layer(sourceBy(digest.SHA256, second, tar, blob)), files)
			s.Close()
			wrong := sourceBy(digest.SHA256, second, tar, blob)
			wrong.DiffID = second.FromString("another tar")
			s = openTestStore(t, dir, Options{})
			if _, err := s.Layer(wrong).Index(t.Context()); !errkind.Is(err, errkind.Corrupt) {
				t.Errorf("%s after %s: %v", second, first, err)
			}
			s.Close()
			s = openTestStore(t, dir, Options{})
			last := sourceBy(digest.SHA256, first, tar, blob)
			mustHave(t, s.Layer(last), files)
			if n := last.Blob.(*memBlob).requests.Load(); n != 0 {
				t.Errorf("%s after %s: the first image needs %d requests now", second, first, n)
			}
			s.Close()
		}
	}
}

func TestIndexesOfEveryAlgorithmTravel(t *testing.T) {
	tar, files := smallTar()
	for _, alg := range algorithms {
		for name, blob := range map[string][]byte{"gzip": gz(tar), "plain": tar, "zstd": zst(tar), "xz": xzed(tar)} {
			src := sourceBy(alg, alg, tar, blob)
			data, err := openTestStore(t, t.TempDir(), Options{}).Layer(src).ExportIndex(t.Context())
			must(t, err)
			there := openTestStore(t, t.TempDir(), Options{})
			d, added, err := there.ImportIndex(t.Context(), data)
			if err != nil || !added || d != src.Digest {
				t.Fatalf("%s, %s: %s, %v, %v", alg, name, d, added, err)
			}
			l := there.Layer(sourceBy(alg, alg, tar, blob))
			mustHave(t, l, files)
			must(t, l.Fill(t.Context()))
			if st := l.Status(); st.Proof != "layer" {
				t.Errorf("%s, %s: %+v", alg, name, st)
			}
			mustHave(t, l, files)
		}
	}
}

func TestZtocsOfEveryAlgorithm(t *testing.T) {
	tar, files := smallTar()
	blob := gz(tar)
	var first []byte
	for _, alg := range algorithms {
		src := sourceBy(alg, alg, tar, blob)
		built, err := openTestStore(t, t.TempDir(), Options{}).Layer(src).BuildZtoc(t.Context(), soci.Options{})
		must(t, err)
		if first == nil {
			first = built.Ztoc
		}
		if !bytes.Equal(built.Ztoc, first) {
			t.Errorf("%s: another ztoc", alg)
		}
		src.Ztoc = saying(built.Ztoc, nil)
		l := openTestStore(t, t.TempDir(), Options{}).Layer(src)
		mustHave(t, l, files)
		must(t, l.Fill(t.Context()))
		if st := l.Status(); st.Proof != "layer" || st.DiffID != src.DiffID {
			t.Errorf("%s: %+v", alg, st)
		}
	}
}
