//go:build interop

package interop

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peelfs/peelfs/internal/peers"
)

// layersOf lists the layer digests of an image in the registry, base first.
func layersOf(t *testing.T, ref string) []string {
	t.Helper()
	var manifest struct {
		Layers []struct{ Digest string }
	}
	raw := must(t, "skopeo", "inspect", "--raw", "--tls-verify=false", "docker://"+ref)
	if err := json.Unmarshal([]byte(raw), &manifest); err != nil {
		t.Fatal(err)
	}
	var digests []string
	for _, l := range manifest.Layers {
		digests = append(digests, l.Digest)
	}
	return digests
}

func pushFixture(t *testing.T) (ref string, layers []string) {
	ref = push(t, "oci:"+fixture+"/images:gzip", fmt.Sprintf("lazy/%s:1", strings.ToLower(t.Name())))
	return ref, layersOf(t, ref)
}

// A mount asks for the manifest and the config, and for nothing else.
func TestMountFetchesManifestAndConfig(t *testing.T) {
	ref, layers := pushFixture(t)
	b := newBox(t)
	_, mark := lab.reg.Requests(0)
	b.mount(ref)
	asked, _ := lab.reg.Requests(mark)
	counts := map[string]int{}
	for _, q := range asked {
		switch {
		case strings.Contains(q.Path, "/manifests/"):
			counts[q.Method+" manifest"]++
		case strings.Contains(q.Path, "/blobs/"):
			counts[q.Method+" blob"]++
		default:
			counts["other"]++
		}
	}
	if counts["GET manifest"] != 1 || counts["GET blob"] != 1 || counts["HEAD manifest"] > 1 || counts["other"] > 1 || counts["HEAD blob"] > 0 {
		t.Errorf("a mount asked for %v", asked)
	}
	for _, digest := range peers.Blobs(asked) {
		if slices.Contains(layers, digest) {
			t.Errorf("a mount fetched layer %s", digest)
		}
	}
}

// A file of the topmost layer costs that layer, once.
func TestTopFileFetchesTopLayer(t *testing.T) {
	ref, layers := pushFixture(t)
	b := newBox(t)
	dir := b.mount(ref)
	_, mark := lab.reg.Requests(0)
	for range 2 {
		if got, err := os.ReadFile(filepath.Join(dir, "back")); err != nil || string(got) != "again" {
			t.Fatalf("back: %q, %v", got, err)
		}
	}
	asked, mark := lab.reg.Requests(mark)
	if got, want := peers.Blobs(asked), layers[3:]; !slices.Equal(got, want) {
		t.Errorf("cat of a top-layer file fetched %v, want %v", got, want)
	}
	// A whiteout in the top layer decides as well, once the layer below has said
	// that there is such a directory: a marker alone does not make one.
	if _, err := os.Lstat(filepath.Join(dir, "app/mod000.py")); !os.IsNotExist(err) {
		t.Errorf("a whited-out file: %v", err)
	}
	asked, _ = lab.reg.Requests(mark)
	if got, want := peers.Blobs(asked), layers[2:3]; !slices.Equal(got, want) {
		t.Errorf("a whited-out name fetched %v, want %v", got, want)
	}
}

// Everything once; then nothing, whoever asks.
func TestNothingIsFetchedTwice(t *testing.T) {
	ref, layers := pushFixture(t)
	b := newBox(t)
	dir := b.mount(ref)
	_, mark := lab.reg.Requests(0)
	wantFixture(t, dir)
	asked, mark := lab.reg.Requests(mark)
	want := slices.Sorted(slices.Values(layers))
	if got := peers.Blobs(asked); !slices.Equal(got, want) {
		t.Errorf("a full walk fetched %v, want %v", got, want)
	}

	second := push(t, "oci:"+fixture+"/images:gzip", "lazy/another-name:1")
	_, mark = lab.reg.Requests(mark)
	wantFixture(t, b.mount(second))
	asked, _ = lab.reg.Requests(mark)
	for _, digest := range peers.Blobs(asked) {
		if slices.Contains(layers, digest) {
			t.Errorf("an image that shares all layers fetched %s again", digest)
		}
	}
}

// Two processes that mount the same cold image and walk it at once fetch each
// layer once between them.
func TestTwoProcessesFetchOnce(t *testing.T) {
	ref, layers := pushFixture(t)
	b := newBox(t)
	first, second := b.mount(ref), b.mount(ref)
	_, mark := lab.reg.Requests(0)
	walks := make(chan error)
	for _, dir := range []string{first, second} {
		go func() {
			_, err := peers.Finish(exec.CommandContext(t.Context(), "tar", "-C", dir, "-cf", "/dev/null", "--ignore-failed-read", "."))
			walks <- err
		}()
	}
	for range 2 {
		if err := <-walks; err != nil {
			t.Error(err)
		}
	}
	asked, _ := lab.reg.Requests(mark)
	want := slices.Sorted(slices.Values(layers))
	if got := peers.Blobs(asked); !slices.Equal(got, want) {
		t.Errorf("two processes fetched %v, want each of %v once", got, want)
	}
	wantFixture(t, first)
	wantFixture(t, second)
}

// Without a mount, only the layers that decide.
func TestCatFetchesTopLayer(t *testing.T) {
	ref, layers := pushFixture(t)
	b := newBox(t)
	_, mark := lab.reg.Requests(0)
	if got := b.peelfs("cat", ref+":/back"); got != "again" {
		t.Errorf("peelfs cat printed %q", got)
	}
	asked, _ := lab.reg.Requests(mark)
	for _, digest := range peers.Blobs(asked) {
		if slices.Contains(layers[:3], digest) {
			t.Errorf("cat of a top-layer file fetched %s", digest)
		}
	}
}

// pull takes everything; after it the registry may go.
func TestPullThenOffline(t *testing.T) {
	ref, _ := pushFixture(t)
	b := newBox(t)
	b.peelfs("pull", ref)
	lab.reg.Hide()
	defer show(t)
	wantFixture(t, b.mount(ref))
}

// The proxy in front of the registry is what the other tests believe.
func TestTheLogIsComplete(t *testing.T) {
	_, mark := lab.reg.Requests(0)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+lab.reg.Addr+"/v2/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("User-Agent", "peelfs-test")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if asked, _ := lab.reg.Requests(mark); len(asked) != 1 || resp.StatusCode != http.StatusOK {
		t.Errorf("status %d, log %v", resp.StatusCode, asked)
	}
}
