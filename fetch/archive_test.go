package fetch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/internal/testregistry"
	"github.com/peelfs/peelfs/internal/testregistryv1"
)

const fixture = "../testdata/fixture"

func TestFixtureInEveryForm(t *testing.T) {
	c := newClient(t, Config{CacheDir: t.TempDir()})
	layout := "oci:" + fixture + "/images"
	want := resolve(t, c, layout+":gzip")
	if len(want.Layers) != 4 {
		t.Fatalf("%d layers", len(want.Layers))
	}
	r := testregistry.New(t, testregistry.Options{})
	r.PushLayout("app", fixture+"/images")
	for _, name := range []string{layout + ":zstd", layout + ":zstdchunked", layout + ":soci-v2", r.Ref("app:gzip"), r.Ref("app:soci-v2"),
		"oci-archive:" + fixture + "/oci-archive.tar", "docker-archive:" + fixture + "/docker-archive.tar.gz",
		fixture + "/images:gzip", fixture + "/oci-archive.tar", fixture + "/docker-archive.tar.gz"} {
		img := resolve(t, c, name)
		if len(img.Layers) != len(want.Layers) {
			t.Errorf("%s: %d layers", name, len(img.Layers))
			continue
		}
		for i, l := range img.Layers {
			if l.DiffID != want.Layers[i].DiffID {
				t.Errorf("%s: layer %d is %s", name, i, l.DiffID)
			}
			data := readAll(t, l.Blob, 0, -1)
			if l.Descriptor.Digest != digest.FromBytes(data) || l.Descriptor.Size != int64(len(data)) {
				t.Errorf("%s: layer %d: %d bytes are not those of its descriptor", name, i, len(data))
			}
			if got := readAll(t, l.Blob, 5, 7); !bytes.Equal(got, data[5:12]) {
				t.Errorf("%s: layer %d: wrong range", name, i)
			}
		}
	}
	tags, err := c.Tags(t.Context(), ref(t, layout))
	if err != nil || len(tags) < 5 {
		t.Errorf("names in the layout: %v, %v", tags, err)
	}
	wantErr(t, c, layout+":nosuch", errkind.NotFound, "nosuch", "zstdchunked")
	wantErr(t, c, layout, errkind.Invalid, "several", "zstdchunked")
	wantErr(t, c, "oci:"+t.TempDir(), errkind.Invalid, "no index.json")
	wantErr(t, c, "oci:/no/such/dir", errkind.NotFound)
	wantErr(t, c, "oci-archive:/no/such/file", errkind.NotFound)
	resolve(t, c, "docker-archive:"+fixture+"/oci-archive.tar") // which of the two it is can be seen
	pinned := want.Reference.WithDigest(want.Digest)
	if got := resolve(t, c, pinned.String()); got.ManifestDigest != want.ManifestDigest {
		t.Errorf("%s gave %s", pinned, got.ManifestDigest)
	}
}

// dockerSave is an archive as docker save writes it.
type dockerSave struct {
	entries  []tartest.Entry
	manifest []map[string]any
}

func (s *dockerSave) file(name, content string) string {
	s.entries = append(s.entries, tartest.File(name, content))
	return name
}

func (s *dockerSave) image(tags []string, diffs []string, layers ...string) string {
	var c ocispec.Image
	c.OS, c.Architecture, c.RootFS.Type = "linux", "amd64", "layers"
	for _, d := range diffs {
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, digest.FromString(d))
	}
	raw, _ := json.Marshal(c)
	name := s.file(digest.FromBytes(raw).Encoded()+".json", string(raw))
	s.manifest = append(s.manifest, map[string]any{"Config": name, "RepoTags": tags, "Layers": layers})
	return digest.FromBytes(raw).String()
}

func (s *dockerSave) write(t *testing.T, name string) string {
	t.Helper()
	raw, err := json.Marshal(s.manifest)
	if err != nil {
		t.Fatal(err)
	}
	s.file("manifest.json", string(raw)) // last, as skopeo does
	return writeFile(t, filepath.Join(t.TempDir(), name), string(tartest.Of(s.entries...)), 0o644)
}

