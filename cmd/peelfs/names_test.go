package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peelfs/peelfs/internal/testregistry"
)

// Names come with what is resolved, get others beside them, and go.
func TestNamesOfImages(t *testing.T) {
	d := appDesk(t)
	d.try([]call{
		{line: "images", out: []string{"REFERENCE"}},
		{line: "images --format json", out: []string{"[]\n"}},
		{line: "tag {1} mine:1", code: 3, diag: []string{"{1}"}},
		{line: "rmi {1}", code: 3, diag: []string{"{1}"}},
		{line: "pull -q {1}", out: []string{"{repo}@sha256:"}},
		{line: "tag {1} mine:1"},
		{line: "tag {1} Not/A:Name", code: 2, diag: []string{"Not/A:Name"}},
		{line: "images mine", out: []string{"mine:1"}},
		{line: "images other", out: []string{"REFERENCE"}},
		{line: "images --digests mine", out: []string{"DIGEST", "sha256:"}},
		{line: "cat --pull=never mine:1:/top", out: []string{"one\n"}},
		{line: "pull -q {2}", out: []string{"{repo}@sha256:"}},
		{line: "tag {2} mine:1", diag: []string{"mine:1 was sha256:", ", now sha256:"}},
		{line: "cat --pull=never mine:1:/top", out: []string{"two!\n"}},
		{line: "rmi mine:1", diag: []string{"forgot mine:1 (sha256:"}},
		{line: "rmi mine:1 {1}", code: 3, diag: []string{"mine:1", "forgot {1}"}},
		{line: "cat --pull=never {1}:/top", code: 3, diag: []string{"{1}"}},
		{line: "rmi", code: 2, diag: []string{"at least 1 argument"}},
		{line: "tag a b c", code: 2, diag: []string{"takes 2 arguments"}},
	})
}

func TestImagesAsJSON(t *testing.T) {
	d := appDesk(t)
	d.must("pull", d.expand("{1}"))
	d.must("tag", d.expand("{1}"), "mine:1")
	var rows []imageRow
	d.into(&rows, "images", "--format", "json", "mine")
	if len(rows) != 1 {
		t.Fatalf("%+v", rows)
	}
	r := rows[0]
	if r.Reference != "docker.io/library/mine:1" || r.Layers != 3 || r.Platform != "linux/amd64" || r.Size == 0 || r.Resolved.IsZero() || r.History == nil ||
		r.Digest != r.Manifest || !strings.HasPrefix(r.Config, "sha256:") || r.ID != strings.TrimPrefix(r.Digest, "sha256:") {
		t.Errorf("%+v", r)
	}
	// An id names it too, as long as it is one image's; all its names go with --force only.
	d.try([]call{
		{line: "cat --pull=never " + r.ID[:12] + ":/top", out: []string{"one\n"}},
		{line: "rmi " + r.ID[:12], code: 2, diag: []string{"has 2 names", "--force"}},
		{line: "rmi -f " + r.ID[:12], diag: []string{"forgot mine:1", "forgot {1}"}},
		{line: "images --format json", out: []string{"[]\n"}},
	})
}

// A tag that moved is remembered with what it was.
func TestImagesRememberWhatATagWas(t *testing.T) {
	d := newDesk(t)
	was := d.reg.Push("app:1", image("one"))
	d.must("pull", d.expand("{1}"))
	is := d.reg.Push("app:1", image("two"))
	d.must("pull", "--pull=always", d.expand("{1}"))
	var rows []imageRow
	d.into(&rows, "images", "--format", "json")
	if len(rows) != 1 || rows[0].Digest != is.Digest.String() || len(rows[0].History) != 1 || rows[0].History[0].Digest != was.Digest {
		t.Errorf("%+v", rows)
	}
}

func TestImportTags(t *testing.T) {
	d := newDesk(t)
	file := filepath.Join(t.TempDir(), "repositories-aufs")
	id := strings.Repeat("ab", 32)
	if err := os.WriteFile(file, []byte(`{"Repositories": {"debian": {"wheezy": "`+id+`", "bad tag!": "`+id+`"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	nonsense := filepath.Join(t.TempDir(), "nonsense")
	if err := os.WriteFile(nonsense, []byte("["), 0o600); err != nil {
		t.Fatal(err)
	}
	d.try([]call{
		{line: "import-tags " + file, out: []string{"debian:wheezy\n"}, diag: []string{"warning: left out", "bad tag!"}},
		{line: "images", out: []string{"debian:wheezy", id[:12], "?"}},
		{line: "import-tags /no/such/file", code: 3, diag: []string{"/no/such/file"}},
		{line: "import-tags " + nonsense, code: 2, diag: []string{nonsense}},
		{line: "import-tags", code: 2, diag: []string{"takes 1 argument"}},
	})
}

func TestTagsOfARegistry(t *testing.T) {
	d := appDesk(t)
	var tags []string
	if d.into(&tags, "tags", "--format", "json", d.expand("{repo}")); strings.Join(tags, " ") != "1 2" {
		t.Errorf("%q", tags)
	}
	d.try([]call{
		{line: "tags {repo}", out: []string{"1\n2\n"}},
		{line: "tags " + d.reg.Ref("nosuch"), code: 3, diag: []string{"nosuch"}},
		{line: "tags Not/A:Name", code: 2, diag: []string{"Not/A:Name"}},
	})
	d.reg.Fail(testregistry.Fault{Path: "/tags/list", Status: 403})
	d.try([]call{{line: "tags {repo}", code: 4, diag: []string{d.reg.Host}}})
}
