//go:build interop

package interop

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// podman keeps its images in a storage of its own below a temporary directory,
// with the kernel's overlayfs.
type podman struct {
	env []string
	dir string
}

const storageConf = `[storage]
driver = "overlay"
graphroot = %q
runroot = %q
`

func newPodman(dir string) (*podman, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "storage.conf")
	text := fmt.Sprintf(storageConf, filepath.Join(dir, "store"), filepath.Join(dir, "run"))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, err
	}
	policy := filepath.Join(dir, "policy.json")
	if err := os.WriteFile(policy, []byte(`{"default": [{"type": "insecureAcceptAnything"}]}`), 0o600); err != nil {
		return nil, err
	}
	return &podman{
		dir: dir,
		env: append(os.Environ(), "CONTAINERS_STORAGE_CONF="+conf, "BUILDAH_ISOLATION=chroot"),
	}, nil
}

func (p *podman) close() {
	_, _ = capture(context.Background(), p.env, "podman", "image", "umount", "-a", "-f")
	_, _ = capture(context.Background(), p.env, "umount", filepath.Join(p.dir, "store/overlay"))
	_ = os.RemoveAll(p.dir)
}

// run runs podman, buildah or skopeo on this storage.
func (p *podman) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := capture(t.Context(), p.env, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// mount pulls ref and mounts it with the kernel's overlayfs.
func (p *podman) mount(t *testing.T, ref string) string {
	t.Helper()
	p.run(t, "podman", "pull", "-q", "--tls-verify=false", ref)
	t.Cleanup(func() { p.run(t, "podman", "image", "umount", "-f", ref) })
	dir := p.run(t, "podman", "image", "mount", ref)
	// "podman image mount" prints the directory alone, or after the image's name.
	fields := strings.Fields(dir)
	if len(fields) == 0 {
		t.Fatalf("podman image mount %s printed nothing", ref)
	}
	return fields[len(fields)-1]
}

// unpack lets umoci unpack an image of an OCI layout and returns the root.
func unpack(t *testing.T, layout, name string) string {
	t.Helper()
	bundle := filepath.Join(t.TempDir(), "bundle")
	must(t, "umoci", "unpack", "--image", layout+":"+name, bundle)
	return filepath.Join(bundle, "rootfs")
}
