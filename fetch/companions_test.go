package fetch

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/testregistry"
)

const fixtureLayout = "../testdata/fixture/images"

// ztocDigests are the digests of what the ways of img lead to, "" for nothing.
func ztocDigests(t *testing.T, img *Image) []digest.Digest {
	t.Helper()
	var all []digest.Digest
	for i, l := range img.Layers {
		if l.Ztoc == nil {
			all = append(all, "")
			continue
		}
		raw, err := l.Ztoc(t.Context())
		if err != nil {
			t.Fatalf("layer %d: %v", i, err)
		}
		d := digest.Digest("")
		if raw != nil {
			d = digest.FromBytes(raw)
		}
		all = append(all, d)
	}
	return all
}

var fixtureZtocs = []digest.Digest{
	"sha256:dae2c1e55c2fd7d5b5057d1d23e851cb9b99b64fbe8ef7c61d207918b82a093c",
	"sha256:d9dda7c8c0277039508fcb5cc999514e304bac48e4b76c3788c333042136ab3d",
	"sha256:46a2ed36215501beba6d8b177b25b6b213bdbc6165cc100fda377a40aeebc6bb",
	"sha256:d60321fc2785f6637ea0caa189a4c3eabbcdbf46297b5bbd980a5098cce28ebc",
}

func sameDigests(t *testing.T, what string, got, want []digest.Digest) {
	t.Helper()
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%s: layer %d has %q, want %q", what, i, got[i], want[i])
		}
	}
}

func TestZtocsAreFound(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	r.PushLayout("app", fixtureLayout)
	none := make([]digest.Digest, 4)
	digestOf := func(tag string) string { // pinned, as a user does it
		img := resolve(t, newClient(t, Config{CacheDir: t.TempDir()}), r.Ref("app:"+tag))
		return r.Ref("app:" + tag + "@" + string(img.Digest))
	}
	for _, c := range []struct {
		ref, soci string
		want      []digest.Digest
		requests  int // to find the index; each ztoc is one more
	}{
		{r.Ref("app:gzip"), "auto", fixtureZtocs, 2},
		{r.Ref("app:gzip"), "on", fixtureZtocs, 2},
		{r.Ref("app:gzip"), "v2", none, 0},
		{digestOf("gzip"), "auto", none, 0},
		{digestOf("gzip"), "on", fixtureZtocs, 2},
		{digestOf("soci-v2"), "auto", fixtureZtocs, 1},
		{r.Ref("app:gzip"), "off", none, 0},
		{r.Ref("app:soci-v2"), "auto", fixtureZtocs, 1},
		{r.Ref("app:soci-v2"), "v2", fixtureZtocs, 1},
		{r.Ref("app:soci-v2"), "off", none, 0},
		{r.Ref("app:zstd"), "auto", none, 1},
		{"oci:" + fixtureLayout + ":gzip", "auto", fixtureZtocs, 0},
		{"oci:" + fixtureLayout + ":gzip", "v2", none, 0},
		{"oci:" + fixtureLayout + ":soci-v2", "v2", fixtureZtocs, 0},
		{"oci:" + fixtureLayout + ":zstd", "auto", none, 0},
	} {
		client := newClient(t, Config{CacheDir: t.TempDir(), SOCI: c.soci})
		img := resolve(t, client, c.ref)
		before := r.Count("", "")
		sameDigests(t, c.ref+" "+c.soci, ztocDigests(t, img), c.want)
		want := c.requests
		if c.want[0] != "" && strings.HasPrefix(c.ref, r.Host) {
			want += len(c.want)
		}
		if got := r.Count("", "") - before; got != want {
			t.Errorf("%s %s: %d requests, want %d", c.ref, c.soci, got, want)
		}
	}
}

func TestResolvingAsksNothingAboutIndexes(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	r.PushLayout("app", fixtureLayout)
	r.Forget()
	resolve(t, newClient(t, Config{CacheDir: t.TempDir()}), r.Ref("app:gzip"))
	if n := len(r.Requests()); n != 3 {
		t.Errorf("%d requests: %v", n, r.Requests())
	}
}

func TestFallBackTagWithoutAReferrersAPI(t *testing.T) {
	for _, status := range []int{404, 405, 403} {
		r := testregistry.New(t, testregistry.Options{})
		r.PushLayout("app", fixtureLayout)
		r.Fail(testregistry.Fault{Path: "/referrers/", Status: status})
		img := resolve(t, newClient(t, Config{CacheDir: t.TempDir()}), r.Ref("app:gzip"))
		sameDigests(t, "gzip", ztocDigests(t, img), fixtureZtocs)
	}
}

