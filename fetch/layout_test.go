package fetch

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/tartest"
)

const containerdName = "io.containerd.image.name"

// asLayout puts images into a layout with the entries, and makes an archive of it
// too: the names of both.
func asLayout(t *testing.T, images []*ociImage, entries ...Descriptor) (names []string) {
	t.Helper()
	blobs := map[digest.Digest]string{}
	for _, img := range images {
		maps.Copy(blobs, img.blobs)
	}
	files := layoutFiles(blobs, entries...)
	dir := writeFiles(t, t.TempDir(), files)
	file := writeFile(t, filepath.Join(t.TempDir(), "x.tar"), string(tarOf(files)), 0o644)
	return []string{"oci:" + dir, "oci-archive:" + file}
}

// named is an entry with annotations.
func named(d Descriptor, keysAndValues ...string) Descriptor {
	d.Annotations = map[string]string{}
	for i := 0; i < len(keysAndValues); i += 2 {
		d.Annotations[keysAndValues[i]] = keysAndValues[i+1]
	}
	return d
}

// signature is what refers to an image and has the form of one.
func signature(of *ociImage, change func(*ocispec.Manifest)) *ociImage {
	s := newImage(digest.SHA256, layerB)
	s.manifest.Layers[0].MediaType = "application/vnd.dev.cosign.simplesigning.v1+json"
	s.manifest.Subject = &Descriptor{MediaType: of.top.MediaType, Digest: of.top.Digest, Size: of.top.Size}
	change(&s.manifest)
	return s.seal(digest.SHA256)
}

func TestOneImageBesideWhatRefersToIt(t *testing.T) {
	img := newImage(digest.SHA256, layerA)
	for name, change := range map[string]func(*ocispec.Manifest, *Descriptor){
		"an artifact": func(m *ocispec.Manifest, d *Descriptor) {
			m.ArtifactType, d.ArtifactType = "application/x.signature", "application/x.signature"
		},
		"an artifact that its entry does not show": func(m *ocispec.Manifest, _ *Descriptor) { m.ArtifactType = "application/x.signature" },
		"a subject":    func(m *ocispec.Manifest, _ *Descriptor) {},
		"other layers": func(m *ocispec.Manifest, _ *Descriptor) { m.Subject = nil },
		"an empty config": func(m *ocispec.Manifest, _ *Descriptor) {
			m.Subject, m.Config.MediaType = nil, "application/vnd.oci.empty.v1+json"
		},
		"a cosign tag": func(m *ocispec.Manifest, d *Descriptor) {
			*d = named(*d, ocispec.AnnotationRefName, "sha256-"+img.top.Digest.Encoded()+".sig")
		},
		"a kind of cosign's": func(m *ocispec.Manifest, d *Descriptor) { *d = named(*d, "kind", "dev.cosignproject.cosign/sigs") },
		"an attestation": func(m *ocispec.Manifest, d *Descriptor) {
			*d = named(*d, "vnd.docker.reference.type", "attestation-manifest")
		},
	} {
		t.Run(name, func(t *testing.T) {
			var entry Descriptor
			s := signature(img, func(m *ocispec.Manifest) { change(m, &entry) })
			entry.MediaType, entry.Digest, entry.Size = s.top.MediaType, s.top.Digest, s.top.Size
			for _, entries := range [][]Descriptor{{img.top, entry}, {entry, img.top}, {entry, named(img.top, ocispec.AnnotationRefName, "1"), entry}} {
				for _, name := range asLayout(t, []*ociImage{img, s}, entries...) {
					if got := resolve(t, newClient(t, Config{}), name); got.ManifestDigest != img.top.Digest {
						t.Errorf("%s is %s", name, got.ManifestDigest)
					}
				}
			}
		})
	}
}

