//go:build interop

package interop

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var documentedKey = regexp.MustCompile(`"([a-zA-Z]+)"`)

// mayLack are the keys that are there only where they mean something, which the
// images of this test do not show.
var mayLack = map[string]bool{"aliases": true, "comment": true, "commit": true, "error": true, "oldID": true, "replaced": true}

// keysOf are the keys that docs/cli.md promises for what stands at the beginning
// of a line of its table of JSON.
func keysOf(t *testing.T, name string) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n## JSON\n")
	lines := strings.Split(table, "\n")
	start := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, name+" ") || l == name })
	if start < 0 {
		t.Fatalf("docs/cli.md does not say what JSON %s prints", name)
	}
	end := start + 1
	for strings.HasPrefix(lines[end], "  ") {
		end++
	}
	var keys []string
	for _, m := range documentedKey.FindAllStringSubmatch(strings.Join(lines[start:end], " "), -1) {
		if !mayLack[m[1]] {
			keys = append(keys, m[1])
		}
	}
	return keys
}

// Each listing has the keys that are promised for it. Keys that a thing may lack
// are not looked for in the first one.
func TestDocumentedKeysExist(t *testing.T) {
	ref, _ := pushFixture(t)
	b := newBox(t)
	dir := b.mount(ref)
	if _, err := os.ReadFile(dir + "/back"); err != nil {
		t.Fatal(err)
	}
	repo, _, _ := strings.Cut(ref, ":1")
	for _, c := range []struct {
		name string
		args []string
	}{
		{"mounts", []string{"mounts"}},
		{"status", []string{"status", dir}},
		{"images", []string{"images"}},
		{"history", []string{"history", ref}},
		{"ls, tree, find", []string{"ls", ref + ":/back"}},
		{"stat", []string{"stat", ref + ":/usr/bin/tagged"}},
		{"which", []string{"which", ref, "/back"}},
		{"cache ls", []string{"cache", "ls"}},
		{"cache du", []string{"cache", "du"}},
		{"version", []string{"version"}},
		{"LAYER", []string{"inspect", "--layers", ref}},
		{"ENTRY", []string{"find", ref + ":/"}},
	} {
		out := b.peelfs(append(c.args, "--format", "json")...)
		if !json.Valid([]byte(out)) {
			t.Errorf("peelfs %s: not JSON: %s", strings.Join(c.args, " "), out)
		}
		for _, key := range keysOf(t, c.name) {
			if !strings.Contains(out, `"`+key+`"`) {
				t.Errorf("peelfs %s has no %q: %.600s", strings.Join(c.args, " "), key, out)
			}
		}
	}
	var tags []string
	if out := b.peelfs("tags", repo, "--format", "json"); json.Unmarshal([]byte(out), &tags) != nil || !slices.Contains(tags, "1") {
		t.Errorf("peelfs tags: %s", out)
	}
}
