package view

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/peelfs/peelfs/layers/index"
)

const fixture = "../../testdata/fixture"

// The fixture image shows the tree that was unpacked from it by others.
func TestFixture(t *testing.T) {
	v := viewOf(fixtureLayers(t, "gzip"), Options{Symlinks: Raw})
	want := strings.Split(strings.TrimSpace(string(readFile(t, "tree.jsonl"))), "\n")
	i := 0
	err := walk(t.Context(), v, "/", func(path string, a Attr) error {
		if i >= len(want) {
			t.Errorf("%s is not in tree.jsonl", path)
			return nil
		}
		var line map[string]any
		if err := json.Unmarshal([]byte(want[i]), &line); err != nil {
			t.Fatal(err)
		}
		if got := dumped(t, v, path, a); !reflect.DeepEqual(got, line) {
			t.Errorf("line %d:\n got %v\nwant %v", i+1, got, line)
		}
		i++
		return nil
	})
	if err != nil || i < len(want) {
		t.Errorf("%d of %d lines, %v", i, len(want), err)
	}
	checkView(t, v)
}

// dumped is one line of a tree dump as encoding/json reads it.
func dumped(t *testing.T, v *View, path string, a Attr) map[string]any {
	rel := strings.TrimPrefix(path, "/")
	if rel == "" {
		rel = "."
	}
	line := map[string]any{
		"path": asJSON(rel), "type": a.Kind.String(), "mode": fmt.Sprintf("%04o", a.Mode),
		"uid": float64(a.UID), "gid": float64(a.GID), "mtime": float64(a.Sec),
	}
	switch a.Kind {
	case index.File:
		sum := sha256.Sum256([]byte(content(t, v, a)))
		line["size"], line["nlink"], line["sha256"] = float64(a.Size), float64(a.Nlink), hex.EncodeToString(sum[:])
	case index.Symlink:
		text, err := v.Readlink(t.Context(), a.Ino)
		if err != nil {
			t.Fatal(err)
		}
		line["size"], line["target"] = float64(a.Size), asJSON(string(text))
	case index.Char, index.Block:
		line["rdev"] = fmt.Sprintf("%d:%d", a.Major, a.Minor)
	}
	names, err := v.XattrNames(t.Context(), a.Ino)
	if err != nil {
		t.Fatal(err)
	}
	xattrs := map[string]any{}
	for _, name := range names {
		value, ok, err := v.Xattr(t.Context(), a.Ino, name)
		if !ok || err != nil {
			t.Errorf("%s: xattr %s is listed, but %v, %v", path, name, ok, err)
		}
		xattrs[name] = hex.EncodeToString(value)
	}
	if len(xattrs) > 0 {
		line["xattrs"] = xattrs
	}
	return line
}

// asJSON is s as it comes out of JSON that has a lone surrogate for each byte
// that is not UTF-8.
func asJSON(s string) string { return string([]rune(s)) }

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(fixture, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

type descriptor struct {
	Digest      string
	Annotations map[string]string
}

func readBlob(t testing.TB, d descriptor) []byte {
	t.Helper()
	return readFile(t, filepath.Join("images/blobs", strings.Replace(d.Digest, ":", "/", 1)))
}

// fixtureLayers are the layers of a gzip image of the fixture layout.
func fixtureLayers(t testing.TB, ref string) []*memLayer {
	t.Helper()
	var layout struct{ Manifests []descriptor }
	if err := json.Unmarshal(readFile(t, "images/index.json"), &layout); err != nil {
		t.Fatal(err)
	}
	for _, m := range layout.Manifests {
		if m.Annotations["org.opencontainers.image.ref.name"] != ref {
			continue
		}
		var manifest struct{ Layers []descriptor }
		if err := json.Unmarshal(readBlob(t, m), &manifest); err != nil {
			t.Fatal(err)
		}
		var layers []*memLayer
		for _, l := range manifest.Layers {
			layers = append(layers, tarLayer(gunzip(t, readBlob(t, l))))
		}
		return layers
	}
	t.Fatalf("no image %s in the fixture", ref)
	return nil
}

func gunzip(t testing.TB, data []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
