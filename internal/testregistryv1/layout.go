package testregistryv1

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ulikunitz/xz"
)

// Packing is how the layers of an image made by FromLayout are stored.
type Packing string

// The packings; docker pushed plain tars since 0.6 and xz before that.
const (
	Plain Packing = "plain"
	Gzip  Packing = "gzip"
	XZ    Packing = "xz"
)

// FromLayout makes the images of the first generation that an image in an OCI
// layout (of gzipped layers) would have been: one for each entry of its history,
// with an empty tar where nothing was changed. Base first.
func FromLayout(dir, ref string, packing Packing) ([]Image, error) {
	l := layout{dir: dir, packing: packing}
	var index ocispec.Index
	if err := l.read(filepath.Join(dir, ocispec.ImageIndexFile), &index); err != nil {
		return nil, err
	}
	for _, d := range index.Manifests {
		if d.Annotations[ocispec.AnnotationRefName] == ref {
			return l.image(d)
		}
	}
	return nil, fmt.Errorf("no image %s in %s", ref, dir)
}

type layout struct {
	dir     string
	packing Packing
}

func (l layout) read(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

func (l layout) blob(d ocispec.Descriptor) string {
	return filepath.Join(l.dir, ocispec.ImageBlobsDir, d.Digest.Algorithm().String(), d.Digest.Encoded())
}

func (l layout) image(d ocispec.Descriptor) ([]Image, error) {
	var m ocispec.Manifest
	var c ocispec.Image
	if err := l.read(l.blob(d), &m); err != nil {
		return nil, err
	}
	if err := l.read(l.blob(m.Config), &c); err != nil {
		return nil, err
	}
	var out []Image
	next := 0
	for i, h := range c.History {
		var packed []byte
		var err error
		if h.EmptyLayer {
			packed, err = l.packing.pack(make([]byte, 1024)) // a tar without members
		} else {
			packed, err = l.layer(m.Layers[next])
			next++
		}
		if err != nil {
			return nil, err
		}
		parent := ""
		if i > 0 {
			parent = out[i-1].ID
		}
		out = append(out, describe(parent, h, c, i == len(c.History)-1, packed))
	}
	return out, nil
}

func (l layout) layer(d ocispec.Descriptor) ([]byte, error) {
	blob, err := os.ReadFile(l.blob(d))
	if err != nil || l.packing == Gzip {
		return blob, err
	}
	zr, err := gzip.NewReader(bytes.NewReader(blob))
	if err != nil {
		return nil, err
	}
	tar, err := io.ReadAll(zr)
	if err != nil {
		return nil, err
	}
	return l.packing.pack(tar)
}

func (p Packing) pack(data []byte) ([]byte, error) {
	var buf bytes.Buffer
	var w io.WriteCloser
	switch p {
	case Gzip:
		w = gzip.NewWriter(&buf)
	case XZ:
		var err error
		if w, err = xz.NewWriter(&buf); err != nil {
			return nil, err
		}
	default:
		return data, nil
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// describe writes the JSON of one image; the configuration is the top's.
func describe(parent string, h ocispec.History, c ocispec.Image, top bool, layer []byte) Image {
	doc := map[string]any{"created": h.Created, "architecture": c.Architecture, "os": c.OS, "docker_version": "1.2.0",
		"container_config": map[string]any{"Cmd": []string{h.CreatedBy}}, "Size": len(layer)}
	if parent != "" {
		doc["parent"] = parent
	}
	if top {
		doc["config"] = c.Config
	}
	seed := fmt.Sprint(parent, h.CreatedBy, sha256.Sum256(layer))
	sum := sha256.Sum256([]byte(seed))
	doc["id"] = hex.EncodeToString(sum[:])
	raw, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	return Image{ID: hex.EncodeToString(sum[:]), JSON: raw, Layer: layer, Checksums: []string{PayloadChecksum(raw, layer)}}
}

// Save writes images as "docker save" of docker 1.9 did. repositories is the file
// of that name, left out if nil. prefix is put before all names ("./").
func Save(w io.Writer, prefix string, repositories map[string]map[string]string, images ...Image) error {
	tw := tar.NewWriter(w)
	put := func(name string, content []byte) error {
		h := &tar.Header{Name: prefix + name, Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg}
		if strings.HasSuffix(name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		_, err := tw.Write(content)
		return err
	}
	for _, img := range images {
		for _, f := range []struct {
			name    string
			content []byte
		}{{"/", nil}, {"/VERSION", []byte("1.0")}, {"/json", img.JSON}, {"/layer.tar", img.Layer}} {
			if err := put(img.ID+f.name, f.content); err != nil {
				return err
			}
		}
	}
	if repositories != nil {
		b, err := json.Marshal(repositories)
		if err != nil {
			return err
		}
		if err := put("repositories", b); err != nil {
			return err
		}
	}
	return tw.Close()
}
