package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peelfs/peelfs/internal/testregistry"
)

// A desk is a cache and a registry with the fixture, and peelfs run in this
// process.
type desk struct {
	t     *testing.T
	reg   *testregistry.Registry
	cache string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, reg: testregistry.New(t, testregistry.Options{}), cache: t.TempDir()}
	d.reg.PushLayout("fixture", "../../testdata/fixture/images")
	d.reg.Forget()
	return d
}

// run runs a command and returns its stdout, its stderr and its exit code.
func (d *desk) run(args ...string) (out, diag string, code int) {
	d.t.Helper()
	var stdout, stderr bytes.Buffer
	env := map[string]string{"PEELFS_CACHE": d.cache, "HOME": d.cache, "PEELFS_RUNTIME": filepath.Join(d.cache, "run")}
	a := newApp(strings.NewReader(""), &stdout, &stderr, func(name string) string { return env[name] })
	code = a.run(args)
	return stdout.String(), stderr.String(), code
}

func (d *desk) must(args ...string) string {
	d.t.Helper()
	out, diag, code := d.run(args...)
	if code != 0 {
		d.t.Fatalf("%s: exit code %d: %s", strings.Join(args, " "), code, diag)
	}
	return out
}

// data is what was asked of blobs since the last call: ranges and bytes.
func (d *desk) data() (requests int, n int64) {
	requests, n = d.reg.Count("GET", "/blobs/"), d.reg.Bytes("GET", "/blobs/")
	d.reg.Forget()
	return requests, n
}

// Once the indexes are here, looking costs no data, and a small file costs one
// request for one span.
func TestLookingIsCheap(t *testing.T) {
	for _, form := range []string{"estargz", "zstdchunked", "gzip"} {
		t.Run(form, func(t *testing.T) {
			d := newDesk(t)
			ref := d.reg.Ref("fixture:" + form)
			d.must("ls", "-lR", ref)
			_, listing := d.data()
			if form != "gzip" && listing > 400_000 {
				t.Errorf("the first listing took %d bytes", listing)
			}
			for _, args := range [][]string{
				{"ls", "-lR", ref}, {"tree", ref}, {"find", ref, "-perm", "/6000"}, {"stat", ref + ":/usr/bin/ping"}, {"which", ref, "/etc/os-release"},
				{"du", ref}, {"du", "--layers", ref}, {"top", ref}, {"history", ref}, {"inspect", "--layers", ref}, {"diff", ref, ref},
			} {
				d.must(args...)
				if n, bytes := d.data(); n > 0 {
					t.Errorf("%s: %d requests for %d bytes of blobs", args[0], n, bytes)
				}
			}
			if got := d.must("cat", ref+":/usr/share/small-03"); len(got) != 111 {
				t.Errorf("%d bytes", len(got))
			}
			if n, bytes := d.data(); n > 1 || bytes > 300_000 {
				t.Errorf("cat: %d requests for %d bytes", n, bytes)
			}
		})
	}
}

// Two images that share a layer are compared without reading what is in it.
func TestDiffReadsOnlyWhatMayDiffer(t *testing.T) {
	d := newDesk(t)
	d.reg.Push("app:1", image("one"))
	d.reg.Push("app:2", image("two"))
	d.must("ls", "-R", d.reg.Ref("app:1"))
	d.reg.Forget()
	out, diag, code := d.run("diff", d.reg.Ref("app:1"), d.reg.Ref("app:2"))
	if code != 1 || out != "C /top  content\n" || diag != "" {
		t.Errorf("%q, %q, exit code %d", out, diag, code)
	}
	if _, n := d.data(); n > 2000 {
		t.Errorf("%d bytes: more than the config and the one layer that is new", n)
	}
}
