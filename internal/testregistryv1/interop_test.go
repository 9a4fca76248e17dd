//go:build interop

package testregistryv1

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// npmClient is what an independent client is, from npm's registry.
const npmClient = "docker-registry-client@3.4.0"

// An independent client pulls the same bytes from our server as it holds: so the
// server and our own client do not merely agree with each other.
func TestNpmClient(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	run := func(t *testing.T, name string, args ...string) []byte {
		t.Helper()
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Dir = dir
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
		return out
	}
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("npm is not installed (Debian package npm)")
	}
	run(t, "npm", "install", "--prefix", dir, "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", npmClient)
	script, err := os.ReadFile("npm/pull.js")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pull.js"), script, 0o644); err != nil {
		t.Fatal(err)
	}
	images, err := FromLayout("../../testdata/fixture/images", "gzip", Gzip)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []Quirks{Python(), Contrib(), Ooyala(), Quay()} {
		t.Run(q.Name, func(t *testing.T) {
			s := New(NewStore(), q)
			s.Store.Put("foo/bar", "latest", images...)
			comparePull(t, images, run(t, "node", "pull.js", "http://"+s.Start(t)+"/foo/bar", "latest"), q)
		})
	}
}

func comparePull(t *testing.T, images []Image, out []byte, q Quirks) {
	t.Helper()
	var got struct {
		Images   []struct{ ID string }
		Tags     map[string]string
		Answer   any
		Ancestry []string
		JSON     []struct{ ID string }
		Layers   []struct {
			SHA256 string
			Size   int
		}
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	top := images[len(images)-1].ID
	if got.Tags["latest"] != top || len(got.Ancestry) != len(images) || got.Ancestry[0] != top || (len(got.Images) == 0) != q.EmptyImages {
		t.Fatalf("%s", out)
	}
	if q.Tags == TagString && got.Answer != top {
		t.Errorf("the tag alone: %v", got.Answer)
	}
	for i, l := range got.Layers {
		want := images[len(images)-1-i]
		sum := sha256.Sum256(want.Layer)
		if l.SHA256 != hex.EncodeToString(sum[:]) || l.Size != len(want.Layer) || got.JSON[i].ID != want.ID {
			t.Errorf("layer %d: %+v, JSON of %s", i, l, got.JSON[i].ID)
		}
	}
}
