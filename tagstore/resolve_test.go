package tagstore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"
)

// fakeSource is a registry that has one image, or fails; it writes down what it
// was asked. An image that it gave once can be fetched locally.
type fakeSource struct {
	word string
	fail error
	have map[digest.Digest]Found
	log  []string
}

func (f *fakeSource) Head(context.Context) (digest.Digest, error) {
	f.log = append(f.log, "head")
	if f.fail != nil {
		return "", f.fail
	}
	return found(f.word).Digest, nil
}

func (f *fakeSource) Fetch(_ context.Context, d digest.Digest, local bool) (Found, error) {
	if local {
		f.log = append(f.log, "local")
	} else {
		f.log = append(f.log, "fetch")
	}
	if have, ok := f.have[d]; ok {
		return have, nil
	}
	if local {
		return Found{}, errkind.New(errkind.NotFound, "not here")
	}
	if f.fail != nil {
		return Found{}, f.fail
	}
	f.have[d] = found(f.word)
	return f.have[d], nil
}

func TestPolicies(t *testing.T) {
	down := errkind.New(errkind.Unavailable, "connection refused")
	denied := errkind.New(errkind.Denied, "401")
	for _, c := range []struct {
		policy Policy
		known  bool // the name was resolved to "old" before
		fail   error
		want   string // digest's word, or the kind of the error
		asked  string
		flags  string
	}{
		{Auto, false, nil, "new", "head fetch", "new"},
		{Auto, true, nil, "new", "head fetch", "moved"},
		{Auto, true, down, "old", "head local", "remembered unreachable"},
		{Auto, false, down, "unavailable", "head", ""},
		{Auto, true, denied, "denied", "head", ""},
		{Always, true, down, "unavailable", "head", ""},
		{Always, true, nil, "new", "head fetch", "moved"},
		{Missing, true, down, "old", "fetch", "remembered"},
		{Missing, true, nil, "old", "fetch", "remembered"},
		{Missing, false, nil, "new", "head fetch", "new"},
		{Never, true, down, "old", "local", "remembered"},
		{Never, false, nil, "not found", "", ""},
	} {
		t.Run(fmt.Sprint(c.policy, c.known, c.fail), func(t *testing.T) {
			s, clock := newStore(t)
			src := &fakeSource{word: "old", have: map[digest.Digest]Found{}}
			const name = "reg.example/app:1"
			if c.known {
				_, err := s.Resolve(t.Context(), known(s, name), Auto, src)
				must(t, err)
			}
			clock.advance(time.Hour)
			src.word, src.fail, src.log = "new", c.fail, nil
			out, err := s.Resolve(t.Context(), known(s, name), c.policy, src)
			got := ""
			if err != nil {
				got = errkind.Of(err).String()
			} else if got = "old"; out.Digest == dg("index new") {
				got = "new"
			}
			if got != c.want || strings.Join(src.log, " ") != c.asked || flags(out) != c.flags {
				t.Errorf("%s (%s) after %q, error %v", got, flags(out), src.log, err)
			}
			if out.Remembered && !out.Resolved.Equal(newClock().t) {
				t.Errorf("remembered as of %v", out.Resolved)
			}
		})
	}
}

// known is the record of a name as a caller of Resolve has it.
func known(s *Store, name string) Record {
	if r, err := s.Get(name); err == nil {
		return r
	}
	return Record{Name: name}
}

// A name given here means what it was given for, whatever registries have.
func TestResolveOfAGivenName(t *testing.T) {
	s, _ := newStore(t)
	src := &fakeSource{word: "a", have: map[digest.Digest]Found{}}
	_, err := s.Resolve(t.Context(), known(s, "reg.example/app:1"), Auto, src)
	must(t, err)
	r, err := s.Get("reg.example/app:1")
	must(t, err)
	for _, name := range []string{"reg.example/mine:1", "reg.example/again:1"} {
		_, err = s.Tag(t.Context(), r, name)
		must(t, err)
		r, err = s.Get(name)
		must(t, err)
		if r.Origin != "reg.example/app:1" {
			t.Errorf("origin %q", r.Origin)
		}
	}
	src.word, src.log = "b", nil
	out, err := s.Resolve(t.Context(), known(s, "reg.example/mine:1"), Auto, src)
	must(t, err)
	if out.Digest != dg("index a") || strings.Join(src.log, " ") != "fetch" {
		t.Errorf("%v after %q", out.Digest, src.log)
	}
	out, err = s.Resolve(t.Context(), known(s, "reg.example/mine:1"), Always, src)
	must(t, err)
	r, err = s.Get("reg.example/mine:1")
	must(t, err)
	if out.Digest != dg("index b") || r.Origin != "" {
		t.Errorf("%v, origin %q", out.Digest, r.Origin)
	}
}

func flags(o Outcome) string {
	var f []string
	for _, x := range []struct {
		on   bool
		name string
	}{{o.New, "new"}, {o.Was != "", "moved"}, {o.Remembered, "remembered"}, {o.Unreachable != nil, "unreachable"}, {o.Unsaved != nil, "unsaved"}} {
		if x.on {
			f = append(f, x.name)
		}
	}
	return strings.Join(f, " ")
}

func TestResolveWithoutAStore(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	s := Open(file, Options{})
	src := &fakeSource{word: "a", have: map[digest.Digest]Found{}}
	out, err := s.Resolve(t.Context(), known(s, "reg.example/app:1"), Auto, src)
	must(t, err)
	if flags(out) != "unsaved" {
		t.Errorf("%s", flags(out))
	}
}

func TestParsePolicy(t *testing.T) {
	for _, p := range []Policy{Auto, Always, Missing, Never} {
		if got, err := ParsePolicy(p.String()); err != nil || got != p {
			t.Errorf("%v: %v, %v", p, got, err)
		}
	}
	_, err := ParsePolicy("sometimes")
	wantKind(t, err, errkind.Invalid)
}
