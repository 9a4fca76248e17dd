package manifest

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/fetch/image"
	"github.com/peelfs/peelfs/internal/errkind"
)

func TestDetect(t *testing.T) {
	for _, c := range []struct{ raw, contentType, want string }{
		{`{"schemaVersion":2,"config":{},"layers":[]}`, "", ocispec.MediaTypeImageManifest},
		{`{"schemaVersion":2,"config":{},"layers":[]}`, DockerManifest + "; charset=utf-8", DockerManifest},
		{`{"schemaVersion":2,"config":{},"layers":[]}`, "application/json", ocispec.MediaTypeImageManifest},
		{`{"manifests":[]}`, "", ocispec.MediaTypeImageIndex},
		{`{"manifests":[],"mediaType":"` + DockerList + `"}`, "text/plain", DockerList},
		{`{"schemaVersion":1,"fsLayers":[],"signatures":[]}`, "", Schema1Signed},
		{`{"schemaVersion":1,"fsLayers":[]}`, "", Schema1},
		{`{"schemaVersion":2,"config":{},"manifests":null}`, "", ocispec.MediaTypeImageManifest},
	} {
		got, err := Detect([]byte(c.raw), c.contentType)
		if err != nil || got != c.want {
			t.Errorf("%s as %q = %q, %v", c.raw, c.contentType, got, err)
		}
	}
	for _, c := range []struct {
		raw, contentType string
		kind             errkind.Kind
	}{
		{`{}`, "", errkind.Unsupported},
		{`{"config":{}}`, "application/vnd.example+json", errkind.Unsupported},
		{`{"config":{},"manifests":[]}`, "", errkind.Corrupt},
		{`{"config":{}}`, DockerList, errkind.Corrupt},
		{`[]`, "", errkind.Corrupt},
	} {
		if got, err := Detect([]byte(c.raw), c.contentType); !errkind.Is(err, c.kind) {
			t.Errorf("%s as %q = %q, %v", c.raw, c.contentType, got, err)
		}
	}
}

func TestLayerTypes(t *testing.T) {
	good := []string{ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerZstd,
		"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "application/vnd.docker.image.rootfs.diff.tar.gzip",
		"application/vnd.docker.image.rootfs.diff.tar", "application/vnd.docker.image.rootfs.diff.tar.zstd",
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}
	d := ocispec.Descriptor{Digest: digest.FromString("x"), Size: 1}
	for _, d.MediaType = range good {
		if err := CheckLayer(d); err != nil {
			t.Errorf("%s: %v", d.MediaType, err)
		}
	}
	for _, d.MediaType = range []string{"", "application/octet-stream", ocispec.MediaTypeImageLayerGzip + "+encrypted",
		ocispec.MediaTypeImageLayer + "+lz4", ocispec.MediaTypeEmptyJSON} {
		if err := CheckLayer(d); !errkind.Is(err, errkind.Unsupported) {
			t.Errorf("%s: %v", d.MediaType, err)
		}
	}
}

func TestConfigForgivesWhatIsForShow(t *testing.T) {
	raw := `{"os":"linux","architecture":"arm64","config":{"Env":"no list"},"history":{},"created":7,"rootfs":{"type":"layers","diff_ids":[]}}`
	c, err := ParseConfig([]byte(raw), 0)
	if err != nil || c.Architecture != "arm64" {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := ParseConfig([]byte(strings.Replace(raw, `"diff_ids":[]`, `"diff_ids":7`, 1)), 0); !errkind.Is(err, errkind.Corrupt) {
		t.Errorf("diff_ids of a wrong type: %v", err)
	}
}

func TestCandidates(t *testing.T) {
	entry := func(platform string) ocispec.Descriptor {
		d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(platform), Size: 1}
		if platform != "" {
			p, err := image.ParsePlatform(platform)
			if err != nil {
				t.Fatal(err)
			}
			d.Platform = &p
		}
		return d
	}
	for _, c := range []struct{ want, have, order string }{
		{"linux/amd64", "linux/386 linux/amd64", "linux/amd64 linux/386"},
		{"linux/amd64/v3", "linux/amd64 linux/amd64/v2 linux/amd64/v4", "linux/amd64/v2 linux/amd64"},
		{"linux/amd64", "linux/amd64/v2", ""},
		{"linux/arm64", "linux/arm/v7 linux/arm64", "linux/arm64 linux/arm/v7"},
		{"linux/arm64/v8.2", "linux/arm64 linux/arm64/v8.1", "linux/arm64/v8.1 linux/arm64"},
		{"linux/arm/v6", "linux/arm/v7 linux/arm/v5", "linux/arm/v5"},
		{"linux/ppc64le", "linux/ppc64 linux/ppc64le", "linux/ppc64le"},
		{"windows/amd64:10.1", "windows/amd64:10.0 windows/amd64:10.1", "windows/amd64:10.1"},
	} {
		var x Index
		for _, p := range strings.Fields(c.have) {
			x.Manifests = append(x.Manifests, entry(p))
		}
		want, err := image.ParsePlatform(c.want)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range x.Candidates(want) {
			got = append(got, image.FormatPlatform(*d.Platform))
		}
		if strings.Join(got, " ") != c.order {
			t.Errorf("%s of %s = %v, want %s", c.want, c.have, got, c.order)
		}
	}
	x := Index{Manifests: []ocispec.Descriptor{entry(""), entry("linux/amd64")}}
	if got := x.Candidates(image.Platform{OS: "linux", Architecture: "amd64"}); len(got) != 2 || got[0].Platform == nil {
		t.Errorf("an entry without a platform comes before one that fits: %v", got)
	}
}

// Whatever the bytes are, nothing panics, and what is accepted keeps the promises
// that others rely on.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"sha256:00","size":3},"layers":[{}]}`), "")
	f.Add([]byte(`{"manifests":[{"platform":{"os":"linux"}}]}`), ocispec.MediaTypeImageIndex)
	f.Add([]byte(`{"os":"linux","rootfs":{"type":"layers","diff_ids":["x"]},"history":[{}]}`), "application/json")
	f.Add([]byte(`{"schemaVersion":1,"fsLayers":[]}`), Schema1)
	f.Fuzz(func(t *testing.T, raw []byte, contentType string) {
		mediaType, err := Detect(raw, contentType)
		if err == nil && !IsIndex(mediaType) && !IsImage(mediaType) && !IsSchema1(mediaType) {
			t.Errorf("detected %q", mediaType)
		}
		if x, err := ParseIndex(raw); err == nil {
			for _, d := range x.Candidates(image.DefaultPlatform()) {
				if !IsIndex(d.MediaType) && !IsImage(d.MediaType) && !IsSchema1(d.MediaType) {
					t.Errorf("candidate of type %q", d.MediaType)
				}
			}
			x.Platforms()
		}
		if m, err := ParseImage(raw); err == nil {
			for _, d := range m.Layers {
				if d.Size < 0 || d.Digest.Validate() != nil {
					t.Errorf("accepted layer %+v", d)
				}
			}
		}
		var n struct {
			RootFS struct {
				DiffIDs []json.RawMessage `json:"diff_ids"`
			} `json:"rootfs"`
		}
		_ = json.Unmarshal(raw, &n)
		if c, err := ParseConfig(raw, len(n.RootFS.DiffIDs)); err == nil {
			for _, d := range c.RootFS.DiffIDs {
				if d.Validate() != nil {
					t.Errorf("accepted diffID %q", d)
				}
			}
		}
	})
}
