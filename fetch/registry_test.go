package fetch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/internal/testregistry"
)

// impatient tries as often as any policy does, but without waiting.
func impatient() RetryPolicy {
	return RetryPolicy{Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}
}

// alone keeps this machine's own credentials out of a test.
func alone(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG"} {
		t.Setenv(name, dir)
	}
	t.Setenv("REGISTRY_AUTH_FILE", "")
	t.Setenv("DOCKER_AUTH_CONFIG", "")
}

func newClient(t *testing.T, cfg Config) *Client {
	t.Helper()
	alone(t)
	if cfg.Retry.Sleep == nil {
		cfg.Retry = impatient()
	}
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func ref(t *testing.T, s string) Reference {
	t.Helper()
	r, err := ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func resolve(t *testing.T, c *Client, name string) *Image {
	t.Helper()
	img, err := c.Resolve(t.Context(), ref(t, name), Platform{OS: "linux", Architecture: "amd64"})
	if err != nil {
		t.Fatalf("resolve %s: %v (%s)", name, err, errkind.Hint(err))
	}
	return img
}

// wantErr resolves name, which must fail with the kind and the words.
func wantErr(t *testing.T, c *Client, name string, kind errkind.Kind, words ...string) {
	t.Helper()
	_, err := c.Resolve(t.Context(), ref(t, name), Platform{OS: "linux", Architecture: "amd64"})
	checkErr(t, err, kind, words...)
}

func checkErr(t *testing.T, err error, kind errkind.Kind, words ...string) {
	t.Helper()
	if !errkind.Is(err, kind) {
		t.Fatalf("error %v of kind %v, want kind %v", err, errkind.Of(err), kind)
	}
	text := err.Error() + "; " + errkind.Hint(err)
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("error %q does not say %q", text, w)
		}
	}
}

func readAll(t *testing.T, b Blob, off, n int64) []byte {
	t.Helper()
	body, at, err := b.ReadRange(t.Context(), off, n)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	if at != off {
		data = data[off-at:]
		if n >= 0 {
			data = data[:n]
		}
	}
	return data
}

var layerA = tartest.Of(tartest.Dir("d/"), tartest.File("d/a", "one"))
var layerB = tartest.Of(tartest.File("d/b", strings.Repeat("two ", 5000)))

func TestResolveFromARegistry(t *testing.T) {
	for _, docker := range []bool{false, true} {
		r := testregistry.New(t, testregistry.Options{})
		r.Push("ns/app:1.0", testregistry.Image{Layers: testregistry.Layers(layerA, layerB), Docker: docker,
			History: []ocispec.History{{CreatedBy: "a"}, {CreatedBy: "env", EmptyLayer: true}, {CreatedBy: "b"}}})
		c := newClient(t, Config{CacheDir: t.TempDir()})
		img := resolve(t, c, r.Ref("ns/app:1.0"))
		if len(img.Layers) != 2 || img.Layers[0].DiffID != digest.FromBytes(layerA) || img.Layers[1].DiffID != digest.FromBytes(layerB) {
			t.Fatalf("layers = %+v", img.Layers)
		}
		if got := readAll(t, img.Layers[1].Blob, 0, -1); !bytes.Equal(got, testregistry.Compress(layerB, testregistry.Gzip)) {
			t.Error("the layer's bytes are wrong")
		}
		if h := img.LayerHistory(); h[0].CreatedBy != "a" || h[1].CreatedBy != "b" {
			t.Errorf("history = %v", h)
		}
		if img.Digest != digest.FromBytes(img.RawManifest) || img.Digest != img.ManifestDigest {
			t.Errorf("digest = %s, manifest %s", img.Digest, img.ManifestDigest)
		}
	}
}

