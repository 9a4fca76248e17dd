package fetch

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/internal/testregistry"
)

// ociImage is an image as the blobs that it consists of.
type ociImage struct {
	blobs    map[digest.Digest]string
	manifest ocispec.Manifest
	top      Descriptor // of the manifest
}

// newImage makes an image of gzipped layers, with all digests by one algorithm.
func newImage(alg digest.Algorithm, tars ...[]byte) *ociImage {
	img := &ociImage{blobs: map[digest.Digest]string{}}
	config := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, RootFS: ocispec.RootFS{Type: "layers"}}
	for _, tar := range tars {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, alg.FromBytes(tar))
		img.manifest.Layers = append(img.manifest.Layers, img.add(alg, ocispec.MediaTypeImageLayerGzip, testregistry.Compress(tar, testregistry.Gzip)))
	}
	raw, _ := json.Marshal(config)
	img.manifest.SchemaVersion, img.manifest.MediaType = 2, ocispec.MediaTypeImageManifest
	img.manifest.Config = img.add(alg, ocispec.MediaTypeImageConfig, raw)
	return img.seal(alg)
}

// seal makes the manifest's blob, after changes to the manifest.
func (img *ociImage) seal(alg digest.Algorithm) *ociImage {
	raw, _ := json.Marshal(img.manifest)
	img.top = img.add(alg, img.manifest.MediaType, raw)
	return img
}

func (img *ociImage) add(alg digest.Algorithm, mediaType string, data []byte) Descriptor {
	d := Descriptor{MediaType: mediaType, Digest: alg.FromBytes(data), Size: int64(len(data))}
	img.blobs[d.Digest] = string(data)
	return d
}

