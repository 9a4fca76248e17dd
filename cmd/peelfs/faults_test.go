package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/internal/testregistry"
)

// Pieces of layers come out right from registries that do not do as they should,
// in every way of reading; or the command says that they are wrong, and the cache
// has none of them.
func TestReadingFromRegistriesThatMisbehave(t *testing.T) {
	faults := map[string]struct {
		fault testregistry.Fault
		lies  bool // what it sends is never right
	}{
		"no ranges":    {testregistry.Fault{IgnoreRange: true}, false},
		"cut":          {testregistry.Fault{Cut: true, After: 30_000, Times: 1}, false},
		"wrong once":   {testregistry.Fault{Flip: true, Times: 1}, false},
		"always wrong": {testregistry.Fault{Flip: true}, true},
	}
	for _, form := range []string{"gzip", "plain", "zstd", "estargz", "estargz-inner", "zstdchunked"} {
		d := newDesk(t)
		ref := d.reg.Ref("fixture:" + form)
		if form == "plain" { // no SOCI index beside it
			ref = d.reg.Ref("alone:1")
			d.reg.Push("alone:1", alone(t))
		}
		d.must("ls", "-lR", ref)
		want := d.must("cat", ref+":/usr/share/text.bin")
		for name, f := range faults {
			t.Run(form+"/"+name, func(t *testing.T) {
				d := &desk{t: t, reg: d.reg, cache: d.cache}
				d.must("cache", "prune", "--data")
				d.reg.Forget()
				f.fault.Path = "/blobs/"
				d.reg.Fail(f.fault)
				got, diag, code := d.run("cat", ref+":/usr/share/text.bin")
				d.reg.Mend()
				switch {
				case f.lies && (code != errkind.Corrupt.ExitCode() || !strings.Contains(diag, "of the blob") || !strings.HasPrefix(want, got)):
					t.Errorf("exit code %d, %d bytes: %s", code, len(got), diag)
				case !f.lies && (code != 0 || got != want):
					t.Errorf("exit code %d, %d bytes: %s", code, len(got), diag)
				}
				if n, _ := d.data(); n == 0 {
					t.Error("nothing was asked of the registry")
				}
				d.must("cache", "verify")
				if d.must("cat", ref+":/usr/share/text.bin") != want {
					t.Error("wrong content from a registry that is well again")
				}
			})
		}
	}
}

// alone is an image of several spans without any index.
func alone(t *testing.T) testregistry.Image {
	t.Helper()
	var text strings.Builder
	for i := 0; text.Len() < 3<<20; i++ {
		fmt.Fprintf(&text, "%x line %d\n", i*i*2654435761, i)
	}
	return testregistry.Image{Layers: testregistry.Layers(tartest.Of(tartest.File("usr/share/text.bin", text.String())))}
}