// A registry need not filter, and may answer in pages.
func TestReferrersAreFilteredAndPaged(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	r.PushLayout("app", fixtureLayout)
	soci := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: sociV1, Size: 2035,
		Digest: "sha256:21678be9d43967366a9a0a35540acafebb67107c0b65d54b20d1a4fc2690b245"}
	other := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: "application/spdx+json", Size: 2, Digest: digest.FromString("{}")}
	page := func(d ...ocispec.Descriptor) string {
		raw, _ := json.Marshal(ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: d})
		return string(raw)
	}
	r.Fail(testregistry.Fault{Path: "/referrers/", Times: 1, Status: 200, Body: page(other), Header: `Link: </v2/app/referrers/next>; rel="next"`})
	r.Fail(testregistry.Fault{Path: "/referrers/next", Times: 1, Status: 200, Body: page(other, soci)})
	img := resolve(t, newClient(t, Config{CacheDir: t.TempDir()}), r.Ref("app:gzip"))
	sameDigests(t, "gzip", ztocDigests(t, img), fixtureZtocs)
}

func TestOneSearchForAllLayers(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	r.PushLayout("app", fixtureLayout)
	img := resolve(t, newClient(t, Config{CacheDir: t.TempDir()}), r.Ref("app:gzip"))
	var wg sync.WaitGroup
	for range 5 {
		for _, l := range img.Layers {
			wg.Go(func() {
				if raw, err := l.Ztoc(t.Context()); err != nil || raw == nil {
					t.Errorf("%d bytes, %v", len(raw), err)
				}
			})
		}
	}
	wg.Wait()
	if n := r.Count("GET", "/referrers/"); n != 1 {
		t.Errorf("%d searches", n)
	}
}

func TestASearchThatFailedIsNotRepeatedAtOnce(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	r.PushLayout("app", fixtureLayout)
	r.Fail(testregistry.Fault{Path: "/referrers/", Status: 503})
	img := resolve(t, newClient(t, Config{CacheDir: t.TempDir()}), r.Ref("app:gzip"))
	for range 2 {
		for i, l := range img.Layers {
			if _, err := l.Ztoc(t.Context()); !errkind.Is(err, errkind.Unavailable) {
				t.Errorf("layer %d: %v", i, err)
			}
		}
	}
	if got, most := r.Count("GET", "/referrers/"), 6; got > most {
		t.Errorf("%d requests", got)
	}
}

// Who gives up does not decide for the others.
func TestASearchOutlivesWhoGaveUp(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	r.PushLayout("app", fixtureLayout)
	img := resolve(t, newClient(t, Config{CacheDir: t.TempDir()}), r.Ref("app:gzip"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := img.Layers[0].Ztoc(ctx); err == nil {
		t.Error("found by somebody who is gone")
	}
	sameDigests(t, "gzip", ztocDigests(t, img), fixtureZtocs)
}

// A SOCI index is refused if it is about something else or of another kind, and
// so is a ztoc that is not what the index says.
func TestIndexesThatAreNotRight(t *testing.T) {
	manifestOf := func(change func(*ocispec.Manifest)) func(*testregistry.Registry, ocispec.Descriptor) {
		return func(r *testregistry.Registry, img ocispec.Descriptor) {
			ztoc := r.PushBlob([]byte("a ztoc, as far as anybody here knows"))
			layer := digest.FromBytes(testregistry.Compress([]byte{}, testregistry.Gzip))
			ztoc.Annotations = map[string]string{sociLayerDigest: layer.String()}
			config := r.PushBlob([]byte("{}"))
			config.MediaType = sociV1
			m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []ocispec.Descriptor{ztoc}, Subject: &img}
			m.SchemaVersion = 2
			change(&m)
			raw, _ := json.Marshal(m)
			d := r.PushManifest("app", m.MediaType, raw)
			d.ArtifactType = sociV1
			index, _ := json.Marshal(ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{d}})
			r.PushManifest("app:"+strings.ReplaceAll(img.Digest.String(), ":", "-"), ocispec.MediaTypeImageIndex, index)
			r.Fail(testregistry.Fault{Path: "/referrers/", Status: 404})
		}
	}
	for name, c := range map[string]struct {
		push func(*testregistry.Registry, ocispec.Descriptor)
		want bool
		kind errkind.Kind // of an error that a reader sees
	}{
		"good": {push: manifestOf(func(*ocispec.Manifest) {}), want: true},
		"another image": {push: manifestOf(func(m *ocispec.Manifest) {
			m.Subject = &ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromString("x"), Size: 1}
		})},
		"no image":     {push: manifestOf(func(m *ocispec.Manifest) { m.Subject = nil })},
		"another kind": {push: manifestOf(func(m *ocispec.Manifest) { m.Config.MediaType = "application/spdx+json" })},
		"wrong size":   {push: manifestOf(func(m *ocispec.Manifest) { m.Layers[0].Size++ }), kind: errkind.Corrupt},
		"too large":    {push: manifestOf(func(m *ocispec.Manifest) { m.Layers[0].Size = 1 << 40 }), kind: errkind.Unsupported},
		"no blob":      {push: manifestOf(func(m *ocispec.Manifest) { m.Layers[0].Digest = digest.FromString("x") }), kind: errkind.NotFound},
	} {
		t.Run(name, func(t *testing.T) {
			r := testregistry.New(t, testregistry.Options{})
			d := r.Push("app:1", testregistry.Image{Layers: testregistry.Layers(nil)})
			d.Platform = nil
			c.push(r, d)
			img := resolve(t, newClient(t, Config{CacheDir: t.TempDir()}), r.Ref("app:1"))
			raw, err := img.Layers[0].Ztoc(t.Context())
			if c.want != (raw != nil) || (err == nil) != (c.kind == 0) || err != nil && !errkind.Is(err, c.kind) {
				t.Errorf("%q, %v", raw, err)
			}
		})
	}
}