// layoutFiles are the files of an OCI layout whose index has the entries.
func layoutFiles(blobs map[digest.Digest]string, entries ...Descriptor) map[string]string {
	raw, _ := json.Marshal(ocispec.Index{Manifests: entries})
	files := map[string]string{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`, "index.json": string(raw)}
	for d, data := range blobs {
		files["blobs/"+d.Algorithm().String()+"/"+d.Encoded()] = data
	}
	return files
}

// writeFiles puts files into a directory.
func writeFiles(t *testing.T, dir string, files map[string]string) string {
	t.Helper()
	for name, text := range files {
		writeFile(t, filepath.Join(dir, name), text, 0o644)
	}
	return dir
}

// tarOf is a tar of files, sorted by name.
func tarOf(files map[string]string) []byte {
	var entries []tartest.Entry
	for _, name := range slices.Sorted(maps.Keys(files)) {
		entries = append(entries, tartest.File(name, files[name]))
	}
	return tartest.Of(entries...)
}

// anyDigestRegistry is a registry that takes manifests and blobs by the digests that
// clients give them, whatever the algorithm. It has no referrers API.
type anyDigestRegistry struct {
	mu   sync.Mutex
	data map[string]string // by the last part of the path
}

func serveAnyDigest(t *testing.T, img *ociImage) string {
	r := &anyDigestRegistry{data: map[string]string{"1": img.blobs[img.top.Digest]}}
	for d, data := range img.blobs {
		r.data[d.String()] = data
	}
	srv := httptest.NewServer(r)
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://") + "/app"
}

func (r *anyDigestRegistry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := req.URL.Path[strings.LastIndexByte(req.URL.Path, '/')+1:]
	switch {
	case req.URL.Path == "/v2/":
	case strings.Contains(req.URL.Path, "/referrers/"):
		http.NotFound(w, req)
	case req.Method == http.MethodPost:
		w.Header().Set("Location", req.URL.Path+"upload")
		w.WriteHeader(http.StatusAccepted)
	case req.Method == http.MethodPut:
		body, _ := io.ReadAll(req.Body)
		r.data[name], r.data[digest.FromBytes(body).String()] = string(body), string(body)
		w.WriteHeader(http.StatusCreated)
	case r.data[name] == "":
		http.NotFound(w, req)
	default:
		if strings.Contains(req.URL.Path, "/manifests/") {
			var m struct{ MediaType string }
			_ = json.Unmarshal([]byte(r.data[name]), &m)
			w.Header().Set("Content-Type", m.MediaType)
		}
		http.ServeContent(w, req, "", time.Time{}, strings.NewReader(r.data[name]))
	}
}

func TestImagesOfEveryAlgorithm(t *testing.T) {
	for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA384, digest.SHA512} {
		t.Run(alg.String(), func(t *testing.T) {
			img := newImage(alg, layerA, layerB)
			files := layoutFiles(img.blobs, img.top)
			dir := writeFiles(t, t.TempDir(), files)
			file := writeFile(t, filepath.Join(t.TempDir(), "x.tar"), string(tarOf(files)), 0o644)
			app := serveAnyDigest(t, img)
			for _, name := range []string{"oci:" + dir, "oci:" + dir + "@" + img.top.Digest.String(), "oci-archive:" + file, app + ":1",
				app + "@" + img.top.Digest.String()} {
				got := resolve(t, newClient(t, Config{CacheDir: t.TempDir()}), name)
				byTag := alg == digest.SHA256 || !strings.HasSuffix(name, ":1") // a registry need not say by what algorithm it counts
				if byTag && got.ManifestDigest != img.top.Digest || len(got.Layers) != 2 {
					t.Fatalf("%s: %s, %d layers", name, got.ManifestDigest, len(got.Layers))
				}
				for i, tar := range [][]byte{layerA, layerB} {
					l := got.Layers[i]
					if l.DiffID != alg.FromBytes(tar) || alg.FromBytes(readAll(t, l.Blob, 0, -1)) != l.Descriptor.Digest {
						t.Errorf("%s: layer %d: %s of %s", name, i, l.Descriptor.Digest, l.DiffID)
					}
				}
			}
		})
	}
}

func TestAWrongDocumentOfAnyAlgorithmIsFound(t *testing.T) {
	for _, alg := range []digest.Algorithm{digest.SHA384, digest.SHA512} {
		for _, which := range []string{"manifest", "configuration"} {
			img := newImage(alg, layerA)
			d := img.top.Digest
			if which == "configuration" {
				d = img.manifest.Config.Digest
			}
			img.blobs[d] = strings.Replace(img.blobs[d], `"linux"`, `"Linux"`, 1)
			img.blobs[d] = strings.Replace(img.blobs[d], `"layers"`, `"Layers"`, 1)
			dir := writeFiles(t, t.TempDir(), layoutFiles(img.blobs, img.top))
			wantErr(t, newClient(t, Config{}), "oci:"+dir, errkind.Corrupt, alg.String())
			wantErr(t, newClient(t, Config{}), serveAnyDigest(t, img)+"@"+img.top.Digest.String(), errkind.Corrupt, alg.String())
		}
	}
}

func TestAnIndexOfAnImageOfEveryAlgorithmIsPushed(t *testing.T) {
	for _, alg := range []digest.Algorithm{digest.SHA384, digest.SHA512} {
		img := newImage(alg, layerA, layerB)
		name := serveAnyDigest(t, img) + "@" + img.top.Digest.String()
		client := newClient(t, Config{CacheDir: t.TempDir()})
		got := resolve(t, client, name)
		ztocs, want := someZtocs(got)
		if _, err := client.PushIndex(t.Context(), got.Reference, got, ztocs); err != nil {
			t.Fatal(alg, err)
		}
		sameDigests(t, alg.String(), ztocDigests(t, resolve(t, newClient(t, Config{SOCI: "on"}), name)), want)
		if _, err := client.PushIndexedImage(t.Context(), got.Reference, got, "2", ztocs); err != nil {
			t.Fatal(alg, err)
		}
		tagged, _, _ := strings.Cut(name, "@")
		sameDigests(t, alg.String(), ztocDigests(t, resolve(t, newClient(t, Config{SOCI: "v2"}), tagged+":2")), want)
	}
}
