//go:build interop

package interop

import (
	"context"
	"path/filepath"
	"testing"
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

// podman runs podman, buildah or skopeo on the lab's storage.
func podman(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := lab.podman.Run(t.Context(), name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
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

// buildDebian makes an image of three layers with Debian's own tools: what
// mmdebstrap installs, packages on top, and packages and files removed.
func buildDebian(t *testing.T) string {
	t.Helper()
	image, err := lab.podman.BuildDebian(t.Context(), "debian", []string{"ca-certificates"},
		"apt-get update -q; apt-get install -y -q --no-install-recommends iputils-ping file",
		"apt-get purge -y -q file; rm -rf /usr/share/doc /var/lib/apt/lists/*; chmod 700 /srv; "+
			"mkdir -p /opt/x; ln /usr/bin/env /opt/x/env; touch -d 1999-01-01 /opt/x")
	if err != nil {
		t.Fatal(err)
	}
	ref := lab.reg.Ref("debian:3")
	podman(t, "skopeo", "copy", "-q", "--dest-tls-verify=false", "containers-storage:"+image, "docker://"+ref)
	return ref
}
