package archtest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/peelfs/peelfs/internal/errkind"
)

var (
	link     = regexp.MustCompile(`\]\(([^)#\s]+)(#[^)\s]*)?\)`)
	codePath = regexp.MustCompile("`((?:cmd|fusefs|layers|fetch|tagstore|internal|testdata|docs)/[A-Za-z0-9_./-]+)`")
	target   = regexp.MustCompile("`make ([a-z-]+)")
)

// Links, paths in code quotes and make targets in the documents point at things that
// exist.
func TestDocumentsPointAtThings(t *testing.T) {
	makefile := read(t, "Makefile")
	for _, doc := range find(t, ".md") {
		text := read(t, doc)
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(m[1], "://") {
				mustExist(t, doc, filepath.Join(filepath.Dir(doc), m[1]))
			}
		}
		for _, m := range codePath.FindAllStringSubmatch(text, -1) {
			mustExist(t, doc, strings.TrimSuffix(m[1], "."))
		}
		for _, m := range target.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(makefile, "\n"+m[1]+":") {
				t.Errorf("%s names `make %s`, which is not in the Makefile", doc, m[1])
			}
		}
	}
}

func mustExist(t *testing.T, doc, path string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(root, path)); err != nil {
		t.Errorf("%s points at %s, which does not exist", doc, path)
	}
}

// docs/cli.md promises exit codes; the code has them in one table.
func TestExitCodesAreAsDocumented(t *testing.T) {
	text := read(t, "docs/cli.md")
	for kind := errkind.Internal; kind <= errkind.Canceled; kind++ {
		row := fmt.Sprintf("| %d | %s |", kind.ExitCode(), kind)
		if !strings.Contains(text, row) {
			t.Errorf("docs/cli.md has no row %q", row)
		}
	}
}

// Every package is on the reader's map.
func TestReadingOrderIsComplete(t *testing.T) {
	text := read(t, "docs/reading-the-source.md")
	seen := map[string]bool{}
	for _, f := range sources(t) {
		if !seen[f.pkg] && !strings.Contains(text, "`"+f.pkg+"`") {
			t.Errorf("docs/reading-the-source.md does not name `%s`", f.pkg)
		}
		seen[f.pkg] = true
	}
}
