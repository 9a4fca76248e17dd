package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/klauspost/compress/gzip"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	digestpkg "github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
)

// layer is one layer of the demo's images, as a registry has it.
type layer struct {
	label  string
	diffID string
	gzip   []byte
	flat   int64
}

// imageSet is what the demo puts into its registry: two images that share all
// layers but the topmost.
type imageSet struct {
	layers []layer // of the first image, base first
	size   int64   // of the first image, compressed
	flat   int64   // of the first image, unpacked
}

// buildImages fills reg with demo/hello:1 and demo/hello:2. The base is the
// fixture's root file system with busybox; on it lie this machine's Go library
// sources, then the Go toolchain, then a program that fits on a page.
func buildImages(reg *registry, scratch string) (*imageSet, error) {
	base, err := fixtureLayers("testdata/fixture/images", "gzip")
	if err != nil {
		return nil, err
	}
	sources, err := goLayer("layer 5: Go's sources", "src")
	if err != nil {
		return nil, err
	}
	toolchain, err := goLayer("layer 6: the Go toolchain", "VERSION", "go.env", "bin/go", "bin/gofmt", "pkg/tool")
	if err != nil {
		return nil, err
	}
	stack := append(base, sources, toolchain)
	app, err := appLayers(scratch)
	if err != nil {
		return nil, err
	}
	set := &imageSet{layers: append(stack, app[0])}
	for _, l := range set.layers {
		set.size += int64(len(l.gzip))
		set.flat += l.flat
	}
	if err := publish(reg, "1", set.layers); err != nil {
		return nil, err
	}
	return set, publish(reg, "2", append(stack[:len(stack):len(stack)], app[1]))
}

// fixtureLayers reads the layers of one image of an OCI layout.
func fixtureLayers(layout, name string) ([]layer, error) {
	var index ocispec.Index
	if err := readJSON(filepath.Join(layout, "index.json"), &index); err != nil {
		return nil, err
	}
	for _, m := range index.Manifests {
		if m.Annotations[ocispec.AnnotationRefName] == name {
			return manifestLayers(layout, m)
		}
	}
	return nil, fmt.Errorf("no image %q in %s", name, layout)
}

func manifestLayers(layout string, desc ocispec.Descriptor) ([]layer, error) {
	var manifest ocispec.Manifest
	var config ocispec.Image
	blobPath := func(d digestpkg.Digest) string {
		return filepath.Join(layout, "blobs", d.Algorithm().String(), d.Encoded())
	}
	if err := readJSON(blobPath(desc.Digest), &manifest); err != nil {
		return nil, err
	}
	if err := readJSON(blobPath(manifest.Config.Digest), &config); err != nil {
		return nil, err
	}
	var layers []layer
	for i, d := range manifest.Layers {
		data, err := os.ReadFile(blobPath(d.Digest))
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer{
			label:  fmt.Sprintf("layer %d: base system", i+1),
			diffID: config.RootFS.DiffIDs[i].String(),
			gzip:   data,
		})
	}
	return layers, nil
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

// layerWriter packs a layer: tar, gzip and both digests.
type layerWriter struct {
	tar  *tar.Writer
	gz   *gzip.Writer
	out  bytes.Buffer
	flat bytes.Buffer
	dirs map[string]bool
}

func newLayerWriter() *layerWriter {
	w := &layerWriter{dirs: map[string]bool{".": true}}
	w.tar = tar.NewWriter(&w.flat)
	return w
}

func (w *layerWriter) dir(name string) error {
	if w.dirs[name] {
		return nil
	}
	w.dirs[name] = true
	if err := w.dir(filepath.Dir(name)); err != nil {
		return err
	}
	return w.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755})
}

func (w *layerWriter) file(name string, mode fs.FileMode, data []byte) error {
	if err := w.dir(filepath.Dir(name)); err != nil {
		return err
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(mode.Perm()), Size: int64(len(data))}
	if err := w.tar.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.tar.Write(data)
	return err
}

// finish compresses fast rather than well: a newcomer is waiting.
func (w *layerWriter) finish(label string) (layer, error) {
	if err := w.tar.Close(); err != nil {
		return layer{}, err
	}
	w.gz, _ = gzip.NewWriterLevel(&w.out, gzip.BestSpeed)
	if _, err := w.gz.Write(w.flat.Bytes()); err != nil {
		return layer{}, err
	}
	if err := w.gz.Close(); err != nil {
		return layer{}, err
	}
	sum := sha256.Sum256(w.flat.Bytes())
	return layer{label, "sha256:" + hex.EncodeToString(sum[:]), w.out.Bytes(), int64(w.flat.Len())}, nil
}

// goLayer packs parts of this machine's Go installation at usr/local/go.
func goLayer(label string, parts ...string) (layer, error) {
	goroot, err := output("go", "env", "GOROOT")
	if err != nil {
		return layer{}, err
	}
	w := newLayerWriter()
	for _, part := range parts {
		err := filepath.WalkDir(filepath.Join(goroot, part), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			rel, err := filepath.Rel(goroot, path)
			if err != nil {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			return w.file("usr/local/go/"+rel, info.Mode(), data)
		})
		if err != nil {
			return layer{}, err
		}
	}
	return w.finish(label)
}

//go:embed hello.go.txt
var helloSource []byte

// appLayers makes the topmost layers of the two images: a program for each
// version, built here and now, and a page about it.
func appLayers(scratch string) ([]layer, error) {
	program := filepath.Join(scratch, "hello")
	source := program + ".go"
	if err := os.WriteFile(source, helloSource, 0o644); err != nil {
		return nil, err
	}
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the demo's program: %w\n%s", err, out)
	}
	binary, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	var layers []layer
	for _, version := range []string{"1", "2"} {
		w := newLayerWriter()
		page := fmt.Sprintf("hello, version %s: this file is in the topmost layer.\n", version)
		if err := w.file("opt/hello/README", 0o644, []byte(page)); err != nil {
			return nil, err
		}
		if err := w.file("opt/hello/hello", 0o755, binary); err != nil {
			return nil, err
		}
		l, err := w.finish("layer 7: hello " + version)
		if err != nil {
			return nil, err
		}
		layers = append(layers, l)
	}
	return layers, nil
}

// publish writes config and manifest for the stack and points tag at it.
func publish(reg *registry, tag string, stack []layer) error {
	config := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}}
	config.RootFS.Type = "layers"
	config.Config.Env = []string{"PATH=/usr/local/go/bin:/bin:/usr/bin"}
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for _, l := range stack {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digestpkg.Digest(l.diffID))
		config.History = append(config.History, ocispec.History{CreatedBy: l.label})
		d := reg.add(l.label, ocispec.MediaTypeImageLayerGzip, l.gzip)
		manifest.Layers = append(manifest.Layers, describe(ocispec.MediaTypeImageLayerGzip, d, l.gzip))
	}
	rawConfig, err := json.Marshal(config)
	if err != nil {
		return err
	}
	d := reg.add("the config", ocispec.MediaTypeImageConfig, rawConfig)
	manifest.Config = describe(ocispec.MediaTypeImageConfig, d, rawConfig)
	rawManifest, err := json.Marshal(manifest)
	if err != nil {
		return err
	}
	reg.tags[tag] = reg.add("the manifest", ocispec.MediaTypeImageManifest, rawManifest)
	return nil
}

func describe(mediaType, digest string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digestpkg.Digest(digest), Size: int64(len(data))}
}

// output runs a command and returns its trimmed stdout.
func output(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return strings.TrimSpace(string(out)), nil
}
