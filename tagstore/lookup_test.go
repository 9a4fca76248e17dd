package tagstore

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/imagename"
)

// hexDigest is the digest that begins with prefix, zeros behind it.
func hexDigest(prefix string) digest.Digest {
	return digest.Digest("sha256:" + prefix + strings.Repeat("0", 64-len(prefix)))
}

// canonical is a query as a canonical name, "" if it is no name.
func canonical(query string) string {
	n, err := imagename.Parse(query)
	if err != nil {
		return ""
	}
	return n.String()
}

func lookupStore(t *testing.T) *Store {
	s, _ := newStore(t)
	put := func(name string, top, manifest, config string) {
		t.Helper()
		_, err := s.Set(t.Context(), name, Found{Digest: hexDigest(top), Source: "r", Image: Image{
			Platform: "linux/amd64", Manifest: hexDigest(manifest), Config: hexDigest(config)}})
		must(t, err)
	}
	put("docker.io/library/one:latest", "aaaa1", "bbbb1", "cccc1")
	put("docker.io/library/alias:1", "aaaa1", "bbbb1", "cccc1")
	put("docker.io/library/two:latest", "bbbb2", "bbbb2", "cccc2")
	put("docker.io/library/beef:latest", "dddd1", "dddd1", "eeee1")
	put("docker.io/library/other:latest", "beef", "beef", "eeee2")
	put("docker.io/library/both:1", "f1", "f2", "f3")
	put("docker.io/library/both:2", "f2", "f2", "f3")
	put("docker.io/library/only:3", "f5", "f4", "f6")
	put("docker.io/library/only@"+hexDigest("f4").String(), "f4", "f4", "f6")
	return s
}

func TestLookup(t *testing.T) {
	s := lookupStore(t)
	for _, c := range []struct {
		query string
		names string
		byID  bool
	}{
		{"one", "one:latest", false},
		{"docker.io/library/one:latest", "one:latest", false},
		{"one@" + hexDigest("aaaa1").String(), "one:latest", false},
		{"one@" + hexDigest("bbbb1").String(), "one:latest", false},
		{"alias:1@" + hexDigest("cccc1").String(), "alias:1", false},
		{"both@" + hexDigest("f2").String(), "both:2", false}, // what a name names, before what it has on some platform
		{"only:3@" + hexDigest("f4").String(), "only@" + hexDigest("f4").String(), false},
		{"aaaa", "alias:1 one:latest", true},
		{"bbbb1", "alias:1 one:latest", true},
		{"sha256:bbbb1", "alias:1 one:latest", true},
		{hexDigest("cccc2").Encoded(), "two:latest", true},
		{"cccc2", "two:latest", true},
		{"beef", "beef:latest", false}, // a name before an id
		{"beef0", "other:latest", true},
	} {
		m, err := s.Lookup(c.query, canonical(c.query))
		if err != nil {
			t.Errorf("%s: %v", c.query, err)
			continue
		}
		names := strings.ReplaceAll(strings.Join(m.Names, " "), "docker.io/library/", "")
		if names != c.names || m.ByID != c.byID {
			t.Errorf("%s: %s (by id: %v), want %s", c.query, names, m.ByID, c.names)
		}
	}
}

// The id of a layer, or of a parent image of old, is known for what it is; short
// ones may be names.
func TestLookupOfParts(t *testing.T) {
	s := lookupStore(t)
	parent := strings.Repeat("0123456789abcdef", 4)
	_, err := s.Set(t.Context(), "old.example/a:1", Found{Digest: hexDigest("abcd"), Source: "r", Image: Image{Platform: "linux/amd64",
		Manifest: hexDigest("abcd"), OldID: strings.Repeat("9", 64), Layers: []digest.Digest{"", ""},
		Aliases: []string{"v1:old.example/" + parent + ",size=5,sha256sum", "v1:old.example/" + strings.Repeat("9", 64)}}})
	must(t, err)
	_, err = s.Set(t.Context(), "docker.io/library/new:1", Found{Digest: hexDigest("abce"), Source: "r", Image: Image{Platform: "linux/amd64",
		Manifest: hexDigest("abce"), Layers: []digest.Digest{hexDigest("11"), hexDigest("1234567890abc")}}})
	must(t, err)
	for query, layer := range map[string]string{
		parent: "layer 0 of old.example/a:1", parent[:12]: "layer 0 of old.example/a:1", "1234567890abc": "layer 1 of docker.io/library/new:1",
		hexDigest("1234567890abc").String(): "layer 1 of docker.io/library/new:1",
	} {
		_, err := s.Lookup(query, canonical(query))
		if !errkind.Is(err, errkind.Invalid) || !strings.Contains(err.Error(), layer) || !strings.Contains(errkind.Hint(err), "--layers=") {
			t.Errorf("%s: %v, %q", query, err, errkind.Hint(err))
		}
	}
	for _, query := range []string{parent[:11], "1234567890ab0"} {
		if _, err := s.Lookup(query, canonical(query)); !errkind.Is(err, errkind.NotFound) {
			t.Errorf("%s: %v", query, err)
		}
	}
	if m, err := s.Lookup(strings.Repeat("9", 12), canonical(strings.Repeat("9", 12))); err != nil || !m.ByID {
		t.Errorf("the image itself: %v, %v", m, err)
	}
}