// A mount costs a HEAD, a GET of the manifest, one of the configuration, and the
// login; what was read once costs the HEAD only, and by digest nothing.
func TestRequestBudget(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{Auth: testregistry.Anonymous})
	d := r.Push("app:1", testregistry.Image{Layers: testregistry.Layers(layerA)})
	cache := t.TempDir()
	steps := []struct {
		name string
		ref  string
		want []string
	}{
		{"first", r.Ref("app:1"), []string{"HEAD 401", "GET 200", "HEAD 200", "GET 200", "GET 200"}},
		{"again", r.Ref("app:1"), []string{"HEAD 401", "GET 200", "HEAD 200"}},
		{"by digest", r.Ref("app@" + d.Digest.String()), nil},
	}
	for _, s := range steps {
		r.Forget()
		c := newClient(t, Config{CacheDir: cache})
		resolve(t, c, s.ref)
		var got []string
		for _, q := range r.Requests() {
			got = append(got, q.Method+" "+map[int]string{200: "200", 401: "401"}[q.Status])
		}
		if strings.Join(got, ", ") != strings.Join(s.want, ", ") {
			t.Errorf("%s: requests %v, want %v", s.name, got, s.want)
		}
		if n := c.Stats().Requests; n != int64(len(s.want)) {
			t.Errorf("%s: %d requests counted, want %d", s.name, n, len(s.want))
		}
	}
}

