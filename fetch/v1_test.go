package fetch

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	"github.com/ulikunitz/xz"

	"github.com/peelfs/peelfs/fetch/image"
	"github.com/peelfs/peelfs/fetch/registryv1"
	"github.com/peelfs/peelfs/fetch/schema1"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/testregistryv1"
)

const (
	fixtureImages  = "../testdata/fixture/images"
	fixtureSchema1 = "../testdata/fixture/schema1-manifest.json"
)

// fixtureV1 is the fixture as images of the first generation.
func fixtureV1(t *testing.T, packing testregistryv1.Packing) []testregistryv1.Image {
	t.Helper()
	images, err := testregistryv1.FromLayout(fixtureImages, "gzip", packing)
	if err != nil {
		t.Fatal(err)
	}
	return images
}

// tars are the layers of img, unpacked, without those that are empty.
func tars(t *testing.T, img *Image) [][32]byte {
	t.Helper()
	var out [][32]byte
	for i, l := range img.Layers {
		body, at, err := l.Blob.ReadRange(t.Context(), 0, -1)
		if err != nil || at != 0 {
			t.Fatalf("layer %d: at %d, %v", i, at, err)
		}
		data, err := io.ReadAll(body)
		body.Close()
		if err != nil {
			t.Fatalf("layer %d: %v", i, err)
		}
		data = unpack(t, data)
		if len(bytes.Trim(data, "\x00")) > 0 {
			out = append(out, sha256.Sum256(data))
		}
	}
	return out
}

