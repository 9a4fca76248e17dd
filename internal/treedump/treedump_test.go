package treedump

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"plain":         `"plain"`,
		"a\"b\\c\n\x01": `"a\"b\\c\n\u0001"`,
		"\xff\xc3x":     `"\udcff\udcc3x"`,
		"é":             `"\u00e9"`,
		"😀":             `"\ud83d\ude00"`,
		"\x7f":          "\"\x7f\"",
	} {
		if got := quote(in); got != want {
			t.Errorf("quote(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestDump(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"b/x": "one", "b.c": "two", "a": ""} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("b/x", filepath.Join(dir, "ln")); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Dump(dir, &out, Options{NoMtime: true, NoRoot: true}); err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		_, rest, _ := strings.Cut(line, `"path": "`)
		path, _, _ := strings.Cut(rest, `"`)
		paths = append(paths, path)
	}
	if got, want := strings.Join(paths, " "), "a b b/x b.c ln"; got != want {
		t.Errorf("order %q, want %q", got, want)
	}
	if !strings.Contains(out.String(), `"target": "b/x", "type": "symlink"`) {
		t.Errorf("no symlink line in\n%s", out.String())
	}
}

func TestDumpStopsAtWhatItCannotRead(t *testing.T) {
	if err := Dump(filepath.Join(t.TempDir(), "none"), new(bytes.Buffer), Options{}); err == nil {
		t.Error("a missing directory was dumped")
	}
}
