package image

import (
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

func TestFilesWithColons(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, name := range []string{"redis:7.tar", "a", "a:b", "a:b:c.tar", "ends:", "x%3Ay.tar", "both:1", "both%3A1", "50%off", "lay.tar"} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"lay", "lay:1", "lay.tar:", "lay.tar:/etc"} {
		if err := os.MkdirAll(name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for in, want := range map[string]struct{ path, tag string }{
		"docker-archive:redis:7.tar":               {"redis:7.tar", ""},
		"docker-archive:./redis:7.tar":             {"redis:7.tar", ""},
		"docker-archive:redis:7.tar:redis:7":       {"redis:7.tar", "redis:7"},
		"docker-archive:redis%3A7.tar:redis:7":     {"redis:7.tar", "redis:7"},
		"docker-archive:redis:7.tar@" + d64:        {"redis:7.tar", ""},
		"docker-archive:redis:7.tar:x:1@" + d64:    {"redis:7.tar", "x:1"},
		"docker-archive:a":                         {"a", ""},
		"docker-archive:a:b":                       {"a:b", ""}, // the longest, not the tag b of a
		"docker-archive:a:b:c.tar":                 {"a:b:c.tar", ""},
		"docker-archive:a:b:c.tar:d":               {"a:b:c.tar", "d"},
		"docker-archive:a:b:d":                     {"a:b", "d"},
		"docker-archive:a:c":                       {"a", "c"},
		"docker-archive:a%3Ab:d":                   {"a:b", "d"},
		"docker-archive:ends:":                     {"ends:", ""},
		"docker-archive:ends::t":                   {"ends:", "t"},
		"docker-archive:ends%3a:t":                 {"ends:", "t"},
		"docker-archive:nosuch:t:u":                {"nosuch", "t:u"},
		"docker-archive:nosuch%3At:u":              {"nosuch:t", "u"},
		"docker-archive:x%3Ay.tar":                 {"x%3Ay.tar", ""}, // there is no x:y.tar
		"docker-archive:x%253Ay.tar":               {"x%3Ay.tar", ""},
		"docker-archive:both:1":                    {"both:1", ""},
		"docker-archive:both%3A1":                  {"both:1", ""},
		"docker-archive:both%253A1":                {"both%3A1", ""},
		"docker-archive:50%off:t":                  {"50%off", "t"},
		"oci:lay:1":                                {"lay:1", ""}, // a directory
		"oci:lay:2":                                {"lay", "2"},
		"oci-archive:lay:1":                        {"lay", "1"}, // what is a directory is no archive
		"oci-archive:lay.tar:":                     {"lay.tar", ""},
		"oci:a:b":                                  {"a", "b"}, // what is a file is no layout
		"oci:lay.tar:":                             {"lay.tar:", ""},
		"docker-archive:" + dir + "/redis:7.tar:r": {"redis:7.tar", "r"},
	} {
		r, err := ParseReference(in)
		if err != nil || r.Path() != filepath.Join(dir, want.path) || r.Tag() != want.tag {
			t.Errorf("%s is %q, tag %q, %v", in, r.Path(), r.Tag(), err)
			continue
		}
		if again, err := ParseReference(r.String()); err != nil || again != r {
			t.Errorf("%s = %s, which is %q, tag %q, %v", in, r, again.Path(), again.Tag(), err)
		}
	}
}

// A relative name within a directory with a colon can be said in full.
func TestDirectoriesWithColons(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a:b%3Ac@"+d64)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	r, err := ParseReference("oci:layout:1")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ParseReference(r.String()); err != nil || again != r || r.Path() != filepath.Join(dir, "layout") {
		t.Errorf("%s is %q, %v", r, again.Path(), err)
	}
}

func TestEscapedNamesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		path := rapid.StringMatching(`[:%3A25a]{0,12}`).Draw(t, "path")
		if got := unescape.Replace(escape.Replace(path)); got != path {
			t.Fatalf("%q is %q and then %q", path, escape.Replace(path), got)
		}
	})
}
