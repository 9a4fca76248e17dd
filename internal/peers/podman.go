package peers

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Podman is podman, buildah and skopeo on a storage of their own, with the
// kernel's overlayfs.
type Podman struct {
	env []string
	dir string
}

const storageConf = `[storage]
driver = "overlay"
graphroot = %q
runroot = %q
`

// NewPodman makes an empty storage at dir, or takes the one that is there.
func NewPodman(dir string) (*Podman, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "storage.conf")
	text := fmt.Sprintf(storageConf, filepath.Join(dir, "store"), filepath.Join(dir, "run"))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return &Podman{dir: dir, env: append(os.Environ(), "CONTAINERS_STORAGE_CONF="+conf, "BUILDAH_ISOLATION=chroot")}, nil
}

// Dir is the folder that holds the storage.
func (p *Podman) Dir() string { return p.dir }

// Close unmounts everything and removes the storage.
func (p *Podman) Close() error {
	ctx := context.Background()
	_, _ = Run(ctx, p.env, "podman", "image", "umount", "-a", "-f")
	_, _ = Run(ctx, p.env, "umount", filepath.Join(p.dir, "store/overlay"))
	return os.RemoveAll(p.dir)
}

// Run runs podman, buildah or skopeo on this storage.
func (p *Podman) Run(ctx context.Context, name string, args ...string) (string, error) {
	out, err := Run(ctx, p.env, name, args...)
	return strings.TrimSpace(out), err
}

// Pull pulls ref over plain HTTP.
func (p *Podman) Pull(ctx context.Context, ref string) error {
	_, err := p.Run(ctx, "podman", "pull", "-q", "--tls-verify=false", ref)
	return err
}

// Mount mounts an image that is there with the kernel's overlayfs.
func (p *Podman) Mount(ctx context.Context, ref string) (string, error) {
	out, err := p.Run(ctx, "podman", "image", "mount", ref)
	if err != nil {
		return "", err
	}
	// The directory alone, or the image's name before it.
	fields := strings.Fields(out)
	if len(fields) == 0 {
		return "", fmt.Errorf("podman image mount %s printed nothing", ref)
	}
	return fields[len(fields)-1], nil
}

// Unmount undoes Mount.
func (p *Podman) Unmount(ctx context.Context, ref string) error {
	_, err := p.Run(ctx, "podman", "image", "umount", "-f", ref)
	return err
}

// Remove removes an image and the layers that no other needs.
func (p *Podman) Remove(ctx context.Context, ref string) error {
	_, err := p.Run(ctx, "podman", "rmi", "-f", ref)
	return err
}

// A Step is one layer of an image to build: a shell script, run in the image
// that the steps before it made.
type Step string

// BuildDebian makes an image of Debian's release bookworm, as mmdebstrap
// installs it with the packages named, and one more layer for each step. The
// result is in this storage as localhost/NAME.
func (p *Podman) BuildDebian(ctx context.Context, name string, packages []string, steps ...Step) (string, error) {
	root := filepath.Join(p.dir, "root.tar")
	defer os.Remove(root)
	args := []string{"-q", "--variant=minbase", "bookworm", root, "http://deb.debian.org/debian"}
	if len(packages) > 0 {
		args = append([]string{"--include=" + strings.Join(packages, ",")}, args...)
	}
	if _, err := Run(ctx, nil, "mmdebstrap", args...); err != nil {
		return "", err
	}
	c, err := p.Run(ctx, "buildah", "from", "scratch")
	if err != nil {
		return "", err
	}
	if _, err := p.Run(ctx, "buildah", "add", "-q", c, root, "/"); err != nil {
		return "", err
	}
	image := "localhost/" + name
	if err := p.commit(ctx, c, image); err != nil {
		return "", err
	}
	for _, step := range steps {
		c, err := p.Run(ctx, "buildah", "from", image)
		if err != nil {
			return "", err
		}
		if _, err := p.Run(ctx, "buildah", "run", c, "--", "sh", "-ec", string(step)); err != nil {
			return "", err
		}
		if err := p.commit(ctx, c, image); err != nil {
			return "", err
		}
	}
	return image, nil
}

func (p *Podman) commit(ctx context.Context, container, image string) error {
	_, err := p.Run(ctx, "buildah", "commit", "-q", "--rm", container, image)
	return err
}
