package main

import (
	"bytes"
	"io"
	"log"
	"os"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"pgregory.net/rapid"

	"github.com/peelfs/peelfs/fetch"
	"github.com/peelfs/peelfs/internal/errkind"
)

const someDigest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestSplitRefPath(t *testing.T) {
	for _, c := range []struct{ in, ref, path string }{
		{"debian:bookworm:/etc", "debian:bookworm", "/etc"},
		{"debian:/", "debian", "/"},
		{"docker://debian:/etc/a:/b", "docker://debian", "/etc/a:/b"},
		{"localhost:5000/a/b:1:/x y", "localhost:5000/a/b:1", "/x y"},
		{"debian@" + someDigest + ":/etc", "debian@" + someDigest, "/etc"},
		{"oci:dir:tag:/p", "oci:dir:tag", "/p"},
		{"oci:/abs/dir:tag:/p", "oci:/abs/dir:tag", "/p"},
		{"oci:/abs/dir:/p", "oci:/abs/dir", "/p"},
		{"oci-archive:/a.tar:x:/p", "oci-archive:/a.tar:x", "/p"},
		{"docker-archive:/a.tar:localhost:5000/x:1:/p", "docker-archive:/a.tar:localhost:5000/x:1", "/p"},
		{"docker-daemon:debian:1:/p", "docker-daemon:debian:1", "/p"},
		{"0123456789ab:/etc", "0123456789ab", "/etc"},
		{"./layout:/etc", "./layout", "/etc"},
		{"/abs/image.tar:a:1:/etc", "/abs/image.tar:a:1", "/etc"},
	} {
		ref, path, ok := splitRefPath(c.in)
		if !ok || ref != c.ref || path != c.path {
			t.Errorf("%s: %q, %q, %v", c.in, ref, path, ok)
		}
	}
	for _, whole := range []string{"debian", "debian:bookworm", "docker://debian", "oci:/abs/dir", "oci:/abs/dir:tag", "oci:dir", "localhost:5000/x", "dir:/x", "containers-storage:a:/x"} {
		if ref, path, ok := splitRefPath(whole); ok || ref != whole {
			t.Errorf("%s: %q, %q", whole, ref, path)
		}
	}
}

// A file's name may have colons, and end in one.
func TestSplitRefPathOfFilesWithColons(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"redis:7.tar", "ends:"} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, ref := range []string{"docker-archive:redis:7.tar", "docker-archive:redis:7.tar:redis:7", "docker-archive:redis:7.tar@" + someDigest,
		"docker-archive:redis:7.tar:t@" + someDigest, "docker-archive:ends:", "docker-archive:ends::t", "docker-archive:redis%3A7.tar:t"} {
		got, path, ok := splitRefPath(ref + ":/etc/a:/b")
		if !ok || got != ref || path != "/etc/a:/b" {
			t.Errorf("%s: %q, %q, %v", ref, got, path, ok)
		}
		if got, _, ok := splitRefPath(ref); ok || got != ref {
			t.Errorf("%s alone: %q, %v", ref, got, ok)
		}
	}
}

// Whatever reference and path are put together come apart the same.
func TestSplitRefPathRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ref := rapid.StringMatching(`(docker://)?([a-z]{1,5}(:[0-9]{2,4})?/)?[a-z]{1,8}(/[a-z]{1,8})?(:[a-z0-9.-]{1,8})?|oci:/?[a-z]{1,5}(/[a-z]{1,5})?(:[a-z]{1,5})?|docker-archive:/[a-z]{1,5}(:[a-z]{1,5}:[0-9]{2}/[a-z]{1,5}:[a-z]{1,3})?`).Draw(t, "ref")
		path := rapid.StringMatching(`/[ -~]{0,20}`).Draw(t, "path")
		gotRef, gotPath, ok := splitRefPath(ref + ":" + path)
		if !ok || gotRef != ref || gotPath != path {
			t.Fatalf("%q and %q came apart as %q and %q", ref, path, gotRef, gotPath)
		}
	})
}

