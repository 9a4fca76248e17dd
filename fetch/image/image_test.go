package image

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/peelfs/peelfs/internal/errkind"
)

const d64 = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestParseReference(t *testing.T) {
	t.Chdir(t.TempDir())
	dir := t.TempDir()
	for in, want := range map[string]string{
		"debian":                           "docker.io/library/debian:latest",
		"docker://debian:12":               "docker.io/library/debian:12",
		"docker.io/debian":                 "docker.io/library/debian:latest",
		"index.docker.io/ns/app":           "docker.io/ns/app:latest",
		"ns/app@" + d64:                    "docker.io/ns/app@" + d64,
		"ns/app:1@" + d64:                  "docker.io/ns/app:1@" + d64,
		"localhost/app":                    "localhost/app:latest",
		"localhost:5000/app:v1":            "localhost:5000/app:v1",
		"[::1]:5000/app":                   "[::1]:5000/app:latest",
		"reg.example/a/b/c__d":             "reg.example/a/b/c__d:latest",
		"oci:" + dir:                       "oci:" + dir,
		"oci:" + dir + "/:t":               "oci:" + dir + ":t",
		"oci:" + dir + ":r.example/a:1":    "oci:" + dir + ":r.example/a:1",
		"oci:" + dir + ":t@" + d64:         "oci:" + dir + ":t@" + d64,
		"oci:" + dir + "@" + d64:           "oci:" + dir + "@" + d64,
		"oci-archive:" + dir + "/x.tar":    "oci-archive:" + dir + "/x.tar",
		"docker-archive:" + dir + "/x:a:1": "docker-archive:" + dir + "/x:a:1",
		"docker-daemon:app":                "docker-daemon:docker.io/library/app:latest",
		"foo/bar_:1@" + d64:                "docker.io/foo/bar_:1@" + d64, // as docker 1.x had it
		dir:                                "oci:" + dir,
		dir + ":t":                         "oci:" + dir + ":t",
		dir + "/x.tar:a:1":                 "docker-archive:" + dir + "/x.tar:a:1",
		"docker://dir:x":                   "docker.io/library/dir:x",
	} {
		r, err := ParseReference(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if r.String() != want {
			t.Errorf("%s = %s, want %s", in, r, want)
		}
	}
	r, err := ParseReference("oci:rel:t")
	if err != nil || !strings.HasPrefix(r.Path(), "/") || !strings.HasSuffix(r.Path(), "/rel") || r.Tag() != "t" {
		t.Errorf("relative path: %s, %v", r, err)
	}
	for _, in := range []string{".", "./", "./.", "../" + filepath.Base(mustAbs(t, "."))} {
		if r, err := ParseReference(in); err != nil || r.Transport() != OCI || r.Path() != mustAbs(t, ".") || r.IsRegistry() {
			t.Errorf("%s: %s, %v", in, r, err)
		}
	}
	for _, in := range []string{"", "UPPER", "docker://", "a b", "app:", "app@sha256:12", "oci:", "oci-archive::t", "a//b",
		"http://x/y", "dir:/x", "dir:x", "containers-storage:x", "app\n", strings.Repeat("a", 5000)} {
		if r, err := ParseReference(in); !errkind.Is(err, errkind.Invalid) {
			t.Errorf("%q = %v, %v", in, r, err)
		}
	}
}

func mustAbs(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

func TestFamiliar(t *testing.T) {
	for in, want := range map[string]string{"debian": "debian:latest", "ns/a:1": "ns/a:1", "q.io/a": "q.io/a:latest",
		"docker.io/library/a@" + d64: "a@" + d64} {
		r, err := ParseReference(in)
		if err != nil || r.Familiar() != want {
			t.Errorf("%s: %s, %v", in, r.Familiar(), err)
		}
	}
}

func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"debian", "docker://a/b:1@" + d64, "oci:/x:y", "oci-archive:./x@" + d64, "docker-archive:a:b:c", "docker-daemon:x",
		"localhost:1/a", "oci:@:", "[::1]:5/a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseReference(s)
		if err != nil {
			if !errkind.Is(err, errkind.Invalid) {
				t.Errorf("%q: kind %v", s, errkind.Of(err))
			}
			return
		}
		again, err := ParseReference(r.String())
		if err != nil || again != r {
			t.Errorf("%q = %q, which is %q, %v", s, r, again, err)
		}
		if r.Domain() == "" && !strings.HasPrefix(r.Path(), "/") {
			t.Errorf("%q has the path %q", s, r.Path())
		}
	})
}

func TestPlatform(t *testing.T) {
	for in, want := range map[string]string{
		"linux/amd64": "linux/amd64", "x86_64": "linux/amd64", "linux/arm64/v8": "linux/arm64", "linux/arm": "linux/arm/v7",
		"linux/armel": "linux/arm/v6", "linux/amd64/v2": "linux/amd64/v2", "windows/amd64:10.0": "windows/amd64:10.0", "I386": "linux/386",
		"": FormatPlatform(DefaultPlatform()), "local": FormatPlatform(DefaultPlatform()),
	} {
		p, err := ParsePlatform(in)
		if err != nil || FormatPlatform(p) != want {
			t.Errorf("%q = %s, %v", in, FormatPlatform(p), err)
		}
		if again, err := ParsePlatform(FormatPlatform(p)); err != nil || FormatPlatform(again) != want {
			t.Errorf("%q does not survive: %v, %v", in, again, err)
		}
	}
	for _, in := range []string{"/", "linux/", "a/b/c/d", "linux/a b"} {
		if _, err := ParsePlatform(in); !errkind.Is(err, errkind.Invalid) {
			t.Errorf("%q: %v", in, err)
		}
	}
}