func TestDockerArchive(t *testing.T) {
	a, b := string(layerA), string(layerB)
	gz := string(testregistry.Compress(layerB, testregistry.Gzip))
	var s dockerSave
	s.file("./one/layer.tar", a)
	s.entries = append(s.entries, tartest.Symlink("two/layer.tar", "../one/layer.tar"), tartest.Link("hard.tar", "./one/layer.tar"))
	s.file("b.tar.gz", gz)
	hybrid := s.file("blobs/sha256/"+digest.FromString(gz).Encoded(), gz)
	s.image([]string{"app:1", "docker.io/library/app:one"}, []string{a, a, b}, "one/layer.tar", "./two/layer.tar", "b.tar.gz")
	id := s.image(nil, []string{a, b}, "hard.tar", hybrid)
	file := s.write(t, "images.tar")
	c := newClient(t, Config{CacheDir: t.TempDir()})

	img := resolve(t, c, "docker-archive:"+file+":app:1")
	for i, want := range []string{a, a, gz} {
		if got := readAll(t, img.Layers[i].Blob, 0, -1); string(got) != want {
			t.Errorf("layer %d has other bytes", i)
		}
	}
	if l := img.Layers[1]; l.Descriptor.Digest != l.DiffID || l.Alias != "" || l.Descriptor.MediaType != ocispec.MediaTypeImageLayer {
		t.Errorf("a plain layer: %+v", l)
	}
	if l := img.Layers[2]; l.Descriptor.Digest != "" || !strings.Contains(l.Alias, file) || l.Descriptor.MediaType != ocispec.MediaTypeImageLayerGzip {
		t.Errorf("a compressed layer: %+v", l)
	}
	if l := resolve(t, c, "docker-archive:"+file+":"+id).Layers[1]; l.Descriptor.Digest != digest.FromString(gz) {
		t.Errorf("a layer named by its digest: %+v", l)
	}
	for _, name := range []string{"app:one", "docker.io/library/app:one", "one", "@0"} {
		if got := resolve(t, c, "docker-archive:"+file+":"+name); got.Digest != img.Digest {
			t.Errorf("%s is %s", name, got.Digest)
		}
	}
	wantErr(t, c, "docker-archive:"+file, errkind.Invalid, "2 images", "app:1")
	wantErr(t, c, "docker-archive:"+file+":nosuch", errkind.NotFound, "app:1")
	wantErr(t, c, "docker-archive:"+file+"@"+digest.FromString("x").String(), errkind.NotFound, "app:1")
	for _, name := range []string{"@" + img.Digest.String(), ":nosuch@" + img.Digest.String()} {
		if got := resolve(t, c, "docker-archive:"+file+name); got.Digest != img.Digest || len(got.Layers) != 3 {
			t.Errorf("%s is %s", name, got.Digest)
		}
	}
	if got := resolve(t, c, "docker-archive:"+file+":app:1@"+id); got.Digest.String() != id {
		t.Errorf("the tag of another image and %s are %s", id, got.Digest)
	}
}

