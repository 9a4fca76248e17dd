package schema1

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/internal/errkind"
)

const fixture = "../../testdata/fixture/schema1-manifest.json"

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestConvertedByARegistry(t *testing.T) {
	m, err := Parse(read(t, "testdata/converted-signed.json"))
	if err != nil {
		t.Fatal(err)
	}
	// The digest is the one that the registry sent along.
	if want := "sha256:1367275aed3180cd7a9bed5a3d923519e8e71423b16cc04270f3af196753a036"; m.Digest.String() != want {
		t.Errorf("digest %s, want %s", m.Digest, want)
	}
	if m.Name != "foo/bar" || m.Tag != "s2" || m.Architecture != "amd64" {
		t.Errorf("%s:%s on %s", m.Name, m.Tag, m.Architecture)
	}
	s := m.Signatures
	if len(s) != 1 || s[0].Algorithm != "ES256" || s[0].Time.Year() != 2026 {
		t.Fatalf("signatures %+v", s)
	}
	// The name computed from the key is the one that libtrust gave it.
	if got, want := m.KeyIDs()[0], "WLWJ:Z3AR:RK3I:TMVB:WVB3:JVWH:I2IQ:K7ZC:T7VO:AE2G:UKUB:DPK3"; got != want {
		t.Errorf("key %s, want %s", got, want)
	}
	wantLayers(t, m, "76f1b3c0", "72f1a5f4", "f4053ef2")
	if len(m.History) != 4 || !m.History[2].EmptyLayer || m.History[0].CreatedBy != "umoci insert" {
		t.Errorf("history %+v", m.History)
	}
	if m.Layers[2].History != 3 {
		t.Errorf("the top layer belongs to entry %d", m.Layers[2].History)
	}
}

func wantLayers(t *testing.T, m *Manifest, prefixes ...string) {
	t.Helper()
	if len(m.Layers) != len(prefixes) {
		t.Fatalf("%d layers, want %d: %v", len(m.Layers), len(prefixes), m.Layers)
	}
	for i, p := range prefixes {
		if got := m.Layers[i].BlobSum.Encoded(); !strings.HasPrefix(got, p) {
			t.Errorf("layer %d is %s, want %s…", i, got, p)
		}
	}
}

// The fixture as schema 1 has the layers of the fixture as schema 2.
func TestFixture(t *testing.T) {
	m, err := Parse(read(t, fixture))
	if err != nil {
		t.Fatal(err)
	}
	if !m.Signed() {
		t.Error("not signed")
	}
	var want struct{ Layers []ocispec.Descriptor }
	if err := json.Unmarshal(read(t, "../../testdata/fixture/schema2-manifest.json"), &want); err != nil {
		t.Fatal(err)
	}
	if len(m.Layers) != len(want.Layers) {
		t.Fatalf("%d layers, want %d", len(m.Layers), len(want.Layers))
	}
	for i := range want.Layers {
		if m.Layers[i].BlobSum != want.Layers[i].Digest {
			t.Errorf("layer %d: %s, want %s", i, m.Layers[i].BlobSum, want.Layers[i].Digest)
		}
	}
	var img ocispec.Image
	if err := json.Unmarshal(m.Config, &img); err != nil {
		t.Fatal(err)
	}
	if img.Config.WorkingDir != "/app" || img.OS != "linux" || img.Architecture != "amd64" || len(img.History) != 5 {
		t.Errorf("config %+v", img)
	}
}

func TestUnsignedIsItsOwnPayload(t *testing.T) {
	signed, err := Parse(read(t, fixture))
	if err != nil {
		t.Fatal(err)
	}
	m, err := Parse(signed.Payload)
	if err != nil {
		t.Fatal(err)
	}
	if m.Signed() || m.Digest != signed.Digest || m.Digest != digest.FromBytes(signed.Payload) {
		t.Errorf("signed %v, digests %s and %s", m.Signed(), m.Digest, signed.Digest)
	}
}

func id(c string) string { return strings.Repeat(c, 64) }

func sum(c string) string { return "sha256:" + id(c) }

// part is one entry in prose: a blob and the JSON of its image.
type part struct{ blob, json string }

func img(c, parent, more string) string {
	s := `{"id":"` + id(c) + `"`
	if parent != "" {
		s += `,"parent":"` + id(parent) + `"`
	}
	return s + more + `}`
}

