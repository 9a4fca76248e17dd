//go:build interop

package interop

import (
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Failures before anything is mounted: each has its exit code, a message that names the
// thing, nothing on stdout, and nothing left mounted.
func TestRefusals(t *testing.T) {
	ref, _ := pushFixture(t)
	b := newBox(t)
	empty, full := b.mountpoint("empty"), b.mountpoint("full")
	busy := b.mount(ref)
	file := filepath.Join(b.dir, "file")
	for _, path := range []string{file, filepath.Join(full, "x")} {
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	closed := unusedAddress(t)
	for _, c := range []struct {
		what string
		args []string
		code int
		says string
	}{
		{"malformed reference", []string{"mount", lab.reg.Ref("UPPER/case:1"), empty}, 2, "UPPER"},
		{"unknown flag", []string{"mount", "--no-such-flag", ref, empty}, 2, "no-such-flag"},
		{"unknown command", []string{"no-such-command"}, 2, "no-such-command"},
		{"unknown name", []string{"mount", lab.reg.Ref("no/such:1"), empty}, 3, "no/such"},
		{"unknown tag", []string{"mount", strings.TrimSuffix(ref, ":1") + ":none", empty}, 3, "none"},
		{"unknown digest", []string{"mount", strings.TrimSuffix(ref, ":1") + "@sha256:" + strings.Repeat("0", 64), empty}, 3, "0000"},
		{"no registry", []string{"mount", closed + "/a:1", empty}, 5, closed},
		{"no such platform", []string{"mount", "--platform=plan9/mips", pushIndex(t, ref), empty}, 6, "linux/s390x"},
		{"missing mountpoint", []string{"mount", ref, filepath.Join(b.dir, "absent")}, 10, "absent"},
		{"mountpoint is a file", []string{"mount", ref, file}, 10, "file"},
		{"mountpoint not empty", []string{"mount", ref, full}, 10, "full"},
		{"mounted already", []string{"mount", ref, busy}, 10, busy},
		{"not a mount", []string{"umount", empty}, 10, empty},
		{"status of what is not a mount", []string{"status", empty}, 10, empty},
		{"no such file in the image", []string{"cat", ref + ":/no/such"}, 3, "no/such"},
		{"no such layout", []string{"mount", "oci:" + b.dir + "/absent:1", empty}, 3, "absent"},
	} {
		t.Run(c.what, func(t *testing.T) {
			out, err := b.try(c.args...)
			if exitCode(err) != c.code {
				t.Errorf("exit code %d, want %d: %v", exitCode(err), c.code, err)
			}
			if err != nil && !strings.Contains(err.Error()[strings.IndexByte(err.Error(), '\n')+1:], c.says) {
				t.Errorf("the message does not name %q: %v", c.says, err)
			}
			if out != "" {
				t.Errorf("on stdout: %q", out)
			}
			if isMounted(empty) {
				t.Error("something is mounted")
				forceUnmount(empty)
			}
		})
	}
	wantFixture(t, busy)
}

// unusedAddress is an address of loopback that nobody listens at.
func unusedAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// pushIndex puts an OCI index next to an image that lists it as one for another
// platform.
func pushIndex(t *testing.T, ref string) string {
	t.Helper()
	raw := must(t, "skopeo", "inspect", "--raw", "--tls-verify=false", "docker://"+ref)
	index := fmt.Sprintf(`{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
		{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:%x", "size": %d,
		 "platform": {"os": "linux", "architecture": "s390x"}}]}`, sha256.Sum256([]byte(raw)), len(raw))
	host, rest, _ := strings.Cut(ref, "/")
	name, _, _ := strings.Cut(rest, ":")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+host+"/v2/"+name+"/manifests/index", strings.NewReader(index))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/vnd.oci.image.index.v1+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("pushing an index: %s", resp.Status)
	}
	return host + "/" + name + ":index"
}
