package blobcache

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"
)

func TestCache(t *testing.T) {
	dir := t.TempDir()
	c := New(dir)
	raw := []byte("{}")
	for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		d := alg.FromBytes(raw)
		if _, ok := c.Get(d, 100); ok || c.Has(d) {
			t.Error("an empty cache has it")
		}
		for range 2 {
			if err := c.Put(d, raw); err != nil {
				t.Fatal(err)
			}
		}
		if !c.Has(d) || c.Has("sha256:../../x") || (Cache{}).Has(d) {
			t.Error("it is not known what is there")
		}
		if got, ok := c.Get(d, 100); !ok || string(got) != "{}" {
			t.Errorf("got %q, %v", got, ok)
		}
		if _, ok := c.Get(d, 1); ok {
			t.Error("more than the limit was read")
		}
		file := filepath.Join(dir, "blobs", alg.String(), d.Encoded())
		if err := os.WriteFile(file, []byte("[]"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, ok := c.Get(d, 100); ok {
			t.Error("spoiled bytes were returned")
		}
		if _, err := os.Stat(file); !os.IsNotExist(err) {
			t.Errorf("spoiled bytes were left: %v", err)
		}
	}
	d := digest.FromBytes(raw)
	if err := c.Put(d, []byte("other")); !errkind.Is(err, errkind.Corrupt) {
		t.Errorf("other bytes: %v", err)
	}
	if err := c.Put("md5:900150983cd24fb0d6963f7d28e17f72", raw); !errkind.Is(err, errkind.Unsupported) {
		t.Errorf("unknown algorithm: %v", err)
	}
	if err := c.Put("sha256:../../x", raw); !errkind.Is(err, errkind.Corrupt) {
		t.Errorf("malformed digest: %v", err)
	}
	if err := New("").Put(d, raw); err != nil {
		t.Errorf("no cache: %v", err)
	}
	if err := New("/proc/nosuch").Put(d, raw); err != nil {
		t.Errorf("a cache that cannot be written fails its caller: %v", err)
	}
}
