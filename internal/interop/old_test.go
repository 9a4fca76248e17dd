//go:build interop

package interop

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/internal/testregistryv1"
)

// fixtureOfOld is the fixture as docker of 2014 pushed and saved it. No server of that time can be
// installed any more: the registry is ours, held to recordings of three of them.
func fixtureOfOld(t *testing.T, packing testregistryv1.Packing) []testregistryv1.Image {
	t.Helper()
	images, err := testregistryv1.FromLayout(fixture+"/images", "gzip", packing)
	if err != nil {
		t.Fatal(err)
	}
	return images
}

func TestFixtureFromRegistryV1(t *testing.T) {
	for name, packing := range map[string]testregistryv1.Packing{
		"python": testregistryv1.Plain, "contrib": testregistryv1.XZ, "ooyala": testregistryv1.Gzip, "quay": testregistryv1.Gzip,
	} {
		t.Run(name, func(t *testing.T) {
			quirks, ok := testregistryv1.Named(name)
			if !ok {
				t.Fatal("no such preset")
			}
			srv := testregistryv1.New(testregistryv1.NewStore(), quirks)
			srv.Store.Put("ns/fix", "v1", fixtureOfOld(t, packing)...)
			ref := srv.Start(t) + "/ns/fix:v1"
			b := newBox(t)
			dir := b.mount(ref, "--prefetch=none")
			if n := srv.Count("/layer"); n != 0 {
				t.Errorf("%d layers were fetched before anything needed them", n)
			}
			got, err := os.ReadFile(filepath.Join(dir, "etc/os-release"))
			if err != nil || !strings.Contains(string(got), `VERSION_ID="2"`) {
				t.Errorf("os-release %q, %v", got, err)
			}
			// The top layer has the file, the one below it the directory's attributes.
			if n := srv.Count("/layer"); n != 2 {
				t.Errorf("%d requests for layers, where two of five decide", n)
			}
			wantFixture(t, dir)
			b.umount(dir)

			asked := srv.Count("/layer")
			dir = b.mount(ref)
			wantFixture(t, dir)
			b.umount(dir)
			if n := srv.Count("/layer"); n != asked {
				t.Errorf("%d more requests for layers that are in the cache", n-asked)
			}
		})
	}
}

// An identifier means something at one registry only: a second registry that has
// other layers under the same identifiers cannot change the first one's image.
func TestRegistriesV1DoNotPoisonEachOther(t *testing.T) {
	id := strings.Repeat("a", 64)
	mk := func(content string) string {
		srv := testregistryv1.New(testregistryv1.NewStore(), testregistryv1.Python())
		srv.Store.Put("ns/app", "latest", testregistryv1.Image{ID: id, JSON: []byte(`{"id":"` + id + `"}`),
			Layer: tartest.Of(tartest.File("f", content))})
		return srv.Start(t) + "/ns/app"
	}
	good, bad := mk("good"), mk("evil")
	b := newBox(t)
	for ref, want := range map[string]string{bad: "evil", good: "good"} {
		dir := b.mount(ref)
		if got, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", ref, got, err)
		}
		b.umount(dir)
	}
}

func TestFixtureFromSchema1(t *testing.T) {
	ref := push(t, "oci:"+fixture+"/images:gzip", "fixture/schema1:1", "-f", "v2s1")
	b := newBox(t)
	dir := b.mount(ref)
	wantFixture(t, dir)
	b.umount(dir)
}

func TestFixtureFromAnOldArchive(t *testing.T) {
	images := fixtureOfOld(t, testregistryv1.Plain)
	top := images[len(images)-1].ID
	var buf bytes.Buffer
	if err := testregistryv1.Save(&buf, "", map[string]map[string]string{"ns/fix": {"v1": top}}, images...); err != nil {
		t.Fatal(err)
	}
	b := newBox(t)
	path := filepath.Join(b.dir, "old.tar")
	if err := os.WriteFile(path, buf.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", ":ns/fix:v1", ":" + top[:12]} {
		dir := b.mount("docker-archive:" + path + name)
		wantFixture(t, dir)
		b.umount(dir)
	}
}