// manifest writes parts, top first.
func manifest(parts ...part) []byte {
	doc := document{SchemaVersion: 1, Name: "n", Tag: "t", Architecture: "amd64"}
	for _, p := range parts {
		doc.FSLayers = append(doc.FSLayers, struct {
			BlobSum string `json:"blobSum"`
		}{p.blob})
		doc.History = append(doc.History, struct {
			V1Compatibility string `json:"v1Compatibility"`
		}{p.json})
	}
	b, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	return b
}

func TestLayers(t *testing.T) {
	for name, c := range map[string]struct {
		body []byte
		want []string
	}{
		"one":        {manifest(part{sum("1"), img("a", "", "")}), []string{"1"}},
		"base first": {manifest(part{sum("2"), img("b", "a", "")}, part{sum("1"), img("a", "", "")}), []string{"1", "2"}},
		"the same twice in a row": {manifest(part{sum("2"), img("b", "a", "")}, part{sum("2"), img("b", "a", "")},
			part{sum("1"), img("a", "", "")}), []string{"1", "2"}},
		"the base twice": {manifest(part{sum("1"), img("a", "", "")}, part{sum("1"), img("a", "", "")}), []string{"1"}},
		"thrown away": {manifest(part{sum("2"), img("b", "a", `,"throwaway":true`)},
			part{sum("1"), img("a", "", "")}), []string{"1"}},
		"the empty blob, not marked": {manifest(part{EmptyLayer.String(), img("b", "a", "")},
			part{sum("1"), img("a", "", "")}), []string{"1"}},
		"nothing but empty": {manifest(part{EmptyLayer.String(), img("a", "", "")}), nil},
	} {
		m, err := Parse(c.body)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for _, l := range m.Layers {
			got = append(got, l.BlobSum.Encoded()[:1])
		}
		if strings.Join(got, " ") != strings.Join(c.want, " ") {
			t.Errorf("%s: layers %v, want %v", name, got, c.want)
		}
	}
}

func TestRefused(t *testing.T) {
	base := part{sum("1"), img("a", "", "")}
	short := manifest(base)
	for name, c := range map[string]struct {
		body []byte
		kind errkind.Kind
		text string
	}{
		"not JSON":          {[]byte("<html>"), errkind.Corrupt, "JSON"},
		"schema 2":          {read(t, "../../testdata/fixture/schema2-manifest.json"), errkind.Corrupt, "schemaVersion is 2"},
		"no layers":         {manifest(), errkind.Corrupt, "no layers"},
		"more history":      {[]byte(strings.Replace(string(short), `"history":[`, `"history":[{},`, 1)), errkind.Corrupt, "1 layers but 2"},
		"base has a parent": {manifest(part{sum("1"), img("a", "b", "")}), errkind.Corrupt, "has a parent"},
		"wrong parent":      {manifest(part{sum("2"), img("b", "c", "")}, base), errkind.Corrupt, "lies on " + id("a")},
		"no parent":         {manifest(part{sum("2"), img("b", "", "")}, base), errkind.Corrupt, `names the parent ""`},
		"comes back": {manifest(part{sum("1"), img("a", "b", "")}, part{sum("2"), img("b", "a", "")}, base),
			errkind.Corrupt, "appears twice"},
		"path as id":  {manifest(part{sum("1"), `{"id":"../../etc"}`}), errkind.Corrupt, "hexadecimal"},
		"odd blobSum": {manifest(part{"md5:1234", base.json}), errkind.Corrupt, "blobSum"},
		"tarsum":      {manifest(part{"tarsum.v1+sha256:" + id("1"), base.json}), errkind.Unsupported, "tarsum"},
		"too large":   {make([]byte, MaxSize+1), errkind.Unsupported, "larger"},
	} {
		m, err := Parse(c.body)
		if !errkind.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, %v; want kind %v and %q", name, m, err, c.kind, c.text)
		}
	}
}

func TestLooks(t *testing.T) {
	if !Looks(read(t, fixture)) {
		t.Error("the fixture does not look like schema 1")
	}
	for _, path := range []string{"schema2-manifest.json", "images/index.json"} {
		if Looks(read(t, "../../testdata/fixture/"+path)) {
			t.Errorf("%s looks like schema 1", path)
		}
	}
	if !IsMediaType(MediaTypeSigned) || IsMediaType("application/json") {
		t.Error("media types")
	}
}