func unpack(t *testing.T, data []byte) []byte {
	t.Helper()
	var r io.Reader = bytes.NewReader(data)
	var err error
	switch {
	case bytes.HasPrefix(data, []byte{0x1f, 0x8b}):
		r, err = gzip.NewReader(r)
	case bytes.HasPrefix(data, []byte("\xfd7zXZ")):
		r, err = xz.NewReader(r)
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// wantFixture compares an image with the fixture in its OCI layout.
func wantFixture(t *testing.T, c *Client, img *Image) {
	t.Helper()
	want := resolve(t, c, "oci:"+fixtureImages+":gzip")
	have, expect := tars(t, img), tars(t, want)
	if len(have) != len(expect) {
		t.Fatalf("%d layers with content, want %d", len(have), len(expect))
	}
	for i := range expect {
		if have[i] != expect[i] {
			t.Errorf("layer %d has other bytes", i)
		}
	}
	if img.Config.Config.WorkingDir != "/app" || img.Platform.Architecture != "amd64" || len(img.History) != 5 {
		t.Errorf("configuration %+v, %d history entries", img.Config.Config, len(img.History))
	}
	if digest.FromBytes(img.RawManifest) != img.ManifestDigest && !strings.Contains(img.MediaType, "prettyjws") {
		t.Errorf("manifest %s has another digest", img.ManifestDigest)
	}
}

func TestFixtureFromRegistryV1(t *testing.T) {
	gzipped, plain := fixtureV1(t, testregistryv1.Gzip), fixtureV1(t, testregistryv1.Plain)
	for _, c := range []struct {
		quirks testregistryv1.Quirks
		images []testregistryv1.Image
	}{
		{testregistryv1.Python(), plain}, {testregistryv1.Python(), gzipped},
		{testregistryv1.Contrib(), plain}, {testregistryv1.Ooyala(), gzipped}, {testregistryv1.Quay(), gzipped},
		{testregistryv1.Python(), fixtureV1(t, testregistryv1.XZ)},
	} {
		t.Run(c.quirks.Name, func(t *testing.T) {
			srv := testregistryv1.New(testregistryv1.NewStore(), c.quirks)
			srv.Store.Put("ns/fix", "v1", c.images...)
			host := srv.Start(t)
			client := newClient(t, Config{CacheDir: t.TempDir()})
			img := resolve(t, client, host+"/ns/fix:v1")
			if img.MediaType != registryv1.MediaType || len(img.Layers) != 5 {
				t.Fatalf("%s with %d layers", img.MediaType, len(img.Layers))
			}
			for _, l := range img.Layers {
				if !strings.HasPrefix(l.Alias, "v1:"+host+"/") || l.Descriptor.Digest != "" || l.DiffID != "" {
					t.Errorf("layer %+v", l)
				}
			}
			wantFixture(t, client, img)
		})
	}
}

func TestRegistryV1ByChoice(t *testing.T) {
	srv := testregistryv1.New(testregistryv1.NewStore(), testregistryv1.Python())
	srv.Store.Put("foo", "latest", fixtureV1(t, testregistryv1.Gzip)...)
	host := srv.Start(t)

	resolve(t, newClient(t, Config{RegistryAPI: "v1"}), host+"/foo")
	if n := srv.Count("/v2/"); n != 0 {
		t.Errorf("v1 was asked for, and %d requests were for v2", n)
	}
	wantErr(t, newClient(t, Config{RegistryAPI: "v2"}), host+"/foo", errkind.NotFound)
	if n := srv.Count("/v1/_ping"); n != 1 {
		t.Errorf("v2 was asked for, and %d logins happened", n)
	}
	auto := newClient(t, Config{})
	tags, err := auto.Tags(t.Context(), ref(t, host+"/foo"))
	if err != nil || len(tags) != 1 || tags[0] != "latest" {
		t.Errorf("tags %v, %v", tags, err)
	}
	d, err := auto.Head(t.Context(), ref(t, host+"/foo"))
	if img := resolve(t, auto, host+"/foo"); err != nil || d.Digest != img.Digest {
		t.Errorf("head %v, %v", d, err)
	}
	wantErr(t, auto, host+"/nothing", errkind.NotFound, "nothing")
	wantErr(t, auto, host+"/foo:nope", errkind.NotFound, "nope")
}

// A registry with neither protocol, or with the second one alone, is not taken
// for one with the first.
func TestNoRegistryV1(t *testing.T) {
	nothing := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(nothing.Close)
	wantErr(t, newClient(t, Config{}), strings.TrimPrefix(nothing.URL, "http://")+"/foo", errkind.NotFound)
}

// The record of a resolution is in the cache under its digest, and good without
// any request; its layers are fetched as before.
func TestRegistryV1ByDigest(t *testing.T) {
	srv := testregistryv1.New(testregistryv1.NewStore(), testregistryv1.Quay())
	srv.Store.Put("ns/fix", "v1", fixtureV1(t, testregistryv1.Gzip)...)
	host := srv.Start(t)
	cfg := Config{CacheDir: t.TempDir()}
	first := resolve(t, newClient(t, cfg), host+"/ns/fix:v1")
	asked := len(srv.Requests())
	c := newClient(t, cfg)
	again := resolve(t, c, host+"/ns/fix@"+first.Digest.String())
	if n := len(srv.Requests()); n != asked {
		t.Errorf("%d requests for what is in the cache", n-asked)
	}
	if !bytes.Equal(again.RawConfig, first.RawConfig) || again.Digest != first.Digest {
		t.Error("another image")
	}
	wantFixture(t, c, again)
	wantErr(t, c, "127.0.0.1:1/ns/fix@"+first.Digest.String(), errkind.NotFound, host)
}

// serveSchema1 is a registry of the second protocol that has one manifest.
func serveSchema1(t *testing.T, body []byte, mediaType string, d digest.Digest) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/v2/foo/manifests/{ref}", func(w http.ResponseWriter, r *http.Request) {
		if ref := r.PathValue("ref"); ref != "latest" && ref != d.String() {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", mediaType)
		w.Header().Set("Docker-Content-Digest", d.String())
		http.ServeContent(w, r, "", time.Unix(0, 0), bytes.NewReader(body))
	})
	mux.HandleFunc("/v2/foo/blobs/{digest}", func(w http.ResponseWriter, r *http.Request) {
		_, hex, _ := strings.Cut(r.PathValue("digest"), ":")
		http.ServeFile(w, r, filepath.Join(fixtureImages, "blobs/sha256", filepath.Base(hex)))
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://") + "/foo"
}

func TestFixtureFromSchema1(t *testing.T) {
	signed, err := os.ReadFile(fixtureSchema1)
	if err != nil {
		t.Fatal(err)
	}
	m, err := schema1.Parse(signed)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		body      []byte
		mediaType string
	}{
		"signed":          {signed, schema1.MediaTypeSigned},
		"unsigned":        {m.Payload, schema1.MediaTypeUnsigned},
		"signed, as JSON": {signed, "application/json; charset=utf-8"},
	} {
		t.Run(name, func(t *testing.T) {
			where := serveSchema1(t, c.body, c.mediaType, m.Digest)
			cfg := Config{CacheDir: t.TempDir()}
			client := newClient(t, cfg)
			img := resolve(t, client, where)
			if img.Digest != m.Digest || img.ManifestDigest != m.Digest || len(img.Layers) != 4 {
				t.Fatalf("image %s with %d layers", img.Digest, len(img.Layers))
			}
			wantFixture(t, client, img)
			var sum int64
			for _, l := range img.Layers {
				sum += l.Descriptor.Size
			}
			if sum != img.Size || sum < 1e6 {
				t.Errorf("sizes sum up to %d, size is %d", sum, img.Size)
			}
			offline := newClient(t, cfg)
			before := offline.Stats().Requests
			again := resolve(t, offline, where+"@"+m.Digest.String())
			if again.Digest != m.Digest || offline.Stats().Requests != before {
				t.Errorf("by digest: %s after %d requests", again.Digest, offline.Stats().Requests-before)
			}
		})
	}
}

func TestDamagedSchema1(t *testing.T) {
	signed, err := os.ReadFile(fixtureSchema1)
	if err != nil {
		t.Fatal(err)
	}
	m, err := schema1.Parse(signed)
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Replace(signed, []byte("layer 2"), []byte("layer 3"), 1)
	wantErr(t, newClient(t, Config{}), serveSchema1(t, changed, schema1.MediaTypeSigned, m.Digest), errkind.Corrupt, "signature")
	other := digest.FromString("other")
	wantErr(t, newClient(t, Config{}), serveSchema1(t, signed, schema1.MediaTypeSigned, other), errkind.Corrupt, m.Digest.String())
	unsigned := bytes.Replace(m.Payload, []byte("layer 2"), []byte("layer 3"), 1)
	where := serveSchema1(t, unsigned, schema1.MediaTypeUnsigned, m.Digest)
	wantErr(t, newClient(t, Config{}), where+"@"+m.Digest.String(), errkind.Corrupt)
}

// saveOld writes an old archive of images and returns its path.
func saveOld(t *testing.T, prefix string, repositories map[string]map[string]string, images ...testregistryv1.Image) string {
	t.Helper()
	var buf bytes.Buffer
	if err := testregistryv1.Save(&buf, prefix, repositories, images...); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "old.tar")
	if err := os.WriteFile(path, buf.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFixtureFromAnOldArchive(t *testing.T) {
	images := fixtureV1(t, testregistryv1.Plain)
	top := images[len(images)-1].ID
	tagged := map[string]map[string]string{"reg.example:5000/ns/fix": {"v1": top}}
	c := newClient(t, Config{})
	for _, prefix := range []string{"", "./"} {
		path := saveOld(t, prefix, tagged, images...)
		for _, name := range []string{"", "reg.example:5000/ns/fix:v1", "v1", top, top[:12]} {
			img := resolve(t, c, strings.TrimSuffix(image.DockerArchive+":"+path+":"+name, ":"))
			if len(img.Layers) != 5 || img.Layers[0].Alias == "" {
				t.Fatalf("%q: %d layers", name, len(img.Layers))
			}
			if name == "" {
				wantFixture(t, c, img)
			}
		}
		tags, err := c.Tags(t.Context(), ref(t, "docker-archive:"+path))
		if err != nil || len(tags) != 1 || tags[0] != "reg.example:5000/ns/fix:v1" {
			t.Errorf("names %v, %v", tags, err)
		}
	}
	byID := saveOld(t, "", nil, images...)
	wantFixture(t, c, resolve(t, c, "docker-archive:"+byID))
	wantFixture(t, c, resolve(t, c, "docker-archive:"+byID+":"+top[:8]))
	base := resolve(t, c, "docker-archive:"+byID+":"+images[1].ID)
	if len(base.Layers) != 2 {
		t.Errorf("the second image has %d layers", len(base.Layers))
	}
}

func TestOldArchivesThatAreWrong(t *testing.T) {
	images := fixtureV1(t, testregistryv1.Plain)
	top := images[len(images)-1].ID
	with := func(change func(*testregistryv1.Image)) []testregistryv1.Image {
		last := images[len(images)-1]
		change(&last)
		return append(append([]testregistryv1.Image{}, images[:len(images)-1]...), last)
	}
	tag := func(id string) map[string]map[string]string { return map[string]map[string]string{"x": {"t": id}} }
	other := testregistryv1.Image{ID: strings.Repeat("f", 64), JSON: []byte(`{"id":"` + strings.Repeat("f", 64) + `"}`)}
	for name, c := range map[string]struct {
		path  string
		kind  errkind.Kind
		words []string
	}{
		"a parent is missing": {saveOld(t, "", tag(top), images[2:]...), errkind.Corrupt, []string{images[1].ID, images[2].ID}},
		"the JSON of another": {saveOld(t, "", nil, with(func(i *testregistryv1.Image) { i.JSON = other.JSON })...), errkind.Corrupt, []string{top, other.ID}},
		"a tag for nothing":   {saveOld(t, "", tag(other.ID), images...), errkind.Corrupt, []string{other.ID}},
		"an ID that is none":  {saveOld(t, "", tag("../../x"), images...), errkind.Corrupt, []string{"hexadecimal"}},
		"JSON that is none":   {saveOld(t, "", nil, with(func(i *testregistryv1.Image) { i.JSON = []byte("{") })...), errkind.Corrupt, []string{top}},
		"its own parent": {saveOld(t, "", nil, with(func(i *testregistryv1.Image) { i.JSON = []byte(`{"id":"` + top + `","parent":"` + top + `"}`) })...) + ":" + top,
			errkind.Unsupported, []string{"own parent"}},
		"two images":   {saveOld(t, "", nil, append(images, other)...), errkind.Invalid, []string{"2 images", other.ID, top}},
		"no such name": {saveOld(t, "", tag(top), images...) + ":nope", errkind.NotFound, []string{"nope", "x:t"}},
		"an archive of something else": {saveOld(t, "", nil, testregistryv1.Image{ID: "something", JSON: []byte("{}")}), errkind.Invalid,
			[]string{"not an archive of docker save"}},
	} {
		t.Run(name, func(t *testing.T) {
			wantErr(t, newClient(t, Config{}), "docker-archive:"+c.path, c.kind, c.words...)
		})
	}
}

func TestAmbiguousPrefixOfAnOldArchive(t *testing.T) {
	mk := func(c string) testregistryv1.Image {
		id := "abcd" + strings.Repeat(c, 60)
		return testregistryv1.Image{ID: id, JSON: []byte(`{"id":"` + id + `"}`), Layer: make([]byte, 1024)}
	}
	path := saveOld(t, "", nil, mk("1"), mk("2"))
	wantErr(t, newClient(t, Config{}), "docker-archive:"+path+":abcd", errkind.Invalid, mk("1").ID, mk("2").ID)
	resolve(t, newClient(t, Config{}), "docker-archive:"+path+":abcd1")
}

// Where only the first protocol is spoken, its answer is the one that counts.
func TestFirstProtocolRefuses(t *testing.T) {
	q := testregistryv1.Python()
	q.RequireBasic = "joe:secret"
	srv := testregistryv1.New(testregistryv1.NewStore(), q)
	host := srv.Start(t)
	wantErr(t, newClient(t, Config{}), host+"/foo/bar:latest", errkind.Denied, "401")
}
