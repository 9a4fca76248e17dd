package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/internal/testregistry"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A call is a command and all that it must do.
type call struct {
	line string   // the command; {1} stands for the image app:1 of the desk, {2} for app:2
	code int      // its exit code
	out  []string // parts of stdout; nil if it must be empty
	diag []string // parts of stderr; nil if it must be empty
}

// try runs calls one after the other.
func (d *desk) try(calls []call) {
	d.t.Helper()
	for _, c := range calls {
		line := d.expand(c.line)
		out, diag, code := d.run(strings.Fields(line)...)
		if code != c.code {
			d.t.Errorf("%s: exit code %d, want %d: %s", line, code, c.code, diag)
			continue
		}
		d.has(line+": stdout", out, c.out)
		d.has(line+": stderr", diag, c.diag)
	}
}

func (d *desk) expand(text string) string {
	return strings.NewReplacer("{1}", d.reg.Ref("app:1"), "{2}", d.reg.Ref("app:2"), "{repo}", d.reg.Ref("app")).Replace(text)
}

func (d *desk) has(what, got string, parts []string) {
	d.t.Helper()
	if parts == nil && got != "" {
		d.t.Errorf("%s: %q, want nothing", what, got)
	}
	for _, part := range parts {
		if !strings.Contains(got, d.expand(part)) {
			d.t.Errorf("%s: %q has no %q", what, got, d.expand(part))
		}
	}
}

// into reads the JSON that a command prints; keys that v does not have are an error.
func (d *desk) into(v any, args ...string) {
	d.t.Helper()
	decode(d.t, d.must(args...), v)
}

// appDesk is a desk with app:1 and app:2, which have two layers in common and a
// history with a step that made none.
func appDesk(t *testing.T) *desk {
	t.Helper()
	d := newDesk(t)
	for tag, word := range map[string]string{"1": "one", "2": "two!"} {
		d.reg.Push("app:"+tag, testregistry.Image{
			Layers: testregistry.Layers(
				tartest.Of(tartest.Dir("etc/"), tartest.File("etc/conf", "a=1\n"), tartest.File("big", strings.Repeat("0123456789", 10_000)),
					tartest.Dir("old/"), tartest.File("old/gone", strings.Repeat("x", 300))),
				tartest.Of(tartest.Dir("etc/"), tartest.File("etc/conf", "a=2\n", tartest.Mode(0o4750), tartest.Owner(5, 6), tartest.Xattr("user.k", "v")),
					tartest.Symlink("link", "etc/conf"), tartest.Link("etc/twin", "etc/conf"), tartest.Whiteout("old")),
				tartest.Of(tartest.File("top", word+"\n"), tartest.Fifo("pipe")),
			),
			History: []ocispec.History{{CreatedBy: "base"}, {CreatedBy: "RUN configure", Comment: "second"}, {CreatedBy: "ENV A=1", EmptyLayer: true}, {CreatedBy: "COPY top /"}},
		})
	}
	d.reg.Forget()
	return d
}

// decode reads JSON; keys that v does not have are an error.
func decode(t *testing.T, text string, v any) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
}
