//go:build interop

package interop

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// containerd is a containerd of the test's own, with ctr-remote to talk to it.
type containerd struct {
	t    *testing.T
	sock string
}

func startContainerd(t *testing.T) *containerd {
	t.Helper()
	for _, tool := range []string{"containerd", "ctr-remote"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%v; Debian's packages containerd and stargz-snapshotter have it", err)
		}
	}
	dir := t.TempDir()
	c := &containerd{t: t, sock: filepath.Join(dir, "sock")}
	config := filepath.Join(dir, "config.toml")
	text := "version = 2\nroot = \"" + dir + "/root\"\nstate = \"" + dir + "/state\"\n" +
		"disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"" + c.sock + "\"\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("containerd", "-c", config, "-l", "error")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // killed by the signal above, as it says
	})
	eventually(t, "containerd answers", func() bool {
		return exec.Command("ctr-remote", "-a", c.sock, "version").Run() == nil
	})
	return c
}

func (c *containerd) image(args ...string) {
	c.t.Helper()
	must(c.t, "ctr-remote", append([]string{"-a", c.sock, "image"}, args...)...)
}

// Layers that stargz-snapshotter's own program makes of the fixture are listed by
// their tables of contents and show the fixture.
func TestLayersMadeByStargzSnapshotter(t *testing.T) {
	c := startContainerd(t)
	dir := t.TempDir()
	archive := filepath.Join(dir, "fixture.tar")
	must(t, "skopeo", "copy", "-q", "oci:"+fixture+"/images:gzip", "oci-archive:"+archive+":1")
	c.image("import", "--no-unpack", "--base-name", "test.invalid/fixture", archive)
	for name, flags := range map[string][]string{
		"estargz":       {"--estargz"},
		"estargz-64k":   {"--estargz", "--estargz-chunk-size", "65536"},
		"estargz-gzip1": {"--estargz", "--estargz-compression-level", "1"},
		"zstdchunked":   {"--zstdchunked"},
	} {
		t.Run(name, func(t *testing.T) {
			source, target := "test.invalid/fixture:1", "test.invalid/fixture:"+name
			c.image(append(append([]string{"convert", "--oci"}, flags...), source, target)...)
			made := filepath.Join(dir, name+".tar")
			c.image("export", made, target)
			ref := push(t, "oci-archive:"+made, "stargz/"+name+":1")
			b := newBox(t)
			mnt := b.mount(ref)
			wantFixture(t, mnt)
			if table := b.peelfs("inspect", "--layers", ref); strings.Count(table, " toc ") != 2 {
				t.Errorf("two layers are large enough to be read by their tables of contents:\n%s", table)
			}
		})
	}
}
