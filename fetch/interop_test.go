//go:build interop

package fetch

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"
)

// dockerRegistry runs Debian's docker-registry and returns its address.
func dockerRegistry(t *testing.T, more string) string {
	t.Helper()
	bin, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Skip("docker-registry is not installed (Debian package docker-registry)")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	dir := t.TempDir()
	config := writeFile(t, filepath.Join(dir, "config.yml"), fmt.Sprintf(`version: 0.1
log: {level: error}
storage:
  filesystem: {rootdirectory: %s}
http: {addr: %q}
%s`, dir, addr, more), 0o644)
	cmd := exec.Command(bin, "serve", config)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 500 { // an answer is its only sign of life
		resp, err := http.Get("http://" + addr + "/v2/")
		if err == nil {
			resp.Body.Close()
			return addr
		}
		<-tick.C
	}
	cmd.Process.Kill()
	cmd.Wait()
	t.Fatalf("docker-registry does not answer: %s", stderr.String())
	return ""
}

// push copies the fixture into a registry with skopeo.
func push(t *testing.T, to string, args ...string) {
	t.Helper()
	bin, err := exec.LookPath("skopeo")
	if err != nil {
		t.Skip("skopeo is not installed")
	}
	args = append([]string{"copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"}, args...)
	out, err := exec.Command(bin, append(args, "oci:"+fixture+"/images:gzip", "docker://"+to)...).CombinedOutput()
	if err != nil {
		t.Fatalf("skopeo: %v: %s", err, out)
	}
}

func TestInteropDockerRegistry(t *testing.T) {
	addr := dockerRegistry(t, "")
	push(t, addr+"/ns/app:1")
	push(t, addr+"/ns/app:docker", "--format=v2s2")
	c := newClient(t, Config{CacheDir: t.TempDir()})
	want := resolve(t, c, "oci:"+fixture+"/images:gzip")
	for _, name := range []string{addr + "/ns/app:1", addr + "/ns/app:docker", addr + "/ns/app@" + want.Digest.String()} {
		img := resolve(t, c, name)
		for i, l := range img.Layers {
			data := readAll(t, l.Blob, 0, -1)
			if digest.FromBytes(data) != l.Descriptor.Digest || l.DiffID != want.Layers[i].DiffID {
				t.Errorf("%s: layer %d is wrong", name, i)
			}
			if got := readAll(t, l.Blob, 3, 5); !bytes.Equal(got, data[3:8]) {
				t.Errorf("%s: range of layer %d is wrong", name, i)
			}
		}
	}
	if tags, err := c.Tags(context.Background(), ref(t, addr+"/ns/app")); err != nil || len(tags) != 2 {
		t.Errorf("tags %v, %v", tags, err)
	}
	wantErr(t, c, addr+"/ns/app:2", errkind.NotFound, "docker")
	wantErr(t, c, addr+"/ns/nosuch", errkind.NotFound)
}

// joe is the line of htpasswd for the user joe with the password pw.
const joe = "joe:$2b$05$GMLLxG/nbuvrSdmpES8YVu2/hbet8totv4uPWniSUhM2R0g/R1rZa\n"

func TestInteropPassword(t *testing.T) {
	file := writeFile(t, filepath.Join(t.TempDir(), "htpasswd"), joe, 0o644)
	addr := dockerRegistry(t, fmt.Sprintf("auth: {htpasswd: {realm: \"a, b\", path: %q}}\n", file))
	push(t, addr+"/app:1", "--dest-creds=joe:pw")
	resolve(t, newClient(t, Config{Creds: "joe:pw"}), addr+"/app:1")
	wantErr(t, newClient(t, Config{Creds: "joe:no"}), addr+"/app:1", errkind.Denied, "--creds")
}