// An image may carry the type of an artifact, and some tools say of an image that
// its artifact type is that of its configuration.
func TestImagesThatLookLikeArtifacts(t *testing.T) {
	img := newImage(digest.SHA256, layerA)
	img.manifest.ArtifactType = "application/x.app"
	img.seal(digest.SHA256)
	artifact := signature(img, func(m *ocispec.Manifest) {
		m.ArtifactType, m.Config.MediaType = "application/x.signature", "application/vnd.oci.empty.v1+json"
	})
	entry, sig := img.top, artifact.top
	sig.ArtifactType = "application/x.signature"
	for _, kind := range []string{"application/x.app", ocispec.MediaTypeImageConfig} {
		entry.ArtifactType = kind
		for _, name := range asLayout(t, []*ociImage{img}, entry) {
			if got := resolve(t, newClient(t, Config{}), name); got.ManifestDigest != img.top.Digest {
				t.Errorf("%s is %s", name, got.ManifestDigest)
			}
		}
		// The same within an index, before and behind an artifact.
		for _, list := range [][]Descriptor{{entry}, {entry, sig}, {sig, entry}} {
			raw, _ := json.Marshal(ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: list})
			index := &ociImage{blobs: map[digest.Digest]string{}}
			top := index.add(digest.SHA256, ocispec.MediaTypeImageIndex, raw)
			for _, name := range asLayout(t, []*ociImage{img, artifact, index}, top) {
				if got := resolve(t, newClient(t, Config{}), name); got.ManifestDigest != img.top.Digest {
					t.Errorf("%s is %s", name, got.ManifestDigest)
				}
			}
		}
	}
	for _, name := range asLayout(t, []*ociImage{artifact}, sig) {
		wantErr(t, newClient(t, Config{}), name, errkind.Unsupported, "artifact")
	}
}

func TestFamiliarNamesInLayouts(t *testing.T) {
	one, two := newImage(digest.SHA256, layerA), newImage(digest.SHA256, layerB)
	for _, c := range []struct {
		first, second   []string // annotations
		right, unknown  []string // names of the first
		ambiguous, list string
	}{
		{first: []string{ocispec.AnnotationRefName, "docker.io/library/foo:1.2"}, second: []string{ocispec.AnnotationRefName, "docker.io/library/bar:1.2"},
			right: []string{"foo:1.2", "docker.io/library/foo:1.2", "library/foo:1.2"}, ambiguous: "1.2", unknown: []string{"foo:1", "foo"}, list: "docker.io/library/bar:1.2 docker.io/library/foo:1.2"},
		{first: []string{ocispec.AnnotationRefName, "1.2", containerdName, "docker.io/library/foo:1.2"}, second: []string{ocispec.AnnotationRefName, "1.2", containerdName, "quay.io/foo:1.2"},
			right: []string{"foo:1.2", "docker.io/library/foo:1.2"}, ambiguous: "1.2", unknown: []string{"bar:1.2"}, list: "docker.io/library/foo:1.2 quay.io/foo:1.2"},
		{first: []string{containerdName, "docker.io/library/foo:latest"}, second: []string{ocispec.AnnotationRefName, "other"},
			right: []string{"foo", "foo:latest", "latest", "docker.io/library/foo"}, list: "docker.io/library/foo:latest other"},
		{first: []string{ocispec.AnnotationRefName, "foo:1.2"}, second: []string{ocispec.AnnotationRefName, "1.2"},
			right: []string{"foo:1.2", "docker.io/library/foo:1.2"}, list: "1.2 foo:1.2"},
	} {
		for _, layout := range asLayout(t, []*ociImage{one, two}, named(one.top, c.first...), named(two.top, c.second...)) {
			client := newClient(t, Config{})
			for _, name := range c.right {
				if got := resolve(t, client, layout+":"+name); got.ManifestDigest != one.top.Digest {
					t.Errorf("%s is %s", name, got.ManifestDigest)
				}
			}
			if c.ambiguous != "" {
				wantErr(t, client, layout+":"+c.ambiguous, errkind.Invalid, "several", strings.Fields(c.list)[0])
			}
			for _, name := range c.unknown {
				wantErr(t, client, layout+":"+name, errkind.NotFound)
			}
			tags, err := client.Tags(t.Context(), ref(t, layout))
			if got := strings.Join(tags, " "); err != nil || got != c.list {
				t.Errorf("names: %s, %v", got, err)
			}
			if got := resolve(t, client, layout+":"+two.top.Digest.String()); got.ManifestDigest != two.top.Digest {
				t.Errorf("by digest: %s", got.ManifestDigest)
			}
		}
	}
}

