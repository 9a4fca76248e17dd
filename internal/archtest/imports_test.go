package archtest

import (
	"slices"
	"strings"
	"testing"
)

// rooms are as docs/design.md draws them. Data flows one way, and so do
// imports: a room may import itself, the rooms named here, and internal/.
var rooms = map[string][]string{
	"cmd":      {"fetch", "fusefs", "layers", "tagstore"},
	"fusefs":   {"layers/view", "layers/index"},
	"layers":   nil,
	"fetch":    nil,
	"tagstore": nil,
}

// drivers are programs and test drivers under internal/: they use the rooms as cmd does.
// Everything else under internal/ is a small mechanism that knows nothing of
// the project but its error kinds.
var drivers = []string{"internal/archtest", "internal/demo", "internal/interop", "internal/bench", "internal/testregistryv1/serve"}

// testOnly are packages that exist for tests and drivers only.
var testOnly = []string{"internal/tartest", "internal/testregistry", "internal/testregistryv1", "internal/treedump", "internal/slownet", "internal/peers"}

func under(pkg string, folder string) bool {
	return pkg == folder || strings.HasPrefix(pkg, folder+"/")
}

func underAny(pkg string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return under(pkg, f) })
}

func room(pkg string) string {
	first, _, _ := strings.Cut(pkg, "/")
	return first
}

// allowed says whether code in from, test code if test, may import the
// project's package to.
func allowed(from, to string, test bool) bool {
	switch {
	case under(to, "cmd"):
		return under(from, "cmd")
	case underAny(from, drivers):
		return true
	case underAny(to, drivers):
		return false
	case underAny(to, testOnly):
		return test || underAny(from, testOnly)
	case room(from) == "internal":
		return to == "internal/errkind" || test && room(to) == "internal"
	case room(to) == "internal", room(from) == room(to):
		return true
	}
	return underAny(to, rooms[room(from)])
}

func TestImportsFlowOneWay(t *testing.T) {
	for _, f := range sources(t) {
		for _, spec := range f.ast.Imports {
			to, ours := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), module)
			if ours && !allowed(f.pkg, to, f.test) {
				t.Errorf("%s imports %s", f.path, to)
			}
		}
	}
}

// The table is about real rooms, and the rules refuse what they are for.
func TestImportRulesBite(t *testing.T) {
	for _, c := range []struct {
		from, to string
		test     bool
		want     bool
	}{
		{"layers", "fetch", false, false},
		{"fetch", "layers", false, false},
		{"layers/view", "fetch/registryv1", true, false},
		{"fusefs", "fetch", false, false},
		{"fusefs", "cmd/peelfs", true, false},
		{"internal/flock", "layers", false, false},
		{"layers", "internal/tartest", false, false},
		{"layers", "internal/tartest", true, true},
		{"fusefs", "layers/view", false, true},
		{"cmd/peelfs", "tagstore", false, true},
		{"internal/bench", "layers", false, true},
	} {
		if got := allowed(c.from, c.to, c.test); got != c.want {
			t.Errorf("allowed(%s -> %s, test %v) = %v", c.from, c.to, c.test, got)
		}
	}
}

// reserved are imports that only some places may have, by the prefix of their path.
var reserved = map[string][]string{
	"github.com/hanwen/go-fuse":      {"fusefs"},
	"github.com/spf13/cobra":         {"cmd"},
	"oras.land/oras-go":              {"fetch"},
	"github.com/ulikunitz/xz":        {"internal/tarstream"},
	"github.com/moby/sys/mountinfo":  {"fusefs", "cmd"},
	"github.com/google/flatbuffers":  {"layers", "fetch"},
	"github.com/distribution":        {"internal/imagename", "fetch/archive"},
	"github.com/google/go-container": {"internal", "fetch"},
	"unsafe":                         {"layers/spanfile", "fusefs"}, // atomic words in a shared mapping; names without copies
	"plugin":                         nil,
	"io/ioutil":                      nil,
}

func TestReservedImports(t *testing.T) {
	for _, f := range sources(t) {
		for _, spec := range f.ast.Imports {
			path := strings.Trim(spec.Path.Value, `"`)
			for prefix, places := range reserved {
				if strings.HasPrefix(path, prefix) && !f.test && !underAny(f.pkg, testOnly) && !underAny(f.pkg, places) {
					t.Errorf("%s imports %s, which is for %v", f.path, path, places)
				}
			}
		}
	}
}