func TestLookupOfUnknown(t *testing.T) {
	s := lookupStore(t)
	for _, q := range []string{"three", "aaa", "ffff", "one@" + dg("x").String(), "two@" + hexDigest("aaaa1").String(), "No Name", ""} {
		_, err := s.Lookup(q, canonical(q))
		wantKind(t, err, errkind.NotFound)
	}
}

func TestLookupOfAmbiguousPrefix(t *testing.T) {
	_, err := lookupStore(t).Lookup("bbbb", canonical("bbbb"))
	wantKind(t, err, errkind.Invalid)
	var ambiguous *AmbiguousError
	if !errors.As(err, &ambiguous) || len(ambiguous.Candidates) != 2 {
		t.Fatalf("%v", err)
	}
	var names []string
	for _, c := range ambiguous.Candidates {
		names = append(names, c.Names...)
		if !strings.Contains(err.Error(), c.Image.ID()) {
			t.Errorf("candidate %s is not in the message: %v", c.Image.ID(), err)
		}
	}
	slices.Sort(names)
	if len(names) != 3 || !strings.Contains(err.Error(), "library/two:latest") {
		t.Errorf("%q in %v", names, err)
	}
}

const dockerFile = `{"Repositories":{
 "ubuntu":{"14.04":"5506de2b643be1e6febbf3b8a240760c6843244c41e12aa2f60ccbb7153d17f5","latest":"5506de2b643be1e6febbf3b8a240760c6843244c41e12aa2f60ccbb7153d17f5"},
 "host:5000/foo_":{"v1":"0123456789abcdef"},
 "new":{"x":"sha256:5506de2b643be1e6febbf3b8a240760c6843244c41e12aa2f60ccbb7153d17f5"},
 "bad":{"id":"nothex","":"0123456789abcdef"},
 "Bad Name":{"x":"0123456789abcdef"}}}`

func TestImport(t *testing.T) {
	s, _ := newStore(t)
	set(t, s, "docker.io/library/ubuntu:latest", "newer")
	out, err := s.Import(t.Context(), strings.NewReader(dockerFile), "repositories-aufs")
	must(t, err)
	if len(out.Added) != 3 || len(out.Known) != 1 || len(out.Rejected) != 3 {
		t.Fatalf("%+v", out)
	}
	m, err := s.Lookup("ubuntu:14.04", canonical("ubuntu:14.04"))
	must(t, err)
	if m.Record.Digest != "" || m.Image.OldID[:4] != "5506" || m.Record.Source != "repositories-aufs" {
		t.Errorf("%+v", m)
	}
	if m, err = s.Lookup("0123", canonical("0123")); err != nil || m.Names[0] != "host:5000/foo_:v1" {
		t.Errorf("%+v, %v", m, err)
	}
	if r, err := s.Get("docker.io/library/ubuntu:latest"); err != nil || r.Digest != dg("index newer") {
		t.Errorf("a name with a digest was overwritten: %+v, %v", r, err)
	}
	// Once a registry is asked, the name has a digest, and nothing moved.
	if c := set(t, s, "docker.io/library/ubuntu:14.04", "now"); c.Was != "" {
		t.Errorf("%+v", c)
	}
	for _, bad := range []string{"", "{}", `{"Repositories":3}`, "[]"} {
		_, err := s.Import(t.Context(), strings.NewReader(bad), "x")
		wantKind(t, err, errkind.Invalid)
	}
}

func FuzzParseDockerTags(f *testing.F) {
	f.Add([]byte(dockerFile))
	f.Fuzz(func(t *testing.T, data []byte) {
		if file, err := parseDockerTags(data); err == nil && file.Repositories == nil {
			t.Fatal("no repositories and no error")
		}
	})
}