// An image has a digest whatever the file of its configuration is called, and by
// any algorithm. Looking for it reads no more than the archive has.
func TestDockerArchiveByDigest(t *testing.T) {
	var s dockerSave
	a := string(layerA)
	s.file("/a.tar", a)
	var ids []string
	for i := range 3 {
		ids = append(ids, s.image(nil, []string{a, a}[:1+i%2], []string{"/a.tar", "a.tar"}[:1+i%2]...))
	}
	for i := range s.manifest { // names that say nothing
		name := fmt.Sprintf("config%d", i)
		s.entries = append(s.entries, tartest.Link(name, s.manifest[i]["Config"].(string)))
		s.manifest[i]["Config"] = "/" + name
	}
	for range 5000 { // and a list without end of what it is not
		s.manifest = append([]map[string]any{{"Config": "a.tar", "Layers": []string{}}}, s.manifest...)
	}
	file := s.write(t, "x.tar")
	c := newClient(t, Config{CacheDir: t.TempDir()})
	for i, id := range ids {
		if got := resolve(t, c, "docker-archive:"+file+"@"+id); got.Digest.String() != id || len(got.Layers) != 1+i%2 {
			t.Errorf("image %d is %s", i, got.Digest)
		}
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(raw, []byte(`{"created"`))
	if at < 0 {
		at = bytes.Index(raw, []byte(`{"architecture"`))
	}
	config := raw[at : at+bytes.IndexByte(raw[at:], 0)]
	want := digest.SHA512.FromBytes(config)
	if got := resolve(t, c, "docker-archive:"+file+"@"+want.String()); got.Digest != want {
		t.Errorf("by sha512: %s", got.Digest)
	}
	wantErr(t, c, "docker-archive:"+file+"@"+digest.SHA512.FromString("x").String(), errkind.NotFound)
}

// A name names one image, and a part of a name only if no other image has it too.
func TestNamesInDockerArchives(t *testing.T) {
	var s dockerSave
	a, b := string(layerA), string(layerB)
	s.file("a.tar", a)
	s.file("b.tar", b)
	first := s.image([]string{"foo:1", "foo:same"}, []string{a}, "a.tar")
	second := s.image([]string{"quay.io/bar:1", "bar:2"}, []string{b}, "b.tar")
	s.image([]string{"foo:other"}, []string{a}, "a.tar") // the first image once more
	file := "docker-archive:" + s.write(t, "x.tar")
	c := newClient(t, Config{CacheDir: t.TempDir()})
	for name, want := range map[string]string{"foo:1": first, "docker.io/library/foo:1": first, "same": first, "other": first, first[:20]: first,
		first[7:15]: first, "@0": first, "quay.io/bar:1": second, "2": second, "docker.io/library/bar:2": second, second[7:]: second, "@1": second} {
		if got := resolve(t, c, file+":"+name); got.Digest.String() != want {
			t.Errorf("%s is %s", name, got.Digest)
		}
	}
	wantErr(t, c, file+":1", errkind.Invalid, "several", "foo:1", "quay.io/bar:1")
	wantErr(t, c, file, errkind.Invalid, "3 images", "foo:1")
	for _, name := range []string{"bar:1", "foo", "3", "@3", "@-1"} {
		wantErr(t, c, file+":"+name, errkind.NotFound, "foo:1")
	}
}

// What docker saves since 25 is a layout too: both ways in lead to its image, and
// the list, which may come last, decides about the order of layers.
func TestDockerArchivesThatAreLayouts(t *testing.T) {
	img := newImage(digest.SHA256, layerA, layerB)
	files := layoutFiles(img.blobs, named(img.top, ocispec.AnnotationRefName, "1", containerdName, "docker.io/library/app:1"))
	name := func(d Descriptor) string { return "blobs/sha256/" + d.Digest.Encoded() }
	list, _ := json.Marshal([]map[string]any{{"Config": name(img.manifest.Config), "RepoTags": []string{"app:1"},
		"Layers": []string{name(img.manifest.Layers[0]), name(img.manifest.Layers[1])}}})
	files["manifest.json"] = string(list)
	file := writeFile(t, filepath.Join(t.TempDir(), "x.tar"), string(tarOf(files)), 0o644)
	for _, ref := range []string{"docker-archive:" + file, "docker-archive:" + file + ":app:1", "docker-archive:" + file + "@" + img.manifest.Config.Digest.String(),
		"oci-archive:" + file, "oci-archive:" + file + ":app:1", "oci-archive:" + file + ":1"} {
		got := resolve(t, newClient(t, Config{}), ref)
		for i, l := range got.Layers {
			if l.Descriptor.Digest != img.manifest.Layers[i].Digest {
				t.Errorf("%s: layer %d is %s", ref, i, l.Descriptor.Digest)
			}
		}
	}
}

func TestOldArchiveByDigest(t *testing.T) {
	id := strings.Repeat("b", 64)
	image := testregistryv1.Image{ID: id, JSON: []byte(`{"id":"` + id + `"}`), Layer: layerA}
	other := testregistryv1.Image{ID: strings.Repeat("a", 64), JSON: []byte(`{"id":"` + strings.Repeat("a", 64) + `"}`), Layer: layerB}
	var buf bytes.Buffer
	if err := testregistryv1.Save(&buf, "", map[string]map[string]string{"app": {"1": id}}, image, other); err != nil {
		t.Fatal(err)
	}
	file := writeFile(t, filepath.Join(t.TempDir(), "old.tar"), buf.String(), 0o644)
	c := newClient(t, Config{CacheDir: t.TempDir()})
	for _, name := range []string{"app:1", strings.Repeat("a", 12)} {
		img := resolve(t, c, "docker-archive:"+file+":"+name)
		if got := resolve(t, c, "docker-archive:"+file+"@"+img.Digest.String()); got.OldID != img.OldID {
			t.Errorf("%s is %s", img.Digest, got.OldID)
		}
	}
	wantErr(t, c, "docker-archive:"+file+"@"+digest.FromString("x").String(), errkind.NotFound, "app:1")
}

// Layers of archives are recognised as layers of registries are.
func TestLayersOfArchivesInEveryCompression(t *testing.T) {
	var s dockerSave
	a := string(layerA)
	skip := "\x5a\x2a\x4d\x18\x05\x00\x00\x00skip!"
	odd := string(tartest.Of(tartest.File("\x1f\x8bname", "x")))
	s.image([]string{"app:1"}, []string{a, a, odd},
		s.file("zstd", skip+string(testregistry.Compress(layerA, testregistry.Zstd))), s.file("gzip", string(testregistry.Compress(layerA, testregistry.Gzip))), s.file("odd", odd))
	img := resolve(t, newClient(t, Config{CacheDir: t.TempDir()}), "docker-archive:"+s.write(t, "x.tar"))
	for i, want := range []string{ocispec.MediaTypeImageLayerZstd, ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayer} {
		if got := img.Layers[i].Descriptor.MediaType; got != want {
			t.Errorf("layer %d is %s", i, got)
		}
	}
}

// Lists that would need many times their length in memory are refused.
func TestListsWithoutEnd(t *testing.T) {
	list := "[" + strings.Repeat("{},", 1<<19) + "{}]"
	file := writeFile(t, filepath.Join(t.TempDir(), "x.tar"), string(tartest.Of(tartest.File("manifest.json", list))), 0o644)
	wantErr(t, newClient(t, Config{}), "docker-archive:"+file, errkind.Unsupported, "manifest.json", "parts")
	file = writeFile(t, filepath.Join(t.TempDir(), "x.tar"), string(tartest.Of(tartest.File("index.json", `{"manifests":`+list+`}`))), 0o644)
	wantErr(t, newClient(t, Config{}), "oci-archive:"+file, errkind.Unsupported, "parts")
}

func TestArchivesThatAreNotRight(t *testing.T) {
	a := string(layerA)
	c := newClient(t, Config{CacheDir: t.TempDir()})
	for name, change := range map[string]func(s *dockerSave){
		"missing layer":  func(s *dockerSave) { s.image(nil, []string{a}, "nosuch.tar") },
		"layer outside":  func(s *dockerSave) { s.image(nil, []string{a}, "../../etc/passwd") },
		"absolute layer": func(s *dockerSave) { s.image(nil, []string{a}, "/etc/passwd") },
		"link outside": func(s *dockerSave) {
			s.entries = append(s.entries, tartest.Symlink("l.tar", "../../../etc/passwd"))
			s.image(nil, []string{a}, "l.tar")
		},
		"absolute link": func(s *dockerSave) {
			s.entries = append(s.entries, tartest.Symlink("l.tar", "/etc/passwd"))
			s.image(nil, []string{a}, "l.tar")
		},
		"link loop": func(s *dockerSave) {
			s.entries = append(s.entries, tartest.Symlink("l.tar", "m.tar"), tartest.Symlink("m.tar", "l.tar"))
			s.image(nil, []string{a}, "l.tar")
		},
	} {
		t.Run(name, func(t *testing.T) {
			var s dockerSave
			change(&s)
			wantErr(t, c, "docker-archive:"+s.write(t, "x.tar"), errkind.NotFound)
		})
	}
	var s dockerSave
	s.file("l.tar", a)
	s.image(nil, []string{a, a}, "l.tar")
	wantErr(t, c, "docker-archive:"+s.write(t, "x.tar"), errkind.Corrupt, "1 layers")
	wantErr(t, c, "docker-archive:"+writeFile(t, t.TempDir()+"/x", strings.Repeat("no tar ", 200), 0o644), errkind.Corrupt)
	wantErr(t, c, "docker-archive:"+writeFile(t, t.TempDir()+"/x", "\x1f\x8b\x08broken", 0o644), errkind.Corrupt)
	cut := tartest.Of(tartest.File("manifest.json", strings.Repeat(" ", 5000)))[:2000]
	wantErr(t, c, "docker-archive:"+writeFile(t, t.TempDir()+"/x", string(cut), 0o644), errkind.Corrupt)
}

func TestLayoutThatIsNotRight(t *testing.T) {
	dir := t.TempDir()
	put := func(raw string) digest.Digest {
		d := digest.FromString(raw)
		writeFile(t, filepath.Join(dir, "blobs/sha256", d.Encoded()), raw, 0o644)
		return d
	}
	config := `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["` + digest.FromString("x").String() + `"]}}`
	m := fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[{"mediaType":%q,"digest":%q,"size":4}]}`,
		ocispec.MediaTypeImageConfig, put(config), len(config), ocispec.MediaTypeImageLayer, digest.FromString("abcd"))
	writeFile(t, filepath.Join(dir, "index.json"), fmt.Sprintf(`{"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		ocispec.MediaTypeImageManifest, put(m), len(m)), 0o644)
	wantErr(t, newClient(t, Config{}), "oci:"+dir, errkind.NotFound, "layer 1 of 1", "make it again")
	layer := filepath.Join(dir, "blobs/sha256", digest.FromString("abcd").Encoded())
	writeFile(t, layer, "abcde", 0o644)
	wantErr(t, newClient(t, Config{}), "oci:"+dir, errkind.Corrupt, "5 bytes instead of 4", "make it again")
	if err := os.Remove(layer); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/no/such/file", layer); err != nil {
		t.Fatal(err)
	}
	wantErr(t, newClient(t, Config{}), "oci:"+dir, errkind.NotFound, "make it again")
	if err := errors.Join(os.Remove(layer), unix.Mkfifo(layer, 0o600)); err != nil {
		t.Fatal(err)
	}
	wantErr(t, newClient(t, Config{}), "oci:"+dir, errkind.Corrupt, "is not a file")
	writeFile(t, filepath.Join(dir, "blobs/sha256", digest.FromString(m).Encoded()), strings.Replace(m, "tar", "tAr", 1), 0o644)
	wantErr(t, newClient(t, Config{}), "oci:"+dir, errkind.Corrupt)
}

