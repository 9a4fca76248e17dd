package fetch

import (
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/testregistry"
)

// someZtocs are as good as real ones here.
func someZtocs(img *Image) (ztocs []Ztoc, want []digest.Digest) {
	for _, l := range img.Layers {
		text := []byte("what is in " + l.Descriptor.Digest)
		ztocs = append(ztocs, Ztoc{Layer: l.Descriptor, Bytes: text, SpanSize: 4 << 20})
		want = append(want, digest.FromBytes(text))
	}
	return ztocs, want
}

func pushedImage() testregistry.Image {
	return testregistry.Image{Layers: testregistry.Layers([]byte("one"), []byte("two"))}
}

func TestAPushedIndexIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		opt   testregistry.Options
		fault *testregistry.Fault
		creds string
	}{
		"open":         {},
		"password":     {opt: testregistry.Options{Auth: testregistry.Basic, User: "joe", Password: "secret"}, creds: "joe:secret"},
		"token":        {opt: testregistry.Options{Auth: testregistry.Bearer, User: "joe", Password: "secret"}, creds: "joe:secret"},
		"no referrers": {fault: &testregistry.Fault{Path: "/referrers/", Status: 404}},
		"hiccups":      {fault: &testregistry.Fault{Method: "PUT", Status: 503, Times: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			r := testregistry.New(t, c.opt)
			r.Push("app:1", pushedImage())
			if c.fault != nil {
				r.Fail(*c.fault)
			}
			client := newClient(t, Config{CacheDir: t.TempDir(), Creds: c.creds})
			img := resolve(t, client, r.Ref("app:1"))
			ztocs, want := someZtocs(img)
			first, err := client.PushIndex(t.Context(), img.Reference, img, ztocs)
			if err != nil {
				t.Fatal(err)
			}
			sameDigests(t, "v1", ztocDigests(t, resolve(t, newClient(t, Config{Creds: c.creds}), r.Ref("app:1"))), want)
			again, err := client.PushIndex(t.Context(), img.Reference, img, ztocs)
			if err != nil || again.Digest != first.Digest {
				t.Errorf("again: %v, %v", again.Digest, err)
			}
		})
	}
}

func TestAPushedImageNamesItsIndex(t *testing.T) {
	for name, docker := range map[string]bool{"OCI": false, "docker": true} {
		t.Run(name, func(t *testing.T) {
			r := testregistry.New(t, testregistry.Options{})
			image := pushedImage()
			image.Docker = docker
			r.Push("app:1", image)
			client := newClient(t, Config{CacheDir: t.TempDir()})
			img := resolve(t, client, r.Ref("app:1"))
			ztocs, want := someZtocs(img)
			d, err := client.PushIndexedImage(t.Context(), img.Reference, img, "1-soci", ztocs)
			if err != nil {
				t.Fatal(err)
			}
			got := resolve(t, newClient(t, Config{SOCI: "v2"}), r.Ref("app:1-soci"))
			if got.Digest != d.Digest || len(got.Layers) != len(img.Layers) || got.Layers[0].Descriptor.Digest != img.Layers[0].Descriptor.Digest {
				t.Errorf("%+v", got)
			}
			sameDigests(t, "v2", ztocDigests(t, got), want)
			if same := resolve(t, newClient(t, Config{}), r.Ref("app:1")); same.Digest != img.Digest {
				t.Error("the image itself has changed")
			}
		})
	}
}

func TestTheTagOfReferrersKeepsWhatItHas(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	r.PushLayout("app", fixtureLayout)
	r.Fail(testregistry.Fault{Path: "/referrers/", Status: 404})
	client := newClient(t, Config{CacheDir: t.TempDir()})
	img := resolve(t, client, r.Ref("app:gzip"))
	ztocs, _ := someZtocs(img)
	if _, err := client.PushIndex(t.Context(), img.Reference, img, ztocs); err != nil {
		t.Fatal(err)
	}
	// The first that speaks of a layer is the one that is used.
	sameDigests(t, "gzip", ztocDigests(t, resolve(t, client, r.Ref("app:gzip"))), fixtureZtocs)
}

func TestPushesThatCannotBe(t *testing.T) {
	client := newClient(t, Config{CacheDir: t.TempDir()})
	img := resolve(t, client, "oci:"+fixtureLayout+":gzip")
	if _, err := client.PushIndex(t.Context(), img.Reference, img, nil); !errkind.Is(err, errkind.Unsupported) {
		t.Errorf("to a layout: %v", err)
	}
	r := testregistry.New(t, testregistry.Options{})
	r.Push("app:1", pushedImage())
	r.Fail(testregistry.Fault{Method: "POST", Path: "/blobs/uploads/", Status: 403})
	img = resolve(t, client, r.Ref("app:1"))
	ztocs, _ := someZtocs(img)
	if _, err := client.PushIndex(t.Context(), img.Reference, img, ztocs); !errkind.Is(err, errkind.Denied) {
		t.Errorf("without leave: %v", err)
	}
	r.Mend()
	r.Fail(testregistry.Fault{Method: "POST", Path: "/blobs/uploads/", Status: 202, Header: "Location: https://elsewhere.example/upload"})
	if _, err := client.PushIndex(t.Context(), img.Reference, img, ztocs); !errkind.Is(err, errkind.Unsupported) {
		t.Errorf("to elsewhere: %v", err)
	}
}
