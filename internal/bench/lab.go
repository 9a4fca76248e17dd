package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/peelfs/peelfs/internal/peers"
)

// lab is everything that a run of the benches has at hand.
type lab struct {
	options
	dir    string // temporary, on the disk of the cache
	reg    *peers.Registry
	podman *peers.Podman
	table  table
	many   *image
	big    *image
	warm   *session // with both images pulled; made when first needed
}

// An image is one of the two that are measured.
type image struct {
	name     string
	packages []string
	steps    []peers.Step
}

// The images. "many" has many small files: node modules, kernel headers, Go
// sources. "big" has large ones: Python with scipy and torch.
var (
	manyFiles = image{"bench/many:1", []string{"ca-certificates"}, []peers.Step{
		"apt-get update -q; apt-get install -y -q --no-install-recommends npm webpack eslint; apt-get clean",
		"apt-get install -y -q --no-install-recommends linux-headers-amd64 golang-src linux-doc-6.1; apt-get clean",
	}}
	bigFiles = image{"bench/big:1", []string{"ca-certificates"}, []peers.Step{
		"apt-get update -q; apt-get install -y -q --no-install-recommends python3-scipy; apt-get clean",
		"apt-get install -y -q --no-install-recommends python3-torch; apt-get clean",
	}}
)

// ref names an image in the registry, past the proxy that counts.
func (l *lab) ref(i *image) string { return l.reg.Backend() + "/" + i.name }

// start brings up registry and storage, and makes images that are missing.
func (l *lab) start(ctx context.Context) error {
	l.table.out = os.Stderr
	l.many, l.big = &manyFiles, &bigFiles
	if err := os.MkdirAll(l.cache, 0o755); err != nil {
		return err
	}
	var err error
	if l.dir, err = os.MkdirTemp(l.cache, "run-"); err != nil {
		return err
	}
	if l.reg, err = peers.StartRegistry(filepath.Join(l.cache, "registry")); err != nil {
		return err
	}
	if l.podman, err = peers.NewPodman(filepath.Join(l.dir, "containers")); err != nil {
		return err
	}
	for _, i := range []*image{l.many, l.big} {
		if err := l.provide(ctx, i); err != nil {
			return fmt.Errorf("making %s: %w", i.name, err)
		}
	}
	return nil
}

// provide builds and pushes an image that the registry does not have.
func (l *lab) provide(ctx context.Context, i *image) error {
	if _, err := l.manifest(ctx, i); err == nil {
		return nil
	}
	fmt.Fprintf(os.Stderr, "making %s from Debian packages, once; this takes minutes\n", i.name)
	built, err := l.podman.BuildDebian(ctx, "build", i.packages, i.steps...)
	if err != nil {
		return err
	}
	_, err = l.podman.Run(ctx, "skopeo", "copy", "-q", "--dest-tls-verify=false", "containers-storage:"+built, "docker://"+l.ref(i))
	return errors.Join(err, l.podman.Remove(ctx, built))
}

func (l *lab) close() {
	if l.warm != nil {
		l.warm.close()
	}
	if l.podman != nil {
		_ = l.podman.Close()
	}
	if l.reg != nil {
		l.reg.Close()
	}
	_ = os.RemoveAll(l.dir)
}

type manifest struct {
	Layers []struct {
		Digest string
		Size   int64
	}
}

func (m *manifest) size() (total int64) {
	for _, l := range m.Layers {
		total += l.Size
	}
	return total
}

// manifest reads an image's manifest from the registry.
func (l *lab) manifest(ctx context.Context, i *image) (*manifest, error) {
	body, err := l.get(ctx, i, "manifests", "1")
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var m manifest
	return &m, json.NewDecoder(body).Decode(&m)
}

// get asks the registry as a plain client does.
func (l *lab) get(ctx context.Context, i *image, kind, what string) (io.ReadCloser, error) {
	name, _, _ := strings.Cut(i.name, ":")
	url := fmt.Sprintf("http://%s/v2/%s/%s/%s", l.reg.Backend(), name, kind, what)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return resp.Body, nil
}

// median runs work as often as asked, with before in front of each run, which
// is not measured, and returns the median of the times.
func (l *lab) median(before, work func() error) (time.Duration, error) {
	return l.medianOf(func() (time.Duration, error) {
		if before != nil {
			if err := before(); err != nil {
				return 0, err
			}
		}
		started := time.Now()
		err := work()
		return time.Since(started), err
	})
}

// medianOf is the median of as many measurements as asked.
func (l *lab) medianOf(measure func() (time.Duration, error)) (time.Duration, error) {
	var times []time.Duration
	for range l.runs {
		d, err := measure()
		if err != nil {
			return 0, err
		}
		times = append(times, d)
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}

// forget makes the kernel drop clean caches: names and inodes, and with pages
// file contents too.
func forget(pages bool) error {
	level := "2"
	if pages {
		level = "3"
	}
	if err := exec.Command("sync").Run(); err != nil {
		return err
	}
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte(level), 0)
}

// sh runs a shell script whose output nobody needs.
func sh(ctx context.Context, script string, args ...string) error {
	_, err := peers.Run(ctx, nil, "sh", append([]string{"-c", script, "sh"}, args...)...)
	return err
}