// Entries without names that differ in their platforms are one image.
func TestLayoutOfPlatforms(t *testing.T) {
	dir := t.TempDir()
	var entries []string
	for _, arch := range []string{"arm64", "amd64"} {
		config := fmt.Sprintf(`{"os":"linux","architecture":%q,"rootfs":{"type":"layers","diff_ids":[]}}`, arch)
		cd := digest.FromString(config)
		m := fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[]}`, ocispec.MediaTypeImageConfig, cd, len(config))
		writeFile(t, filepath.Join(dir, "blobs/sha256", cd.Encoded()), config, 0o644)
		writeFile(t, filepath.Join(dir, "blobs/sha256", digest.FromString(m).Encoded()), m, 0o644)
		entries = append(entries, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d,"platform":{"os":"linux","architecture":%q}}`,
			ocispec.MediaTypeImageManifest, digest.FromString(m), len(m), arch))
	}
	writeFile(t, filepath.Join(dir, "index.json"), `{"schemaVersion":2,"manifests":[`+strings.Join(entries, ",")+`]}`, 0o644)
	if img := resolve(t, newClient(t, Config{}), "oci:"+dir); img.Platform.Architecture != "amd64" {
		t.Errorf("platform %v", img.Platform)
	}
}

func TestDaemon(t *testing.T) {
	var s dockerSave
	s.file("l.tar", string(layerA))
	s.image([]string{"app:1"}, []string{string(layerA)}, "l.tar")
	file := s.write(t, "x.tar")
	socket := t.TempDir() + "/docker.sock"
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/images/app:1/get" {
			http.Error(w, "no such image", http.StatusNotFound)
			return
		}
		http.ServeFile(w, req, file)
	})}
	go srv.Serve(l)
	defer srv.Close()
	c := newClient(t, Config{CacheDir: t.TempDir()})
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	img := resolve(t, c, "docker-daemon:app:1")
	if got := readAll(t, img.Layers[0].Blob, 0, -1); !bytes.Equal(got, layerA) {
		t.Error("wrong bytes")
	}
	wantErr(t, c, "docker-daemon:app:2", errkind.NotFound, "no such image")
}

func TestDaemonThatIsNotThere(t *testing.T) {
	c := newClient(t, Config{})
	t.Setenv("DOCKER_HOST", "unix://"+t.TempDir()+"/no.sock")
	wantErr(t, c, "docker-daemon:app:1", errkind.Unavailable, "docker")
	t.Setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
	wantErr(t, c, "docker-daemon:app:1", errkind.Unsupported, "docker save")
}
