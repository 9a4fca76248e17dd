package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/layers"
)

func TestCacheCommands(t *testing.T) {
	d := appDesk(t)
	d.try([]call{
		{line: "cache ls", out: []string{"DIGEST"}},
		{line: "cache ls --format json", out: []string{"[]\n"}},
		{line: "cache du", out: []string{"data of 0 layers", d.cache}},
		{line: "cache verify", out: []string{"0 B verified"}},
		{line: "cache prune", out: []string{"removed 0 B in 0 layers"}},
		{line: "cache prune --format json", out: []string{`"layers": []`, `"bytes": 0`, `"inUse": 0`}},
		{line: "cache pin {1}", out: []string{"{1}: 3 layers"}},
		{line: "cache unpin {repo}:no", code: 3, diag: []string{"{repo}:no"}},
		{line: "cache pin", code: 2, diag: []string{"at least 1 argument"}},
		{line: "cache ls x", code: 2, diag: []string{"takes no arguments"}},
		{line: "cache du x", code: 2, diag: []string{"takes no arguments"}},
		{line: "cache verify x", code: 2, diag: []string{"takes no arguments"}},
		{line: "cache prune x", code: 2, diag: []string{"takes no arguments"}},
		{line: "cache ls --format xml", code: 2, diag: []string{`format "xml"`}},
		{line: "cache verify --format xml", code: 2, diag: []string{`format "xml"`}},
		{line: "cache ls --cache-dir /dev/null/x", code: 12, diag: []string{"/dev/null"}},
	})
}

// listed are the layers of the cache, by their digests.
func (d *desk) listed() map[digest.Digest]cachedRow {
	d.t.Helper()
	var all []cachedRow
	d.into(&all, "cache", "ls", "--format", "json")
	out := map[digest.Digest]cachedRow{}
	for _, c := range all {
		out[c.Digest] = c
	}
	return out
}

// Prune removes what no name needs, keeps what is pinned, and says before what it
// would do.
func TestPruneKeepsWhatIsNamedOrPinned(t *testing.T) {
	d := appDesk(t)
	d.must("pull", d.expand("{1}"))
	d.must("pull", d.expand("{2}"))
	if n := len(d.listed()); n != 4 {
		t.Fatalf("%d layers, two of them shared", n)
	}
	var p prunedRow
	if d.into(&p, "cache", "prune", "--format", "json"); len(p.Layers) != 0 {
		t.Errorf("named layers were removed: %v", p)
	}
	d.must("rmi", d.expand("{2}"))
	d.into(&p, "cache", "prune", "--dry-run", "--format", "json")
	if len(p.Layers) != 1 || len(d.listed()) != 4 {
		t.Errorf("a dry run: %v, and %d layers are left", p, len(d.listed()))
	}
	d.must("cache", "pin", p.Layers[0].String())
	if !d.listed()[p.Layers[0]].Pinned {
		t.Error("it is not said to be pinned")
	}
	d.try([]call{{line: "cache prune", out: []string{"in 0 layers"}}})
	d.must("cache", "unpin", p.Layers[0].String())
	d.try([]call{{line: "cache prune --dry-run", out: []string{"would remove", "in 1 layers"}}, {line: "cache prune", out: []string{"removed", "in 1 layers"}}})
	if _, left := d.listed()[p.Layers[0]]; left {
		t.Error("it is still there")
	}
	d.try([]call{{line: "cache prune --all", out: []string{"in 3 layers"}}})
	if n := len(d.listed()); n != 0 {
		t.Errorf("%d layers are left", n)
	}
}

// With --data the indexes stay, and listing asks the registry for no layer.
func TestPruneOfData(t *testing.T) {
	d := appDesk(t)
	d.must("pull", d.expand("{1}"))
	var before, after usage
	d.into(&before, "cache", "du", "--format", "json")
	d.try([]call{{line: "cache prune --data", out: []string{"in 3 layers"}}})
	d.into(&after, "cache", "du", "--format", "json")
	if after.Layers != 3 || after.Data != 0 || after.Indexes != before.Indexes || before.Data < 100_000 || after.Directory != d.cache {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if before.Total != before.Data+before.Indexes+before.Other {
		t.Errorf("the sum is wrong: %+v", before)
	}
	for _, c := range d.listed() {
		if c.State != layers.Indexed || c.Data != 0 || c.Index == 0 || c.Format != "gzip" {
			t.Errorf("%+v", c)
		}
	}
	d.reg.Forget()
	d.must("ls", "-R", d.expand("{1}"))
	if n, _ := d.data(); n > 0 {
		t.Errorf("%d requests for blobs", n)
	}
}

// cacheFiles are the files of the layers in the cache whose names match.
func (d *desk) cacheFiles(pattern string) []string {
	d.t.Helper()
	files, err := filepath.Glob(filepath.Join(d.cache, "layers/*/*", pattern))
	if err != nil || len(files) == 0 {
		d.t.Fatalf("no file %s: %v", pattern, err)
	}
	return files
}

// Verify counts spans that have no checksum under a key of its own, and drops them;
// damage is a list and an exit code.
func TestVerifyAsJSON(t *testing.T) {
	d := newDesk(t)
	ref := d.reg.Ref("fixture:gzip")
	want := d.must("cat", ref+":/usr/share/text.bin")
	var v verified
	d.into(&v, "cache", "verify", "--format", "json")
	if v.Bytes == 0 || v.Unknown != 0 || v.Problems == nil || len(v.Problems) != 0 {
		t.Errorf("at first: %+v", v)
	}
	for _, sums := range d.cacheFiles("sums*") {
		if err := os.Truncate(sums, 0); err != nil {
			t.Fatal(err)
		}
	}
	d.into(&v, "cache", "verify", "--format", "json")
	if v.Unknown == 0 || len(v.Problems) != 0 {
		t.Errorf("without checksums: %+v", v)
	}
	if d.must("cat", ref+":/usr/share/text.bin") != want {
		t.Error("other content")
	}
	data := d.cacheFiles("data*")
	for _, path := range data {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range raw {
			raw[i] ^= 1
		}
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, diag, code := d.run("cache", "verify", "--format", "json")
	if code != 13 || !strings.Contains(out, `"problems": [`) || !strings.Contains(out, `"problem": "`) || !strings.Contains(diag, "the damage is removed") {
		t.Errorf("exit code %d: %s, %s", code, out, diag)
	}
	d.try([]call{{line: "cache verify", out: []string{"verified"}}})
	if d.must("cat", ref+":/usr/share/text.bin") != want {
		t.Error("other content after the damage")
	}
}

// The layers that were used least recently come first.
func TestCacheIsListedByUse(t *testing.T) {
	d := appDesk(t)
	d.must("pull", d.expand("{1}"))
	d.must("cat", d.expand("{1}")+":/big")
	var all []cachedRow
	d.into(&all, "cache", "ls", "--format", "json")
	if len(all) != 3 || !slices.IsSortedFunc(all, func(a, b cachedRow) int { return a.Used.Compare(b.Used) }) {
		t.Errorf("%+v", all)
	}
}
