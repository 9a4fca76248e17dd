package registryv1

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"

	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/internal/testregistryv1"
)

func hexSum(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "")))
	return hex.EncodeToString(sum[:])
}

// summed is a small layer, and what is summed up of each entry by hand.
func summed() (layer []byte, v0, v1 []string) {
	layer = tartest.Of(
		tartest.Dir("d/", tartest.MTime(7, 0)),
		tartest.File("d/f", "hello", tartest.Mode(0o4755), tartest.Owner(5, 6), tartest.MTime(1000, 0), tartest.Xattr("user.b", "B"), tartest.Xattr("user.a", "A")),
		tartest.Symlink("l", "d/f", tartest.MTime(8, 0)),
	)
	const (
		dir  = "named/mode493uid0gid0size0mtime7typeflag5linknameunamegnamedevmajor0devminor0"
		file = "named/fmode2541uid5gid6size5mtime1000typeflag0linknameunamegnamedevmajor0devminor0"
		link = "namelmode511uid0gid0size0mtime8typeflag2linknamed/funamegnamedevmajor0devminor0"
	)
	untimed := strings.NewReplacer("mtime7", "", "mtime1000", "", "mtime8", "")
	v0 = []string{hexSum(dir), hexSum(file, "hello"), hexSum(link)}
	v1 = []string{hexSum(untimed.Replace(dir)), hexSum(untimed.Replace(file), "user.aAuser.bB", "hello"), hexSum(untimed.Replace(link))}
	return layer, v0, v1
}

func TestTarSum(t *testing.T) {
	layer, v0, v1 := summed()
	for version, entries := range map[string][]string{"tarsum": v0, "tarsum.v1": v1, "tarsum.dev": v1} {
		slices.Sort(entries)
		want := version + "+sha256:" + hexSum(`{"id":1}`, strings.Join(entries, ""))
		for packing, data := range map[string][]byte{"plain": layer, "gzip": tartest.Gzip(layer), "xz": xzOf(t, layer)} {
			got, err := (&tarSum{version: version, json: []byte(`{"id":1}`)}).sum(bytes.NewReader(data))
			if err != nil || got != want {
				t.Errorf("%s, %s: got %s, %v\nwant %s", version, packing, got, err, want)
			}
		}
	}
}

func TestTarSumOfNothing(t *testing.T) {
	got, err := (&tarSum{version: "tarsum"}).sum(strings.NewReader(""))
	if want := "tarsum+sha256:" + hexSum(); err != nil || got != want {
		t.Errorf("%s, %v", got, err)
	}
}

func xzOf(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := xz.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A wrong checksum of the tar is said and no more; a right one costs nobody a word.
// A strong checksum beside it leaves it out.
func TestTarSumIsCompared(t *testing.T) {
	layer, v0, _ := summed()
	img := chain("a")[0]
	img.Layer, img.Checksums = tartest.Gzip(layer), nil
	slices.Sort(v0)
	right := "tarsum+sha256:" + hexSum(string(img.JSON), strings.Join(v0, ""))
	wrong := "tarsum+sha256:" + hexSum("other")
	payload := "sha256:" + hexSum(string(img.JSON), "\n", string(img.Layer))
	for _, c := range []struct {
		name      string
		layer     []byte
		checksums []string
		want      string
	}{
		{"right", img.Layer, []string{right}, "level=INFO"},
		{"wrong", img.Layer, []string{wrong}, "level=WARN"},
		{"one of several", img.Layer, []string{wrong, right}, "level=INFO"},
		{"beside a strong one", img.Layer, []string{wrong, payload}, ""},
		{"unknown version", img.Layer, []string{"tarsum.v9+sha256:" + hexSum()}, ""},
		{"a path twice", tartest.Of(tartest.File("f", "1"), tartest.File("./f", "2")), []string{right}, "in the archive twice"},
		{"no tar", []byte(strings.Repeat("not a tar ", 100)), []string{right}, "could not be computed"},
	} {
		img.Layer = c.layer
		srv := testregistryv1.New(testregistryv1.NewStore(), testregistryv1.Python())
		srv.Store.Put("foo/bar", "latest", img)
		s := session(t, srv.Start(t))
		var log bytes.Buffer
		s.log = slog.New(slog.NewTextHandler(&log, nil))
		l := s.Layer(ManifestLayer{ID: img.ID, JSON: img.JSON, Size: int64(len(c.layer)), Checksums: c.checksums})
		body, _, err := l.ReadRange(t.Context(), 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		if err != nil || !bytes.Equal(got, c.layer) {
			t.Errorf("%s: %d bytes, %v", c.name, len(got), err)
		}
		body.Close()
		if said := log.String(); (c.want == "") != (said == "") || !strings.Contains(said, c.want) {
			t.Errorf("%s: said %q, want %q", c.name, said, c.want)
		}
	}
}

// Who stops early leaves nothing behind, and whoever reads a part is not compared.
func TestTarSumIsGivenUp(t *testing.T) {
	img := chain("a")[0]
	img.Checksums = nil
	_, s := single(t, testregistryv1.Python(), img)
	l := s.Layer(ManifestLayer{ID: img.ID, JSON: img.JSON, Size: int64(len(img.Layer)), Checksums: []string{"tarsum+sha256:" + hexSum()}})
	body, _, err := l.ReadRange(t.Context(), 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := body.Read(make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	if err := body.Close(); err != nil { // waits for the goroutine
		t.Fatal(err)
	}
}

func FuzzTarSum(f *testing.F) {
	layer, _, _ := summed()
	f.Add(layer)
	f.Add(tartest.Gzip(layer))
	f.Add([]byte("BZh9"))
	f.Add([]byte("\xfd7zXZ\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		w.Write(data)
		w.Close()
		plain, err := (&tarSum{version: "tarsum.v1"}).sum(bytes.NewReader(data))
		packed, packedErr := (&tarSum{version: "tarsum.v1"}).sum(&b)
		magic := []string{"\x1f\x8b", "BZh", "\xfd7zXZ\x00"}
		if slices.ContainsFunc(magic, func(m string) bool { return bytes.HasPrefix(data, []byte(m)) }) {
			return // packed twice
		}
		if plain != packed || (err == nil) != (packedErr == nil) {
			t.Fatalf("%q, %v and packed %q, %v", plain, err, packed, packedErr)
		}
	})
}
