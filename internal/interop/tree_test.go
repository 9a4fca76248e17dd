//go:build interop

package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/peelfs/peelfs/internal/treedump"
)

// A tree maps paths to objects as internal/treedump prints them.
type tree map[string]object

// An object maps "mode", "uid", "sha256" and so on to values, as JSON.
type object map[string]string

// dump reads a whole directory, every byte of every file.
func dump(t *testing.T, dir string) (tree, string) {
	t.Helper()
	var out bytes.Buffer
	if err := treedump.Dump(dir, &out, treedump.Options{}); err != nil {
		t.Fatal(err)
	}
	return parseTree(t, out.Bytes()), out.String()
}

func parseTree(t *testing.T, lines []byte) tree {
	t.Helper()
	result := tree{}
	for line := range bytes.Lines(lines) {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(line, &fields); err != nil {
			t.Fatal(err)
		}
		o := object{}
		for k, v := range fields {
			o[k] = string(v)
		}
		// The raw text, not the decoded string: names that are not UTF-8 differ there.
		path := strings.Trim(o["path"], `"`)
		delete(o, "path")
		result[path] = o
	}
	return result
}

func (o object) isDir() bool { return o["type"] == `"dir"` }

// A deviation is a known difference between what peelfs shows and what a peer
// makes of the same image, with the reason. It is granted for one field of one
// object at a time; everything else must be equal.
type deviation struct {
	reason string
	holds  func(path, field, ours, theirs string) bool
}

// compare reports every difference between the trees that no deviation covers.
func compare(t *testing.T, peer string, ours, theirs tree, known []deviation) {
	t.Helper()
	used := map[string]int{}
	failures := 0
	report := func(format string, args ...any) {
		if failures++; failures <= 20 {
			t.Errorf(format, args...)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(ours)) {
		if theirs[path] == nil {
			report("%s: %s does not have it", path, peer)
			continue
		}
		for _, field := range fieldsOf(ours[path], theirs[path]) {
			a, b := ours[path][field], theirs[path][field]
			if a == b {
				continue
			}
			if reason := excuse(known, path, field, a, b); reason != "" {
				used[reason]++
			} else {
				report("%s: %s is %s, and with %s %s", path, field, a, peer, b)
			}
		}
	}
	for _, path := range slices.Sorted(maps.Keys(theirs)) {
		if ours[path] == nil {
			report("%s: only %s has it", path, peer)
		}
	}
	if failures > 20 {
		t.Errorf("and %d more differences from %s", failures-20, peer)
	}
	for reason, n := range used {
		t.Logf("%s: %d times: %s", peer, n, reason)
	}
	t.Logf("%s: %d objects compared", peer, len(ours))
}

func fieldsOf(a, b object) []string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}

func excuse(known []deviation, path, field, ours, theirs string) string {
	for _, d := range known {
		if d.holds(path, field, ours, theirs) {
			return d.reason
		}
	}
	return ""
}

// wantFixture holds a mounted fixture against tree.jsonl, line by line.
func wantFixture(t *testing.T, dir string) tree {
	t.Helper()
	want, err := os.ReadFile(fixture + "/tree.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	got, text := dump(t, dir)
	if text == string(want) {
		return got
	}
	compare(t, "tree.jsonl", got, parseTree(t, want), nil)
	if !t.Failed() {
		t.Error("the same objects as in tree.jsonl, but not the same text: " + firstDifference(text, string(want)))
	}
	return got
}

func firstDifference(a, b string) string {
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(as), len(bs)) {
		if as[i] != bs[i] {
			return fmt.Sprintf("line %d: %s, want %s", i+1, as[i], bs[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(as), len(bs))
}