func FuzzSplitRefPath(f *testing.F) {
	for _, s := range []string{"debian:/etc", "oci:/a:b:/c", "docker://x", "oci:", ":/", "docker-archive:a:b:/c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, path, ok := splitRefPath(s)
		if !ok {
			if ref != s {
				t.Fatalf("%q became %q", s, ref)
			}
			return
		}
		if ref+":"+path != s || path[0] != '/' {
			t.Fatalf("%q came apart as %q and %q", s, ref, path)
		}
	})
}

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{
		"": 0, "0": 0, "123": 123, "5k": 5 << 10, "2GiB": 2 << 30, "1.5 MB": 1_500_000, "3t": 3 << 40, "7B": 7,
	} {
		if got, err := parseSize(in); err != nil || got != want {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
	for _, bad := range []string{"x", "-1", "1e99", "5 parsecs", "GiB", "NaN", "9999999999G"} {
		if got, err := parseSize(bad); !errkind.Is(err, errkind.Invalid) {
			t.Errorf("%q: %d, %v", bad, got, err)
		}
	}
}

func TestDirectoryName(t *testing.T) {
	for in, want := range map[string]string{
		"debian:bookworm": "debian-bookworm", "localhost:5000/a/b": "b-latest", "oci:/some/layout:1": "layout-1", "oci:/some/layout": "layout",
		"docker-archive:/x.tar:host:5000/y:2": "x.tar-host_5000_y_2", "debian@" + someDigest: "debian-0123456789ab", "oci:/a/..b:1": "b-1",
	} {
		ref, err := fetch.ParseReference(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := directoryName(ref); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestInRepository(t *testing.T) {
	const name = "docker.io/library/debian:12"
	for repo, want := range map[string]bool{
		"debian": true, "library/debian": true, "docker.io/library/debian": true, "debian:12": true,
		"debian:13": false, "deb": false, "debian:latest": false, "other": false, "Not A Name": false,
	} {
		if got := inRepository(name, repo); got != want {
			t.Errorf("%s: %v", repo, got)
		}
	}
}

func TestShorten(t *testing.T) {
	if got := shorten(" a\n  b ", false); got != "a b" {
		t.Errorf("%q", got)
	}
	long := strings.Repeat("é", 100)
	if got := shorten(long, false); len([]rune(got)) != 60 || !strings.HasSuffix(got, "...") {
		t.Errorf("%q", got)
	}
	if shorten(long, true) != long {
		t.Error("cut though it should not be")
	}
}

// Complaints of net/http about servers go to the log and not to the terminal.
func TestNoLinesOfLibraries(t *testing.T) {
	var raw, errs bytes.Buffer
	was := log.Writer()
	t.Cleanup(func() { log.SetOutput(was) })
	log.SetOutput(&raw)
	if code := newApp(nil, io.Discard, &errs, func(string) string { return "" }).run([]string{"version"}); code != 0 {
		t.Fatal(code, errs.String())
	}
	log.Print("Unsolicited response received on idle HTTP channel")
	if raw.Len() > 0 || errs.Len() > 0 {
		t.Errorf("%q, %q", &raw, &errs)
	}
}

// Loopback registries are asked for TLS when one of two defaults is given.
func TestDemandOfTLS(t *testing.T) {
	for args, want := range map[string]bool{
		"": false, "--plain-http": false, "--plain-http=false": true, "--tls-verify": true, "--tls-verify=true": true,
		"--tls-verify=false": false, "--plain-http --tls-verify=true": false,
	} {
		var f registryFlags
		set := pflag.NewFlagSet("", pflag.ContinueOnError)
		f.define(set)
		if err := set.Parse(strings.Fields(args)); err != nil || f.https() != want {
			t.Errorf("%q: %v, %v", args, f.https(), err)
		}
	}
}
