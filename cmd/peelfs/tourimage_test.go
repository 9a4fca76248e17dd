package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	tt "github.com/peelfs/peelfs/internal/tartest"
)

// tourDir is the layout that docs/tour.md walks through: a small web shop on a
// base shaped like Debian's, in two versions, the first for two platforms. It is
// kept as files, so that its digests do not change with compressors; delete it
// and run TestTour with -update to write it anew.
const tourDir = "../../testdata/tour"

var tourTime = time.Date(2024, 5, 17, 9, 30, 0, 0, time.UTC)

// step is one line of the history, and the layer that it made, if any.
type step struct {
	by    string
	layer []tt.Entry
}

func at(minutes int) tt.Option { return tt.MTime(tourTime.Unix()+int64(60*minutes), 0) }

func filler(word string, n int) string { return strings.Repeat(word+"\n", n/(len(word)+1)+1)[:n] }

// tourBase is what all images of the tour begin with.
func tourBase(arch string) []step {
	return []step{
		{"/bin/sh -c #(nop) ADD file:rootfs.tar in /", []tt.Entry{
			tt.Dir("./", at(0)), tt.Symlink("bin", "usr/bin", at(0)), tt.Symlink("lib", "usr/lib", at(0)),
			tt.Dir("etc/", at(0)), tt.File("etc/debian_version", "12.5\n", at(0)), tt.File("etc/hostname", "debian\n", at(0)),
			tt.Symlink("etc/os-release", "../usr/lib/os-release", at(0)),
			tt.File("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/usr/sbin/nologin\n", at(0)),
			tt.File("etc/shadow", "root:*:19000::::::\n", tt.Mode(0o640), tt.Owner(0, 42), at(0)),
			tt.Dir("tmp/", tt.Mode(0o1777), at(0)), tt.Dir("usr/bin/", at(0)),
			tt.File("usr/bin/dash", filler("dash for "+arch, 40_000), tt.Mode(0o755), at(0)), tt.Symlink("usr/bin/sh", "dash", at(0)),
			tt.File("usr/bin/passwd", filler("passwd", 60_000), tt.Mode(0o4755), at(0)),
			tt.File("usr/bin/chage", filler("chage", 30_000), tt.Mode(0o2755), tt.Owner(0, 42), at(0)),
			tt.File("usr/bin/perl", filler("perl", 300_000), tt.Mode(0o755), at(0)), tt.Link("usr/bin/perl5.36.0", "usr/bin/perl"),
			tt.File("usr/lib/os-release", "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\n", at(0)),
			tt.File("usr/share/doc/perl/copyright", filler("copyright", 5_000), at(0)), tt.File("usr/share/doc/dash/changelog", filler("change", 2_000), at(0)),
			tt.Dir("var/lib/apt/lists/", at(0)),
		}},
		{"/bin/sh -c #(nop)  CMD [\"sh\"]", nil},
		{"RUN /bin/sh -c apt-get update && apt-get install -y nginx iputils-ping", []tt.Entry{
			tt.File("etc/nginx/nginx.conf", "user www-data;\nworker_processes auto;\n", at(10)), tt.File("etc/nginx/mime.types", filler("text/html html;", 3_000), at(10)),
			tt.File("usr/sbin/nginx", filler("nginx", 500_000), tt.Mode(0o755), at(10)),
			tt.File("usr/bin/ping", filler("ping", 70_000), tt.Mode(0o755), at(10), tt.Xattr("security.capability", "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")),
			tt.File("var/lib/apt/lists/deb.debian.org_bookworm_Packages", filler("Package:", 900_000), at(10)),
		}},
	}
}

