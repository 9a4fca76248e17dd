package testregistry

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Compression of a layer, as its media type spells it.
type Compression string

// The compressions.
const (
	Plain Compression = ""
	Gzip  Compression = "gzip"
	Zstd  Compression = "zstd"
)

// Layer is a layer to push.
type Layer struct {
	Tar         []byte
	Compression Compression
	Blob        []byte // the compressed bytes, if they are to be these
	MediaType   string // "" for OCI's, by Compression
	Annotations map[string]string
	URLs        []string
	Inline      bool // within the descriptor, and nowhere else
	Absent      bool // described but not pushed
}

// Image is an image to push. The zero value is one for linux/amd64 without
// layers.
type Image struct {
	Layers   []Layer // base first
	Platform ocispec.Platform
	Docker   bool                    // docker's media types
	Config   func(*ocispec.Image)    // last changes to the configuration
	Manifest func(*ocispec.Manifest) // last changes to the manifest
	History  []ocispec.History
}

// Layers makes gzipped layers of tars, base first.
func Layers(tars ...[]byte) []Layer {
	out := make([]Layer, len(tars))
	for i := range tars {
		out[i] = Layer{Tar: tars[i], Compression: Gzip}
	}
	return out
}

// Compress is data in the given compression.
func Compress(data []byte, c Compression) []byte {
	var buf bytes.Buffer
	switch c {
	case Gzip:
		w := gzip.NewWriter(&buf)
		w.Write(data)
		w.Close()
	case Zstd:
		w, _ := zstd.NewWriter(&buf)
		w.Write(data)
		w.Close()
	default:
		return data
	}
	return buf.Bytes()
}

// Ref is "HOST/name", for ParseReference.
func (r *Registry) Ref(name string) string { return r.Host + "/" + name }

// Push pushes an image as "repo:tag" or "repo" (then by digest only).
func (r *Registry) Push(name string, img Image) ocispec.Descriptor {
	if img.Platform.OS == "" {
		img.Platform = ocispec.Platform{OS: "linux", Architecture: "amd64"}
	}
	config := ocispec.Image{Platform: img.Platform, History: img.History, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{}}
	configType, suffix := ocispec.MediaTypeImageConfig, ""
	if img.Docker {
		m.MediaType = "application/vnd.docker.distribution.manifest.v2+json"
		configType, suffix = "application/vnd.docker.container.image.v1+json", "docker"
	}
	for _, l := range img.Layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(l.Tar))
		m.Layers = append(m.Layers, r.pushLayer(l, suffix))
	}
	if img.Config != nil {
		img.Config(&config)
	}
	m.Config = r.PushBlob(r.encode(config))
	m.Config.MediaType = configType
	if img.Manifest != nil {
		img.Manifest(&m)
	}
	d := r.PushManifest(name, m.MediaType, r.encode(m))
	p := img.Platform
	d.Platform = &p
	return d
}

func (r *Registry) pushLayer(l Layer, kind string) ocispec.Descriptor {
	blob := l.Blob
	if blob == nil {
		blob = Compress(l.Tar, l.Compression)
	}
	d := ocispec.Descriptor{Digest: digest.FromBytes(blob), Size: int64(len(blob))}
	switch {
	case l.Inline:
		d.Data = blob
	case !l.Absent:
		d = r.PushBlob(blob)
	}
	d.Annotations, d.URLs, d.MediaType = l.Annotations, l.URLs, l.MediaType
	if d.MediaType == "" {
		d.MediaType = layerType(kind, l.Compression)
	}
	return d
}

func layerType(kind string, c Compression) string {
	base, sep := ocispec.MediaTypeImageLayer, "+"
	if kind == "docker" {
		base, sep = "application/vnd.docker.image.rootfs.diff.tar", "."
	}
	if c == Plain {
		return base
	}
	return base + sep + string(c)
}

// PushIndex pushes an OCI index of manifests that are in the repository already.
func (r *Registry) PushIndex(name string, entries ...ocispec.Descriptor) ocispec.Descriptor {
	x := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: entries}
	return r.PushManifest(name, x.MediaType, r.encode(x))
}

// PushBlob stores a blob, for all repositories.
func (r *Registry) PushBlob(data []byte) ocispec.Descriptor {
	d := digest.FromBytes(data)
	r.blobs.put(d.String(), data)
	return ocispec.Descriptor{MediaType: "application/octet-stream", Digest: d, Size: int64(len(data))}
}

// PushManifest stores the bytes of a manifest as "repo:tag", or "repo".
func (r *Registry) PushManifest(name, mediaType string, raw []byte) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	repo, tag, ok := strings.Cut(name, ":")
	if !ok {
		tag = d.Digest.String()
	}
	req := httptest.NewRequest(http.MethodPut, "/v2/"+repo+"/manifests/"+tag, bytes.NewReader(raw))
	req.Header.Set("Content-Type", mediaType)
	w := httptest.NewRecorder()
	r.inner.ServeHTTP(w, req)
	if w.Code != http.StatusCreated {
		r.fail("push %s: status %d: %s", name, w.Code, w.Body)
	}
	return d
}

// PushLayout pushes every image of the OCI layout in dir that has a name, as
// "repo:NAME", and all its blobs and manifests.
func (r *Registry) PushLayout(repo, dir string) {
	var x ocispec.Index
	raw, err := os.ReadFile(filepath.Join(dir, ocispec.ImageIndexFile))
	if err == nil {
		err = json.Unmarshal(raw, &x)
	}
	if err != nil {
		r.fail("push layout: %v", err)
		return
	}
	l := &layoutPush{r: r, repo: repo, dir: dir}
	l.blobs()
	for _, d := range x.Manifests {
		l.manifest(d, d.Annotations[ocispec.AnnotationRefName])
	}
}

type layoutPush struct {
	r         *Registry
	repo, dir string
}

func (l *layoutPush) blobs() {
	files, _ := filepath.Glob(filepath.Join(l.dir, "blobs/*/*"))
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			l.r.fail("push layout: %v", err)
			return
		}
		l.r.blobs.put(filepath.Base(filepath.Dir(f))+":"+filepath.Base(f), raw)
	}
}

// manifest pushes d, and what it lists before it.
func (l *layoutPush) manifest(d ocispec.Descriptor, tag string) {
	raw, ok := l.r.blobs.get(d.Digest.String())
	if !ok {
		return // a layout may leave blobs out
	}
	var x ocispec.Index
	if json.Unmarshal(raw, &x) == nil {
		for _, below := range x.Manifests {
			l.manifest(below, "")
		}
	}
	name := l.repo
	if tag != "" {
		name += ":" + tag
	}
	l.r.PushManifest(name, d.MediaType, raw)
}

func (r *Registry) encode(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		r.fail("encode: %v", err)
	}
	return raw
}