func TestTablesOfContentsInAnotherImage(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	r.PushLayout("app", fixtureLayout)
	client := newClient(t, Config{CacheDir: t.TempDir()})
	for _, name := range []string{r.Ref("app:estargz-ext"), "oci:" + fixtureLayout + ":estargz-ext"} {
		for i, l := range resolve(t, client, name).Layers {
			raw, err := l.Table(t.Context())
			if err != nil || !bytes.HasPrefix(raw, []byte("\x1f\x8b")) {
				t.Errorf("%s: layer %d: %d bytes, %v", name, i, len(raw), err)
			}
		}
	}
	raw, err := resolve(t, client, r.Ref("app:gzip")).Layers[0].Table(t.Context())
	if raw != nil || err != nil {
		t.Errorf("a table where there is none: %d bytes, %v", len(raw), err)
	}
	pinned := resolve(t, client, r.Ref("app:estargz-ext")).Digest
	if l := resolve(t, client, r.Ref("app@"+pinned.String())).Layers[0]; l.Table != nil {
		t.Error("a reference without a tag leads to a table")
	}
}

// What may be believed of layers that the cache has indexes of already.
func TestOnlyWhatTheDigestCovers(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	r.PushLayout("app", fixtureLayout)
	none := make([]digest.Digest, 4)
	for _, c := range []struct {
		tag, soci      string
		pinned, looked bool
		everything     bool
		want           []digest.Digest
	}{
		{tag: "gzip", soci: "auto", everything: true},
		{tag: "gzip", soci: "auto", looked: true, everything: true},
		{tag: "gzip", soci: "auto", pinned: true, want: none},
		{tag: "gzip", soci: "on", pinned: true, everything: true},
		{tag: "gzip", soci: "v2", want: none},
		{tag: "gzip", soci: "off", want: none},
		{tag: "soci-v2", soci: "auto", pinned: true, want: fixtureZtocs},
		{tag: "soci-v2", soci: "off", pinned: true, want: none},
	} {
		client := newClient(t, Config{CacheDir: t.TempDir(), SOCI: c.soci})
		named := ref(t, r.Ref("app:"+c.tag))
		img, err := client.Resolve(t.Context(), named, Platform{OS: "linux", Architecture: "amd64"})
		if err != nil {
			t.Fatal(err)
		}
		if c.pinned {
			named = named.WithDigest(img.Digest)
		} else if c.looked {
			named = named.Resolved(img.Digest)
		}
		if img, err = client.Resolve(t.Context(), named, Platform{OS: "linux", Architecture: "amd64"}); err != nil {
			t.Fatal(err)
		}
		for i, l := range img.Layers {
			if l.OnlyZtoc == nil || c.everything {
				if !c.everything || l.OnlyZtoc != nil {
					t.Errorf("%+v: layer %d is restricted: %v", c, i, l.OnlyZtoc != nil)
				}
				continue
			}
			if got, err := l.OnlyZtoc(t.Context()); got != c.want[i] || err != nil {
				t.Errorf("%+v: layer %d: %q, %v", c, i, got, err)
			}
		}
	}
}
