package archive

import (
	"bytes"
	"strings"
	"testing"

	"github.com/peelfs/peelfs/fetch/tarfile"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/testregistryv1"
)

// oldTar is an archive of a chain with the given identifiers' letters, base first.
func oldTar(f testing.TB, repositories map[string]map[string]string, letters ...string) []byte {
	f.Helper()
	var images []testregistryv1.Image
	parent := ""
	for _, c := range letters {
		id := strings.Repeat(c, 64)
		images = append(images, testregistryv1.Image{ID: id, JSON: []byte(`{"id":"` + id + `"` + parent + `}`), Layer: make([]byte, 1024)})
		parent = `,"parent":"` + id + `"`
	}
	var buf bytes.Buffer
	if err := testregistryv1.Save(&buf, "", repositories, images...); err != nil {
		f.Fatal(err)
	}
	return buf.Bytes()
}

func openOld(t testing.TB, data []byte) (*Old, error) {
	t.Helper()
	f, err := tarfile.Spool(t.Context(), bytes.NewReader(data), "test", t.TempDir())
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { f.Close() })
	return OpenOld(f, "test")
}

func TestOldNames(t *testing.T) {
	id := strings.Repeat("b", 64)
	o, err := openOld(t, oldTar(t, map[string]map[string]string{"x": {"1": id, "2": id}, "reg:5000/y": {"1": strings.Repeat("a", 64)}}, "a", "b"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(o.Names(), " "); got != "reg:5000/y:1 x:1 x:2" {
		t.Errorf("names %s", got)
	}
	for name, layers := range map[string]int{"x:1": 2, "2": 2, "reg:5000/y:1": 1, "bbbb": 2, "docker.io/library/x:2": 2} {
		img, err := o.Image(t.Context(), name, "")
		if err != nil || len(img.Layers) != layers {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, ambiguous := range []string{"", "1"} {
		if _, err := o.Image(t.Context(), ambiguous, ""); !errkind.Is(err, errkind.Invalid) {
			t.Errorf("%q: %v", ambiguous, err)
		}
	}
	if _, err := o.Image(t.Context(), "bbb", ""); !errkind.Is(err, errkind.NotFound) {
		t.Errorf("a prefix of three digits: %v", err)
	}
}

// Every name that an archive offers is an image or an error, and an image has a
// layer for each entry of its history.
func FuzzOld(f *testing.F) {
	f.Add(oldTar(f, nil, "a", "b"))
	f.Add(oldTar(f, map[string]map[string]string{"x": {"1": strings.Repeat("a", 64)}}, "a"))
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := openOld(t, data)
		if err != nil {
			return
		}
		for _, name := range o.Names() {
			img, err := o.Image(t.Context(), name, "")
			if err == nil && (len(img.Layers) == 0 || len(img.History) != len(img.Layers)) {
				t.Fatalf("%s: %d layers, %d history entries", name, len(img.Layers), len(img.History))
			}
		}
	})
}
