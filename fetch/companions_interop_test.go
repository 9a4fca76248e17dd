//go:build interop

package fetch

import (
	"strings"
	"testing"
)

// Debian's docker-registry has no referrers API: an index is found by its tag.
func TestInteropIndexBesideAnImage(t *testing.T) {
	addr := dockerRegistry(t, "")
	push(t, addr+"/ns/app:1")
	client := newClient(t, Config{CacheDir: t.TempDir()})
	img := resolve(t, client, addr+"/ns/app:1")
	for _, d := range ztocDigests(t, img) {
		if d != "" {
			t.Fatalf("an index before there is one: %s", d)
		}
	}
	ztocs, want := someZtocs(img)
	if _, err := client.PushIndex(t.Context(), img.Reference, img, ztocs); err != nil {
		t.Fatal(err)
	}
	fresh := newClient(t, Config{CacheDir: t.TempDir()})
	sameDigests(t, "v1", ztocDigests(t, resolve(t, fresh, addr+"/ns/app:1")), want)
	tags, err := fresh.Tags(t.Context(), ref(t, addr+"/ns/app"))
	if err != nil || len(tags) != 2 || tags[1] != strings.ReplaceAll(img.Digest.String(), ":", "-") {
		t.Errorf("tags %v, %v", tags, err)
	}
	if _, err := client.PushIndexedImage(t.Context(), img.Reference, img, "1-soci", ztocs); err != nil {
		t.Fatal(err)
	}
	v2 := newClient(t, Config{CacheDir: t.TempDir(), SOCI: "v2"})
	sameDigests(t, "v2", ztocDigests(t, resolve(t, v2, addr+"/ns/app:1-soci")), want)
}
