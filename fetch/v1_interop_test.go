//go:build interop

package fetch

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/peelfs/peelfs/fetch/schema1"
	"github.com/peelfs/peelfs/internal/errkind"
)

const schema1Enabled = "compatibility: {schema1: {enabled: true}}\n"

// Schema 1 as skopeo pushes it and docker-registry 2.8 stores it.
func TestInteropStoredSchema1(t *testing.T) {
	addr := dockerRegistry(t, schema1Enabled)
	push(t, addr+"/fix:s1", "--format=v2s1")
	cfg := Config{CacheDir: t.TempDir()}
	c := newClient(t, cfg)
	img := resolve(t, c, addr+"/fix:s1")
	if img.MediaType != schema1.MediaTypeSigned {
		t.Fatalf("media type %s", img.MediaType)
	}
	wantFixture(t, c, img)
	for _, l := range img.Layers {
		if l.Descriptor.Size <= 0 {
			t.Errorf("layer %s has no size", l.Descriptor.Digest)
		}
	}
	wantFixture(t, c, resolve(t, c, addr+"/fix@"+img.Digest.String()))
	wantFixture(t, c, resolve(t, newClient(t, Config{}), addr+"/fix@"+img.Digest.String())) // from the registry, not the cache
	d, err := c.Head(t.Context(), ref(t, addr+"/fix:s1"))
	if err != nil || d.Digest != img.Digest {
		t.Errorf("head %v, %v", d, err)
	}
}

// Schema 1 as docker-registry 2.8 makes it of schema 2 for clients that say that
// they know nothing newer.
func TestInteropConvertedSchema1(t *testing.T) {
	addr := dockerRegistry(t, schema1Enabled)
	push(t, addr+"/fix:s2", "--format=v2s2")
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: addr})
		r.Out.Header.Del("Accept")
	}})
	t.Cleanup(proxy.Close)
	c := newClient(t, Config{CacheDir: t.TempDir()})
	img := resolve(t, c, strings.TrimPrefix(proxy.URL, "http://")+"/fix:s2")
	if img.MediaType != schema1.MediaTypeSigned || len(img.Layers) != 4 {
		t.Fatalf("%s with %d layers", img.MediaType, len(img.Layers))
	}
	wantFixture(t, c, img)
	m, err := schema1.Parse(img.RawManifest)
	if err != nil || !m.Signed() {
		t.Errorf("signature: %v", err)
	}
}

// A registry of the second protocol is not taken for one of the first.
func TestInteropNoRegistryV1There(t *testing.T) {
	addr := dockerRegistry(t, "")
	resp, err := http.Get("http://" + addr + "/v1/_ping")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		t.Skip("this docker-registry speaks the first protocol")
	}
	wantErr(t, newClient(t, Config{RegistryAPI: "v1"}), addr+"/fix:1", errkind.NotFound, addr)
}
