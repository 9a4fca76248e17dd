//go:build interop

package interop

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The fixture in every form in which skopeo puts it into Debian's registry. The
// tree must be tree.jsonl in all of them.
func TestFixtureInEveryForm(t *testing.T) {
	layout := "oci:" + fixture + "/images"
	plain := "dir:" + t.TempDir()
	must(t, "skopeo", "copy", "-q", "--dest-decompress", layout+":gzip", plain)
	for _, form := range []struct {
		name, source string
		flags        []string
	}{
		{"gzip", layout + ":gzip", nil},
		{"zstd", layout + ":zstd", nil},
		{"uncompressed", plain, nil},
		{"schema2", layout + ":gzip", []string{"-f", "v2s2"}},
		{"estargz", layout + ":estargz", nil},
		{"estargz-inner", layout + ":estargz-inner", nil},
		{"zstdchunked", layout + ":zstdchunked", nil},
		{"zstdchunked-stargz", layout + ":zstdchunked-stargz", nil},
	} {
		t.Run(form.name, func(t *testing.T) {
			ref := lab.reg.push(t, form.source, "fixture/"+form.name+":1", form.flags...)
			b := newBox(t)
			dir := b.mount(ref)
			wantFixture(t, dir)
			b.umount(dir)
		})
	}
}

// The same image from files: no registry at all.
func TestFixtureFromFiles(t *testing.T) {
	path, err := filepath.Abs(fixture)
	if err != nil {
		t.Fatal(err)
	}
	for name, ref := range map[string]string{
		"oci layout":     "oci:" + path + "/images:gzip",
		"oci archive":    "oci-archive:" + path + "/oci-archive.tar",
		"docker archive": "docker-archive:" + path + "/docker-archive.tar.gz",
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			dir := b.mount(ref)
			wantFixture(t, dir)
			b.umount(dir)
		})
	}
}

// What umoci and overlayfs make of the fixture, object by object.
func TestFixtureAsPeersSeeIt(t *testing.T) {
	layout := fixture + "/images"
	ref := lab.reg.push(t, "oci:"+layout+":gzip", "fixture/peers:1")
	b := newBox(t)
	ours, _ := dump(t, b.mount(ref))
	facts := readFacts(t, "docker://"+ref, time.Now().Unix())
	t.Run("umoci", func(t *testing.T) {
		theirs, _ := dump(t, unpack(t, layout, "gzip"))
		compare(t, "umoci", ours, theirs, umociDeviations(facts))
	})
	t.Run("overlayfs", func(t *testing.T) {
		theirs, _ := dump(t, lab.podman.mount(t, ref))
		compare(t, "overlayfs", ours, theirs, overlayDeviations(facts, ours))
	})
}

// A real Debian root of three layers: mmdebstrap's, packages installed, and
// packages and files removed.
func TestDebianAsPeersSeeIt(t *testing.T) {
	started := time.Now().Unix()
	ref := buildDebian(t)
	b := newBox(t)
	mnt := b.mount(ref)
	ours, _ := dump(t, mnt)
	facts := readFacts(t, "docker://"+ref, started)
	t.Run("umoci", func(t *testing.T) {
		layout := filepath.Join(t.TempDir(), "layout")
		must(t, "skopeo", "copy", "-q", "--src-tls-verify=false", "docker://"+ref, "oci:"+layout+":1")
		theirs, _ := dump(t, unpack(t, layout, "1"))
		compare(t, "umoci", ours, theirs, umociDeviations(facts))
	})
	t.Run("overlayfs", func(t *testing.T) {
		theirs, _ := dump(t, lab.podman.mount(t, ref))
		compare(t, "overlayfs", ours, theirs, overlayDeviations(facts, ours))
	})
	t.Run("chroot", func(t *testing.T) {
		got := must(t, "chroot", mnt, "/bin/sh", "-c", "dpkg --print-architecture; . /etc/os-release; echo $ID; perl -e 'print 6*7'")
		if want := must(t, "dpkg", "--print-architecture") + "debian\n42"; got != want {
			t.Errorf("in the chroot: %q, want %q", got, want)
		}
	})
	t.Run("commands", func(t *testing.T) { useEveryCommand(t, mnt) })
}

// buildDebian makes the image with Debian's own tools and pushes it.
func buildDebian(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root.tar")
	must(t, "mmdebstrap", "-q", "--variant=minbase", "--include=ca-certificates", "bookworm", root, "http://deb.debian.org/debian")
	p := lab.podman
	c := p.run(t, "buildah", "from", "scratch")
	p.run(t, "buildah", "add", "-q", c, root, "/")
	p.run(t, "buildah", "commit", "-q", "--rm", c, "localhost/debian:1")
	if err := os.Remove(root); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ from, to, script string }{
		{"localhost/debian:1", "localhost/debian:2",
			"apt-get update -q && apt-get install -y -q --no-install-recommends iputils-ping file"},
		{"localhost/debian:2", "localhost/debian:3",
			"apt-get purge -y -q file && rm -rf /usr/share/doc /var/lib/apt/lists/* && chmod 700 /srv && " +
				"mkdir -p /opt/x && ln /usr/bin/env /opt/x/env && touch -d 1999-01-01 /opt/x"},
	} {
		c := p.run(t, "buildah", "from", step.from)
		p.run(t, "buildah", "run", c, "--", "sh", "-c", step.script)
		p.run(t, "buildah", "commit", "-q", "--rm", c, step.to)
	}
	ref := lab.reg.ref("debian:3")
	p.run(t, "skopeo", "copy", "-q", "--dest-tls-verify=false", "containers-storage:localhost/debian:3", "docker://"+ref)
	return ref
}