// Blobs may be anywhere, as their digests tell what they are; the index may not.
func TestLayoutsThatShareBlobs(t *testing.T) {
	img := newImage(digest.SHA256, layerA, layerB)
	files := layoutFiles(img.blobs, img.top)
	store := t.TempDir()
	move := func(t *testing.T, dir, name string) {
		t.Helper()
		to := filepath.Join(store, strings.ReplaceAll(t.Name()+name, "/", "-"))
		if err := errors.Join(os.Rename(filepath.Join(dir, name), to), os.Symlink(to, filepath.Join(dir, name))); err != nil {
			t.Fatal(err)
		}
	}
	layer := "blobs/sha256/" + img.manifest.Layers[0].Digest.Encoded()
	for _, name := range []string{"blobs", "blobs/sha256", layer, "blobs/sha256/" + img.top.Digest.Encoded()} {
		t.Run(name, func(t *testing.T) {
			dir := writeFiles(t, t.TempDir(), files)
			move(t, dir, name)
			got := resolve(t, newClient(t, Config{}), "oci:"+dir)
			for _, l := range got.Layers {
				if d := digest.FromBytes(readAll(t, l.Blob, 0, -1)); d != l.Descriptor.Digest {
					t.Errorf("the layer has the digest %s", d)
				}
			}
		})
	}
	t.Run("index", func(t *testing.T) {
		dir := writeFiles(t, t.TempDir(), files)
		move(t, dir, "index.json")
		wantErr(t, newClient(t, Config{}), "oci:"+dir, errkind.NotFound, "within the layout")
	})
	t.Run("wrong content", func(t *testing.T) {
		dir := writeFiles(t, t.TempDir(), files)
		name := filepath.Join(dir, "blobs/sha256", img.manifest.Config.Digest.Encoded())
		other := writeFile(t, filepath.Join(store, "other"), strings.Repeat("x", int(img.manifest.Config.Size)), 0o644)
		if err := errors.Join(os.Remove(name), os.Symlink(other, name)); err != nil {
			t.Fatal(err)
		}
		wantErr(t, newClient(t, Config{}), "oci:"+dir, errkind.Corrupt, "digest")
	})
}

// What is no file in the place of one is an error at once, wherever it is.
func TestLayoutsWithSpecialFiles(t *testing.T) {
	img := newImage(digest.SHA256, layerA)
	files := layoutFiles(img.blobs, img.top)
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name := range files {
		if name == "oci-layout" {
			continue
		}
		for _, target := range []string{"fifo", fifo, "/dev/zero", "/dev/null", "/"} {
			dir := writeFiles(t, t.TempDir(), files)
			at := filepath.Join(dir, name)
			err := os.Remove(at)
			if target == "fifo" {
				err = errors.Join(err, unix.Mkfifo(at, 0o600))
			} else {
				err = errors.Join(err, os.Symlink(target, at))
			}
			if err != nil {
				t.Fatal(err)
			}
			_, err = newClient(t, Config{}).Resolve(t.Context(), ref(t, "oci:"+dir), Platform{OS: "linux", Architecture: "amd64"})
			if !errkind.Is(err, errkind.Corrupt) && !errkind.Is(err, errkind.NotFound) {
				t.Errorf("%s is %s: %v", name, target, err)
			}
		}
	}
	archive := []tartest.Entry{tartest.Fifo("blobs/sha256/" + img.top.Digest.Encoded()), tartest.File("index.json", files["index.json"])}
	file := writeFile(t, filepath.Join(t.TempDir(), "x.tar"), string(tartest.Of(archive...)), 0o644)
	wantErr(t, newClient(t, Config{}), "oci-archive:"+file, errkind.NotFound)
}

// The digest that such a layout's image is known by can be used again.
func TestTheDigestOfALayoutOfPlatforms(t *testing.T) {
	img := newImage(digest.SHA256, layerA)
	entry := img.top
	entry.Platform = &ocispec.Platform{OS: "linux", Architecture: "amd64"}
	arm := newImage(digest.SHA256, layerB)
	other := arm.top
	other.Platform = &ocispec.Platform{OS: "linux", Architecture: "arm64"}
	for _, layout := range asLayout(t, []*ociImage{img, arm}, entry, other) {
		got := resolve(t, newClient(t, Config{}), layout)
		again := resolve(t, newClient(t, Config{}), layout+"@"+got.Digest.String())
		if again.ManifestDigest != img.top.Digest {
			t.Errorf("%s is %s", got.Digest, again.ManifestDigest)
		}
	}
}
