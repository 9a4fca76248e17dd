//go:build interop

package interop

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// push copies source, in skopeo's words, to name in the registry.
func push(t *testing.T, source, name string, flags ...string) string {
	t.Helper()
	ref, err := lab.reg.Push(t.Context(), source, name, flags...)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// show makes a hidden registry reachable again.
func show(t *testing.T) {
	t.Helper()
	if err := lab.reg.Show(); err != nil {
		t.Fatal(err)
	}
}

// overlay pulls ref with podman and mounts it with the kernel's overlayfs.
func overlay(t *testing.T, ref string) string {
	t.Helper()
	if err := lab.podman.Pull(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	dir, err := lab.podman.Mount(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.podman.Unmount(context.WithoutCancel(t.Context()), ref); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// unpack lets umoci unpack an image of an OCI layout and returns the root.
func unpack(t *testing.T, layout, name string) string {
	t.Helper()
	bundle := filepath.Join(t.TempDir(), "bundle")
	must(t, "umoci", "unpack", "--image", layout+":"+name, bundle)
	return filepath.Join(bundle, "rootfs")
}

// debianImage is an image that was built for this run.
type debianImage struct {
	ref     string
	started int64 // seconds: nothing that a peer made for it is older
}

// debian is the image of Debian that the tests share, since it takes minutes to
// build. Whichever test asks first has it built.
var debian = sync.OnceValues(func() (debianImage, error) {
	made := debianImage{ref: lab.reg.Ref("debian:3"), started: time.Now().Unix()}
	ctx := context.Background()
	image, err := lab.podman.BuildDebian(ctx, "debian", []string{"ca-certificates"},
		"apt-get update -q; apt-get install -y -q --no-install-recommends iputils-ping file",
		"apt-get purge -y -q file; rm -rf /usr/share/doc /var/lib/apt/lists/*; chmod 700 /srv; "+
			"mkdir -p /opt/x; ln /usr/bin/env /opt/x/env; touch -d 1999-01-01 /opt/x")
	if err != nil {
		return debianImage{}, err
	}
	_, err = lab.podman.Run(ctx, "skopeo", "copy", "-q", "--dest-tls-verify=false", "containers-storage:"+image, "docker://"+made.ref)
	return made, err
})

// sharedDebian is the image of three layers that Debian's own tools made: what
// mmdebstrap installs, packages on top, and packages and files removed.
func sharedDebian(t *testing.T) debianImage {
	t.Helper()
	image, err := debian()
	if err != nil {
		t.Fatal(err)
	}
	return image
}