func TestCacheIsVerified(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	d := r.Push("app:1", testregistry.Image{Layers: testregistry.Layers(layerA)})
	cache := t.TempDir()
	name := r.Ref("app@" + d.Digest.String())
	resolve(t, newClient(t, Config{CacheDir: cache}), name)
	file := filepath.Join(cache, "blobs/sha256", d.Digest.Encoded())
	if err := os.WriteFile(file, []byte(`{"layers":[]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	r.Forget()
	resolve(t, newClient(t, Config{CacheDir: cache}), name)
	if r.Count("GET", "/manifests/") != 1 {
		t.Error("a spoiled manifest was not read again")
	}
	raw, err := os.ReadFile(file)
	if err != nil || digest.FromBytes(raw) != d.Digest {
		t.Errorf("the cache was not mended: %v", err)
	}
}

func TestHeadWithoutHelp(t *testing.T) {
	for name, f := range map[string]testregistry.Fault{
		"405":        {Method: "HEAD", Status: 405},
		"no digest":  {Method: "HEAD", Header: "Docker-Content-Digest:"},
		"bad digest": {Method: "HEAD", Header: "Docker-Content-Digest: md5:abc"},
	} {
		r := testregistry.New(t, testregistry.Options{})
		d := r.Push("app:1", testregistry.Image{})
		r.Fail(f)
		c := newClient(t, Config{CacheDir: t.TempDir()})
		img := resolve(t, c, r.Ref("app:1"))
		if img.Digest != d.Digest {
			t.Errorf("%s: digest = %s", name, img.Digest)
		}
		if n := r.Count("GET", "/manifests/"); n != 1 {
			t.Errorf("%s: %d manifests read", name, n)
		}
	}
}

func TestPlatforms(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	push := func(arch, variant string) ocispec.Descriptor {
		return r.Push("app", testregistry.Image{Layers: testregistry.Layers([]byte(arch + variant)),
			Platform: ocispec.Platform{OS: "linux", Architecture: arch, Variant: variant}})
	}
	attestation := push("amd64", "")
	attestation.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest"}
	attestation.Platform = &ocispec.Platform{OS: "unknown", Architecture: "unknown"}
	strange := r.PushBlob([]byte("{}"))
	strange.MediaType = "application/vnd.example.strange+json"
	arm := push("arm", "v6")
	inner := r.PushIndex("app", push("s390x", ""))
	index := r.PushIndex("app:multi", attestation, strange, push("arm64", "v8"), arm, push("arm", "v7"), push("amd64", ""), inner)
	c := newClient(t, Config{CacheDir: t.TempDir()})
	for platform, want := range map[string]string{
		"linux/amd64": "amd64", "linux/x86_64": "amd64", "linux/arm64": "arm64v8", "linux/aarch64/v8": "arm64v8",
		"linux/arm": "armv7", "linux/arm/v6": "armv6", "linux/armhf": "armv7", "linux/s390x": "s390x", "amd64": "amd64",
		"linux/amd64/v3": "amd64",
	} {
		p, err := ParsePlatform(platform)
		if err != nil {
			t.Fatal(err)
		}
		img, err := c.Resolve(t.Context(), ref(t, r.Ref("app:multi")), p)
		if err != nil {
			t.Errorf("%s: %v", platform, err)
			continue
		}
		if img.Layers[0].DiffID != digest.FromString(want) {
			t.Errorf("%s gave another image than %s", platform, want)
		}
		if img.Digest != index.Digest || img.ManifestDigest == index.Digest {
			t.Errorf("%s: digests %s, %s", platform, img.Digest, img.ManifestDigest)
		}
	}
	_, err := c.Resolve(t.Context(), ref(t, r.Ref("app:multi")), Platform{OS: "linux", Architecture: "riscv64"})
	checkErr(t, err, errkind.Platform, "riscv64", "linux/arm64", "linux/s390x", "--platform")
	_, err = c.Resolve(t.Context(), ref(t, r.Ref("app:multi")), Platform{OS: "linux", Architecture: "arm", Variant: "v5"})
	checkErr(t, err, errkind.Platform)
}

func TestIndexesWithoutEnd(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	d := r.Push("app", testregistry.Image{})
	for range 6 {
		d = r.PushIndex("app", d)
		d.Platform = nil
	}
	c := newClient(t, Config{})
	wantErr(t, c, r.Ref("app@"+d.Digest.String()), errkind.Unsupported, "deeper")
}

func TestRefusedAtOnce(t *testing.T) {
	layer := func(mediaType string) []testregistry.Layer {
		return []testregistry.Layer{{Tar: layerA, MediaType: mediaType}}
	}
	for name, c := range map[string]struct {
		img   testregistry.Image
		kind  errkind.Kind
		words string
	}{
		"encrypted": {testregistry.Image{Layers: layer("application/vnd.oci.image.layer.v1.tar+gzip+encrypted")}, errkind.Unsupported, "encrypted"},
		"encrypted by annotation": {testregistry.Image{Layers: []testregistry.Layer{{Tar: layerA,
			Annotations: map[string]string{"org.opencontainers.image.enc.keys.jwe": "x"}}}}, errkind.Unsupported, "encrypted"},
		"unknown type": {testregistry.Image{Layers: layer("application/vnd.example+cbor")}, errkind.Unsupported, "unknown media type"},
		"nydus": {testregistry.Image{Layers: []testregistry.Layer{{Tar: layerA,
			Annotations: map[string]string{"containerd.io/snapshot/nydus-blob": "true"}}}}, errkind.Unsupported, "nydus"},
		"overlaybd": {testregistry.Image{Layers: []testregistry.Layer{{Tar: layerA,
			Annotations: map[string]string{"containerd.io/snapshot/overlaybd/blob-size": "1"}}}}, errkind.Unsupported, "overlaybd"},
		"artifact": {testregistry.Image{Manifest: func(m *ocispec.Manifest) { m.Config.MediaType = "application/vnd.cncf.helm.config.v1+json" }},
			errkind.Unsupported, "artifact of type"},
		"artifact type": {testregistry.Image{Manifest: func(m *ocispec.Manifest) {
			m.ArtifactType, m.Config.MediaType = "application/spdx+json", ocispec.MediaTypeEmptyJSON
		}}, errkind.Unsupported, "spdx"},
		"missing diffID":    {testregistry.Image{Layers: layer(""), Config: func(c *ocispec.Image) { c.RootFS.DiffIDs = nil }}, errkind.Corrupt, "1 layers"},
		"odd rootfs":        {testregistry.Image{Layers: layer(""), Config: func(c *ocispec.Image) { c.RootFS.Type = "cow" }}, errkind.Unsupported, "cow"},
		"huge config":       {testregistry.Image{Manifest: func(m *ocispec.Manifest) { m.Config.Size = 1 << 40 }}, errkind.Unsupported, "larger"},
		"wrong config size": {testregistry.Image{Manifest: func(m *ocispec.Manifest) { m.Config.Size++ }}, errkind.Corrupt, "instead of"},
		"negative size":     {testregistry.Image{Layers: layer(""), Manifest: func(m *ocispec.Manifest) { m.Layers[0].Size = -5 }}, errkind.Corrupt, "negative"},
		"strange digest": {testregistry.Image{Layers: layer(""), Manifest: func(m *ocispec.Manifest) { m.Layers[0].Digest = "blake9:" + digest.Digest(strings.Repeat("a", 64)) }},
			errkind.Unsupported, "algorithm"},
	} {
		t.Run(name, func(t *testing.T) {
			r := testregistry.New(t, testregistry.Options{})
			r.Push("app:1", c.img)
			wantErr(t, newClient(t, Config{}), r.Ref("app:1"), c.kind, c.words)
			for _, l := range c.img.Layers {
				if r.Count("GET", digest.FromBytes(l.Tar).String()) > 0 {
					t.Error("a layer was read before it was refused")
				}
			}
		})
	}
}

func TestConfusedManifests(t *testing.T) {
	image := `{"schemaVersion":2,"config":{},"layers":[]%s}`
	for name, c := range map[string]struct{ mediaType, raw string }{
		"image with manifests": {ocispec.MediaTypeImageManifest, strings.Replace(image, "%s", `,"manifests":[]`, 1)},
		"index with layers":    {ocispec.MediaTypeImageIndex, `{"schemaVersion":2,"manifests":[],"layers":[]}`},
		"other type in body":   {ocispec.MediaTypeImageManifest, strings.Replace(image, "%s", `,"mediaType":"`+ocispec.MediaTypeImageIndex+`"`, 1)},
		"image with fsLayers":  {ocispec.MediaTypeImageManifest, strings.Replace(image, "%s", `,"fsLayers":[]`, 1)},
		"schema 1 with layers": {"application/vnd.docker.distribution.manifest.v1+json", `{"schemaVersion":1,"fsLayers":[],"layers":[]}`},
		"not JSON":             {ocispec.MediaTypeImageManifest, `<html>`},
	} {
		t.Run(name, func(t *testing.T) {
			r := testregistry.New(t, testregistry.Options{})
			r.PushManifest("app:1", c.mediaType, []byte(c.raw))
			wantErr(t, newClient(t, Config{}), r.Ref("app:1"), errkind.Corrupt)
		})
	}
}

func TestHugeManifestIsNotRead(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	r.PushManifest("app:1", ocispec.MediaTypeImageManifest, bytes.Repeat([]byte(" "), 100<<20))
	c := newClient(t, Config{})
	wantErr(t, c, r.Ref("app:1"), errkind.Unsupported, "larger", r.Ref("app:1"))
	r.Fail(testregistry.Fault{Method: "HEAD", Status: 405})
	wantErr(t, c, r.Ref("app:1"), errkind.Unsupported, "larger")
	if n := c.Stats().Bytes; n > 8<<20 {
		t.Errorf("%d bytes were read", n)
	}
}

func TestWrongBytesAreCorrupt(t *testing.T) {
	for _, path := range []string{"/manifests/sha256:", "/blobs/"} {
		r := testregistry.New(t, testregistry.Options{})
		r.Push("app:1", testregistry.Image{})
		r.Fail(testregistry.Fault{Method: "GET", Path: path, Flip: true})
		cache := t.TempDir()
		wantErr(t, newClient(t, Config{CacheDir: cache}), r.Ref("app:1"), errkind.Corrupt)
		r.Mend()
		resolve(t, newClient(t, Config{CacheDir: cache}), r.Ref("app:1"))
	}
}

func TestUnusualButGood(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	r.Push("app:empty", testregistry.Image{})
	r.Push("app:inline", testregistry.Image{Layers: []testregistry.Layer{{Tar: layerA, Inline: true}}})
	r.Push("app:history", testregistry.Image{Layers: testregistry.Layers(layerA), History: []ocispec.History{{}, {}, {}}})
	r.Push("app:zstd", testregistry.Image{Docker: true, Layers: []testregistry.Layer{{Tar: layerA, Compression: testregistry.Zstd}}})
	c := newClient(t, Config{CacheDir: t.TempDir()})
	if img := resolve(t, c, r.Ref("app:empty")); len(img.Layers) != 0 || img.Size != 0 {
		t.Errorf("empty image: %+v", img)
	}
	if got := readAll(t, resolve(t, c, r.Ref("app:inline")).Layers[0].Blob, 3, 9); !bytes.Equal(got, layerA[3:12]) {
		t.Error("inline layer has other bytes")
	}
	if h := resolve(t, c, r.Ref("app:history")).LayerHistory(); len(h) != 1 || h[0] != nil {
		t.Errorf("a history that does not fit was used: %v", h)
	}
	resolve(t, c, r.Ref("app:zstd"))
}

func TestInlineDataMustMatch(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	r.Push("app:1", testregistry.Image{Layers: []testregistry.Layer{{Tar: layerA, Inline: true}},
		Manifest: func(m *ocispec.Manifest) { m.Layers[0].Data[0] ^= 1 }})
	wantErr(t, newClient(t, Config{}), r.Ref("app:1"), errkind.Corrupt)
}

func TestForeignLayers(t *testing.T) {
	away := testregistry.New(t, testregistry.Options{})
	away.PushBlob(layerA)
	url := "http://" + away.Host + "/v2/x/blobs/" + digest.FromBytes(layerA).String()
	r := testregistry.New(t, testregistry.Options{Auth: testregistry.Basic, User: "u", Password: "p"})
	r.Push("app:1", testregistry.Image{Layers: []testregistry.Layer{{Tar: layerA, Absent: true, URLs: []string{"ftp://x", url},
		MediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar"}}})
	img := resolve(t, newClient(t, Config{Creds: "u:p"}), r.Ref("app:1"))
	for range 2 {
		if got := readAll(t, img.Layers[0].Blob, 0, -1); !bytes.Equal(got, layerA) {
			t.Error("foreign layer has other bytes")
		}
	}
	if q := away.Requests(); len(q) != 2 || q[0].Auth != "" {
		t.Errorf("requests for the foreign layer: %v", q)
	}
	if n := r.Count("GET", digest.FromBytes(layerA).String()); n > 2 {
		t.Errorf("the registry was asked %d times for what it has not", n)
	}
}

func TestUnknownNames(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	for _, tag := range []string{"1.21", "1.22", "1.22-alpine", "latest"} {
		r.Push("app:"+tag, testregistry.Image{})
	}
	c := newClient(t, Config{})
	wantErr(t, c, r.Ref("app:1.23"), errkind.NotFound, "1.22", "1.23")
	wantErr(t, c, r.Ref("nosuch:1"), errkind.NotFound, "check the name")
	wantErr(t, c, r.Ref("app@sha256:"+strings.Repeat("0", 64)), errkind.NotFound)
	if n := r.Count("GET", "/tags/list"); n > 2 {
		t.Errorf("%d lists of tags for two hints", n)
	}
}

func TestTags(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	for _, tag := range []string{"c", "a", "b"} {
		r.Push("app:"+tag, testregistry.Image{})
	}
	r.Fail(testregistry.Fault{Path: "/tags/list", Times: 1, Status: 200, Body: `{"tags":["z"]}`,
		Header: `Link: </v2/app/tags/list?last=x&n=2>; rel="next"`})
	r.Fail(testregistry.Fault{Path: "/tags/list", Times: 1, Status: 200, Body: `{"tags":["y","z"]}`,
		Header: `Link: <http://evil.example/v2/app/tags/list>; rel="next"`})
	c := newClient(t, Config{})
	tags, err := c.Tags(t.Context(), ref(t, r.Ref("app")))
	if err != nil || strings.Join(tags, " ") != "a b c y z" { // the third page is here, wherever the link leads
		t.Errorf("tags over pages = %v, %v", tags, err)
	}
	tags, err = c.Tags(t.Context(), ref(t, r.Ref("app")))
	if err != nil || strings.Join(tags, " ") != "a b c" {
		t.Errorf("tags = %v, %v", tags, err)
	}
}

func TestHead(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	d := r.Push("app:1", testregistry.Image{})
	c := newClient(t, Config{CacheDir: t.TempDir()})
	got, err := c.Head(t.Context(), ref(t, r.Ref("app:1")))
	if err != nil || got.Digest != d.Digest || got.Size != d.Size {
		t.Errorf("head = %+v, %v", got, err)
	}
	if n := len(r.Requests()); n != 1 {
		t.Errorf("%d requests for one HEAD", n)
	}
}

func TestRetries(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	r.Push("app:1", testregistry.Image{})
	r.Fail(testregistry.Fault{Method: "HEAD", Status: 503, Times: 2})
	r.Fail(testregistry.Fault{Path: "/manifests/sha256", Status: 429, Header: "Retry-After: 7", Times: 1})
	r.Fail(testregistry.Fault{Path: "/blobs/", Cut: true, After: 10, Times: 1})
	var pauses []time.Duration
	c := newClient(t, Config{Retry: RetryPolicy{Sleep: func(_ context.Context, d time.Duration) error {
		pauses = append(pauses, d)
		return nil
	}}})
	resolve(t, c, r.Ref("app:1"))
	if len(pauses) != 4 || pauses[2] != 7*time.Second || pauses[0] > 250*time.Millisecond || pauses[0] < 100*time.Millisecond {
		t.Errorf("pauses = %v", pauses)
	}
	if n := c.Stats().Retries; n != 4 {
		t.Errorf("%d retries counted", n)
	}
	r.Fail(testregistry.Fault{Status: 500})
	wantErr(t, c, r.Ref("app:1"), errkind.Unavailable, "500")
	r.Mend()
	r.Fail(testregistry.Fault{Status: 429, Header: "Retry-After: 86400"})
	pauses = nil
	wantErr(t, c, r.Ref("app:1"), errkind.Unavailable, "limits the rate")
	if len(pauses) != 0 {
		t.Errorf("waited %v though the server asked for a day", pauses)
	}
}

func TestSecretsStaySecret(t *testing.T) {
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug}))
	r := testregistry.New(t, testregistry.Options{Auth: testregistry.Bearer, User: "joe", Password: "hunter2", Redirect: true})
	r.Push("app:1", testregistry.Image{Layers: testregistry.Layers(layerA)})
	c := newClient(t, Config{Creds: "joe:hunter2", Logger: log})
	img := resolve(t, c, r.Ref("app:1"))
	readAll(t, img.Layers[0].Blob, 0, -1)
	r.Fail(testregistry.Fault{Path: "/signed/", Status: 403})
	_, _, err := img.Layers[0].Blob.ReadRange(t.Context(), 0, -1)
	checkErr(t, err, errkind.Denied)
	r.SetPassword("other")
	r.ExpireTokens()
	_, err = c.Resolve(t.Context(), img.Reference, Platform{})
	checkErr(t, err, errkind.Denied, "--creds")
	r.Close()
	_, _, err2 := img.Layers[0].Blob.ReadRange(t.Context(), 0, -1)
	for _, secret := range []string{"hunter2", "s3cr3t", "token-", "X-Signature", "joe"} {
		if strings.Contains(text.String(), secret) {
			t.Errorf("the log has %q in it", secret)
		}
		if strings.Contains(errors.Join(err, err2).Error(), secret) {
			t.Errorf("an error has %q in it: %v", secret, errors.Join(err, err2))
		}
	}
}
