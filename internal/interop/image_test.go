//go:build interop

package interop

import (
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
		{"schema1", layout + ":gzip", []string{"-f", "v2s1"}},
		{"estargz", layout + ":estargz", nil},
		{"estargz-inner", layout + ":estargz-inner", nil},
		{"zstdchunked", layout + ":zstdchunked", nil},
		{"zstdchunked-stargz", layout + ":zstdchunked-stargz", nil},
	} {
		t.Run(form.name, func(t *testing.T) {
			ref := push(t, form.source, "fixture/"+form.name+":1", form.flags...)
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

// The mounted fixture is compared with the results of umoci and overlayfs, object by
// object.
func TestFixtureAsPeersSeeIt(t *testing.T) {
	layout := fixture + "/images"
	ref := push(t, "oci:"+layout+":gzip", "fixture/peers:1")
	b := newBox(t)
	ours, _ := dump(t, b.mount(ref))
	facts := readFacts(t, "docker://"+ref, time.Now().Unix())
	t.Run("umoci", func(t *testing.T) {
		theirs, _ := dump(t, unpack(t, layout, "gzip"))
		compare(t, "umoci", ours, theirs, umociDeviations(facts))
	})
	t.Run("overlayfs", func(t *testing.T) {
		theirs, _ := dump(t, overlay(t, ref))
		compare(t, "overlayfs", ours, theirs, overlayDeviations(facts, ours))
	})
}

// A real Debian root of three layers: mmdebstrap's, packages installed, and
// packages and files removed.
func TestDebianAsPeersSeeIt(t *testing.T) {
	image := sharedDebian(t)
	ref := image.ref
	b := newBox(t)
	mnt := b.mount(ref)
	ours, _ := dump(t, mnt)
	facts := readFacts(t, "docker://"+ref, image.started)
	t.Run("umoci", func(t *testing.T) {
		layout := filepath.Join(t.TempDir(), "layout")
		must(t, "skopeo", "copy", "-q", "--src-tls-verify=false", "docker://"+ref, "oci:"+layout+":1")
		theirs, _ := dump(t, unpack(t, layout, "1"))
		compare(t, "umoci", ours, theirs, umociDeviations(facts))
	})
	t.Run("overlayfs", func(t *testing.T) {
		theirs, _ := dump(t, overlay(t, ref))
		compare(t, "overlayfs", ours, theirs, overlayDeviations(facts, ours))
	})
	t.Run("chroot", func(t *testing.T) {
		got := must(t, "chroot", mnt, "/bin/sh", "-c", "dpkg --print-architecture; . /etc/os-release; echo $ID; awk 'BEGIN { print 6*7 }'")
		if want := must(t, "dpkg", "--print-architecture") + "debian\n42\n"; got != want {
			t.Errorf("in the chroot: %q, want %q", got, want)
		}
	})
	t.Run("commands", func(t *testing.T) { useEveryCommand(t, mnt) })
}