func tourImages() map[string][]step {
	shop := func(version string) []step {
		return []step{
			{"COPY shop /srv/shop", []tt.Entry{
				tt.File("srv/shop/app.js", "// shop "+version+"\n"+filler("sell();", 200_000), at(20)),
				tt.File("srv/shop/logo\n.svg", "<svg/>\n", at(20)), tt.File("srv/shop/settings.ini", "debug = no\n", at(20)),
			}},
			{"RUN /bin/sh -c chown -R www-data /srv/shop", []tt.Entry{
				tt.Dir("srv/shop/", tt.Owner(33, 33), at(21)),
				tt.File("srv/shop/app.js", "// shop "+version+"\n"+filler("sell();", 200_000), tt.Owner(33, 33), at(20)),
				tt.File("srv/shop/logo\n.svg", "<svg/>\n", tt.Owner(33, 33), at(20)), tt.File("srv/shop/settings.ini", "debug = no\n", tt.Owner(33, 33), at(20)),
			}},
			{"ENV SHOP=" + version, nil},
			{"RUN /bin/sh -c rm -rf /var/lib/apt/lists/* /usr/share/doc", []tt.Entry{
				tt.Dir("var/lib/apt/lists/", at(22)), tt.Opaque("var/lib/apt/lists"), tt.Whiteout("usr/share/doc"),
			}},
		}
	}
	second := append(shop("2"), step{"RUN /bin/sh -c tune", []tt.Entry{
		tt.File("srv/shop/settings.ini", "debug = yes\n", tt.Owner(33, 33), tt.Mode(0o666), at(30)),
		tt.File("etc/nginx/nginx.conf", "user www-data;\nworker_processes 4;\n", at(30)),
		tt.Whiteout("etc/nginx/mime.types"), tt.Symlink("etc/os-release", "../etc/my-release", at(30)), tt.File("etc/my-release", "ID=shop\n", at(30)),
		tt.File("usr/local/bin/backdoor", filler("hm", 900), tt.Mode(0o4755), at(30)),
	}})
	return map[string][]step{
		"1 amd64": append(tourBase("amd64"), shop("1")...), "1 arm64": append(tourBase("arm64"), shop("1")...),
		"2 amd64": append(tourBase("amd64"), second...),
	}
}

// writeTourImage writes the layout, unless it is there.
func writeTourImage(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(tourDir); err == nil {
		return
	}
	blob := func(mediaType string, data []byte) ocispec.Descriptor {
		d := digest.FromBytes(data)
		path := filepath.Join(tourDir, "blobs/sha256", d.Encoded())
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
			t.Fatal(err)
		}
		return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
	}
	asJSON := func(v any) []byte {
		data, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		return append(data, '\n')
	}
	manifest := func(steps []step, platform ocispec.Platform) ocispec.Descriptor {
		config := ocispec.Image{Created: &tourTime, Platform: platform, RootFS: ocispec.RootFS{Type: "layers"}}
		m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
		for i, s := range steps {
			created := tourTime.Add(time.Duration(10*i) * time.Minute)
			config.History = append(config.History, ocispec.History{Created: &created, CreatedBy: s.by, EmptyLayer: s.layer == nil})
			if s.layer == nil {
				continue
			}
			tar := tt.Of(s.layer...)
			config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(tar))
			m.Layers = append(m.Layers, blob(ocispec.MediaTypeImageLayerGzip, tt.Gzip(tar)))
		}
		m.Config = blob(ocispec.MediaTypeImageConfig, asJSON(config))
		d := blob(ocispec.MediaTypeImageManifest, asJSON(m))
		d.Platform = &platform
		return d
	}
	images := tourImages()
	linux := func(arch string) ocispec.Platform { return ocispec.Platform{OS: "linux", Architecture: arch} }
	named := func(d ocispec.Descriptor, name string) ocispec.Descriptor {
		d.Annotations, d.Platform = map[string]string{ocispec.AnnotationRefName: name}, nil
		return d
	}
	first := blob(ocispec.MediaTypeImageIndex, asJSON(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{manifest(images["1 amd64"], linux("amd64")), manifest(images["1 arm64"], linux("arm64"))},
	}))
	top := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{
		named(first, "1"), named(manifest(images["2 amd64"], linux("amd64")), "2"),
	}}
	for name, data := range map[string][]byte{"index.json": asJSON(top), "oci-layout": []byte("{\"imageLayoutVersion\": \"1.0.0\"}\n")} {
		if err := os.WriteFile(filepath.Join(tourDir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
