//go:build interop

package interop

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// imageFacts is what the layers of an image say about its directories, read
// with the standard library: the ground on which deviations are granted.
type imageFacts struct {
	explicit map[string]int // directory -> topmost layer with an entry for it
	implied  map[string]int // directory -> topmost layer with only entries below it
	linked   map[string]bool
	started  int64 // seconds: nothing that a peer made is older
}

// readFacts reads the layers of an image that skopeo has copied to a "dir:".
func readFacts(t *testing.T, source string, started int64) *imageFacts {
	t.Helper()
	dir := t.TempDir()
	must(t, "skopeo", "copy", "-q", "--src-tls-verify=false", source, "dir:"+dir)
	var manifest struct {
		Layers []struct{ Digest string }
	}
	raw, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &manifest); err != nil {
		t.Fatal(err)
	}
	facts := &imageFacts{explicit: map[string]int{}, implied: map[string]int{}, linked: map[string]bool{}, started: started}
	for i, l := range manifest.Layers {
		_, hex, _ := strings.Cut(l.Digest, ":")
		facts.readLayer(t, i+1, filepath.Join(dir, hex))
	}
	return facts
}

func (f *imageFacts) readLayer(t *testing.T, layer int, file string) {
	t.Helper()
	blob, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	gz, err := gzip.NewReader(blob)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(gz); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		name := clean(h.Name)
		if h.Typeflag == tar.TypeDir {
			f.explicit[name] = layer
		}
		if h.Typeflag == tar.TypeLink {
			f.linked[name], f.linked[clean(h.Linkname)] = true, true
		}
		for name != "." {
			name = path.Dir(name)
			f.implied[name] = max(f.implied[name], layer)
		}
	}
}

func clean(name string) string {
	if name = strings.TrimPrefix(path.Clean("/"+name), "/"); name == "" {
		return "."
	}
	return name
}

// onlyImplied: no layer has an entry for the directory itself.
func (f *imageFacts) onlyImplied(path string) bool { return f.explicit[path] == 0 }

// impliedAbove: a layer above the topmost entry for it has something below it.
func (f *imageFacts) impliedAbove(path string) bool { return f.implied[path] > f.explicit[path] }

// impliedChild: a directory directly below it has no entry of its own.
func (f *imageFacts) impliedChild(dir string) bool {
	for child := range f.implied {
		if path.Dir(child) == dir && child != "." && f.onlyImplied(child) {
			return true
		}
	}
	return false
}

// now: a time at which the peer was at work.
func (f *imageFacts) now(mtime string) bool {
	n, err := strconv.ParseInt(mtime, 10, 64)
	return err == nil && n >= f.started
}

// umociDeviations are those of umoci 0.4.7.
func umociDeviations(f *imageFacts) []deviation {
	return []deviation{
		{
			reason: "a directory without an entry of its own gets the time of unpacking",
			holds: func(path, field, _, theirs string) bool {
				return field == "mtime" && f.onlyImplied(path) && f.now(theirs)
			},
		}, {
			reason: "making such a directory changes the time of the one that holds it",
			holds: func(path, field, _, theirs string) bool {
				return field == "mtime" && (path == "." || f.impliedChild(path)) && f.now(theirs)
			},
		},
	}
}

// overlayDeviations are those of containers/storage under podman 4.3 with the
// kernel's overlayfs.
func overlayDeviations(f *imageFacts, ours tree) []deviation {
	return []deviation{
		{
			reason: "the root is 0555 and new, whatever the image says",
			holds: func(path, field, _, theirs string) bool {
				return path == "." && (field == "mode" && theirs == `"0555"` || field == "mtime" && f.now(theirs))
			},
		}, {
			reason: "a directory that an upper layer only implies takes the attributes of the implied one",
			holds: func(path, field, _, theirs string) bool {
				if !ours[path].isDir() || !f.impliedAbove(path) {
					return false
				}
				return field == "mode" && theirs == `"0755"` || field == "mtime" && f.now(theirs) ||
					(field == "uid" || field == "gid") && theirs == "0"
			},
		}, {
			reason: "nlink counts names that an upper layer hides",
			holds: func(path, field, ours, theirs string) bool {
				a, _ := strconv.Atoi(ours)
				b, _ := strconv.Atoi(theirs)
				return field == "nlink" && f.linked[path] && a < b
			},
		}, {
			reason: "times before 1970 become 1970",
			holds: func(_, field, ours, theirs string) bool {
				return field == "mtime" && strings.HasPrefix(ours, "-") && theirs == "0"
			},
		},
	}
}
