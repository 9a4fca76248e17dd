package imagename

import (
	"strings"
	"testing"

	"github.com/peelfs/peelfs/internal/errkind"
)

const dig = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"debian": "docker.io/library/debian:latest", "u/r:1": "docker.io/u/r:1", "localhost:5000/a/b/c": "localhost:5000/a/b/c:latest",
		"debian@" + dig: "docker.io/library/debian@" + dig, "debian:1@" + dig: "docker.io/library/debian:1@" + dig,
		// docker 1.x alone:
		"foo/bar_": "docker.io/foo/bar_:latest", "old.example:5000/a..b:x": "old.example:5000/a..b:x", "_x": "docker.io/library/_x:latest",
		"foo/bar_@" + dig: "docker.io/foo/bar_@" + dig, "foo/bar_:1@" + dig: "docker.io/foo/bar_:1@" + dig, "index.docker.io/ab/c_": "docker.io/ab/c_:latest",
	} {
		n, err := Parse(in)
		if err != nil || n.String() != want {
			t.Errorf("%s: %s, %v", in, n, err)
		}
		if again, err := Parse(want); err != nil || again != n {
			t.Errorf("%s is not canonical: %+v, %v", want, again, err)
		}
	}
	for _, bad := range []string{"", "a/B", "a b", "a:b:c", "../x", "a//b", "x:", "foo/bar_:", "foo/bar_@sha256:1", strings.Repeat("a", 64)} {
		if n, err := Parse(bad); !errkind.Is(err, errkind.Invalid) {
			t.Errorf("%q: %v, %v", bad, n, err)
		}
	}
	for _, old := range []string{"foo/bar_", "a..b"} {
		if n, err := ParseStrict(old); err == nil {
			t.Errorf("%q may be given today: %v", old, n)
		}
	}
}

func TestCut(t *testing.T) {
	for in, want := range map[string]string{
		"debian": "docker debian", "docker://debian": "docker debian", "docker:5000/x": "docker docker:5000/x", "oci:/x:y": "oci /x:y",
		"oci-archive:a": "oci-archive a", "docker-archive:a:b": "docker-archive a:b", "docker-daemon:a": "docker-daemon a",
	} {
		if tr, rest := Cut(in); tr.Word+" "+rest != want {
			t.Errorf("%s: %s, %s", in, tr.Word, rest)
		}
	}
}

// The words of other tools are no names of images, unless they are said to be.
func TestForeign(t *testing.T) {
	for _, in := range []string{"dir:/x", "dir:x", "containers-storage:debian", "ostree:a@/b", "sif:x.sif"} {
		if err := Foreign(in); !errkind.Is(err, errkind.Invalid) || !strings.Contains(errkind.Hint(err), "oci-archive:") {
			t.Errorf("%s: %v, %q", in, err, errkind.Hint(err))
		}
	}
	if err := Foreign("https://reg.example/a:1"); !strings.HasSuffix(errkind.Hint(err), ": reg.example/a:1") {
		t.Errorf("%v, %q", err, errkind.Hint(err))
	}
	for _, in := range []string{"dir", "docker://dir:1", "sif/x:1", "oci:dir:x", "localhost:5000/dir:x"} {
		if err := Foreign(in); err != nil {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"debian", "a/b_:1@" + dig, "[::1]:5/a", "_"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := Parse(s)
		if err != nil {
			return
		}
		if again, err := Parse(n.String()); err != nil || again != n {
			t.Errorf("%q: %+v, then %+v, %v", s, n, again, err)
		}
	})
}
