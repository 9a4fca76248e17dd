package tagstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"pgregory.net/rapid"

	"github.com/peelfs/peelfs/internal/atomicfile"
	"github.com/peelfs/peelfs/internal/errkind"
)

// clock is a time that moves only when told to.
type clock struct{ t time.Time }

func newClock() *clock                   { return &clock{time.Date(2014, 10, 16, 12, 0, 0, 0, time.UTC)} }
func (c *clock) now() time.Time          { return c.t }
func (c *clock) advance(d time.Duration) { c.t = c.t.Add(d) }

func newStore(t testing.TB) (*Store, *clock) {
	c := newClock()
	return Open(filepath.Join(t.TempDir(), "tags"), Options{Now: c.now}), c
}

// dg makes the digest of a word.
func dg(word string) digest.Digest { return digest.FromString(word) }

func found(word string) Found {
	return Found{Digest: dg("index " + word), Source: "reg.example", Image: Image{
		Platform: "linux/amd64", Manifest: dg("manifest " + word), Config: dg("config " + word), Size: 1000, Layers: []digest.Digest{dg("base"), "", dg("layer " + word)},
	}}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func set(t testing.TB, s *Store, name, word string) Change {
	t.Helper()
	c, err := s.Set(t.Context(), name, found(word))
	must(t, err)
	return c
}

func wantKind(t testing.TB, err error, want errkind.Kind) {
	t.Helper()
	if !errkind.Is(err, want) {
		t.Fatalf("error %v, want one of kind %v", err, want)
	}
}

func TestSetGetMove(t *testing.T) {
	s, clock := newStore(t)
	const name = "reg.example/app:1"
	_, err := s.Get(name)
	wantKind(t, err, errkind.NotFound)

	if c := set(t, s, name, "a"); !c.New || c.Was != "" {
		t.Errorf("first: %+v", c)
	}
	clock.advance(time.Hour)
	if c := set(t, s, name, "a"); c.New || c.Was != "" {
		t.Errorf("same again: %+v", c)
	}
	clock.advance(time.Hour)
	if c := set(t, s, name, "b"); c.New || c.Was != dg("index a") {
		t.Errorf("moved: %+v", c)
	}
	r, err := s.Get(name)
	must(t, err)
	start := newClock().t
	if r.Digest != dg("index b") || !r.Resolved.Equal(start.Add(2*time.Hour)) || r.Source != "reg.example" {
		t.Errorf("record %+v", r)
	}
	want := Past{dg("index a"), start.Add(time.Hour), start.Add(2 * time.Hour)}
	if len(r.History) != 1 || r.History[0] != want {
		t.Errorf("history %+v, want %+v", r.History, want)
	}
	if len(r.Images) != 1 || r.Images[0].Manifest != dg("manifest b") {
		t.Errorf("images %+v", r.Images)
	}
}

func TestOneImageForEachPlatform(t *testing.T) {
	s, _ := newStore(t)
	for _, p := range []string{"linux/arm64", "linux/amd64", "linux/arm64"} {
		f := found("x")
		f.Image.Platform, f.Image.Manifest = p, dg(p)
		_, err := s.Set(t.Context(), "reg.example/app:1", f)
		must(t, err)
	}
	r, err := s.Get("reg.example/app:1")
	must(t, err)
	if len(r.Images) != 2 || r.Images[0].Platform != "linux/amd64" || r.Images[1].Manifest != dg("linux/arm64") {
		t.Errorf("images %+v", r.Images)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	s, _ := newStore(t)
	for i := range maxHistory + 5 {
		set(t, s, "reg.example/app:1", fmt.Sprint(i))
	}
	r, err := s.Get("reg.example/app:1")
	must(t, err)
	if len(r.History) != maxHistory || r.History[0].Digest != dg(fmt.Sprintf("index %d", maxHistory+3)) {
		t.Errorf("%d entries, first %v", len(r.History), r.History[0])
	}
}

func TestTagAndRemove(t *testing.T) {
	s, _ := newStore(t)
	set(t, s, "reg.example/app:1", "a")
	set(t, s, "reg.example/mine:1", "b")
	src, err := s.Get("reg.example/app:1")
	must(t, err)
	c, err := s.Tag(t.Context(), src, "reg.example/mine:1")
	must(t, err)
	if c.Was != dg("index b") {
		t.Errorf("%+v", c)
	}
	must(t, s.Remove(t.Context(), "reg.example/app:1"))
	wantKind(t, s.Remove(t.Context(), "reg.example/app:1"), errkind.NotFound)
	records, err := s.List()
	must(t, err)
	if len(records) != 1 || records[0].Name != "reg.example/mine:1" || records[0].Digest != dg("index a") {
		t.Errorf("%+v", records)
	}
}

func TestRoots(t *testing.T) {
	s, _ := newStore(t)
	set(t, s, "reg.example/app:1", "a")
	set(t, s, "reg.example/app:2", "a")
	roots, err := s.Roots()
	must(t, err)
	want := []digest.Digest{dg("index a"), dg("manifest a"), dg("config a"), dg("base"), dg("layer a")}
	slices.Sort(want)
	if !slices.Equal(roots, want) {
		t.Errorf("%v", roots)
	}
	must(t, os.WriteFile(filepath.Join(s.dir, namesDir, "broken"), []byte("{"), 0o600))
	if _, err := s.Roots(); err == nil {
		t.Error("roots of a damaged store were given as if they were all")
	}
}

// A record with any bit of any byte flipped is refused, or says the same.
func TestDamageIsNoticed(t *testing.T) {
	s, _ := newStore(t)
	const name = "reg.example/app:1"
	set(t, s, name, "a")
	set(t, s, "reg.example/other:1", "b")
	want, err := s.Get(name)
	must(t, err)
	path := filepath.Join(s.dir, namesDir, fileName(name))
	good, err := os.ReadFile(path)
	must(t, err)
	for i := range good {
		bad := slices.Clone(good)
		bad[i] ^= 1 << (i % 8)
		must(t, os.WriteFile(path, bad, 0o600))
		if r, err := s.Get(name); err == nil && fmt.Sprint(r) != fmt.Sprint(want) {
			t.Fatalf("byte %d flipped: %+v", i, r)
		}
	}
	for n := range good[:len(good)-1] {
		must(t, os.WriteFile(path, good[:n], 0o600))
		_, err := s.Get(name)
		wantKind(t, err, errkind.Corrupt)
	}
	records, err := s.List()
	if len(records) != 1 || err == nil {
		t.Errorf("beside a damaged record: %d records, error %v", len(records), err)
	}
	if c := set(t, s, name, "c"); !c.New { // and it can be written anew
		t.Errorf("%+v", c)
	}
}

func TestNewerFormatIsLeftAlone(t *testing.T) {
	s, _ := newStore(t)
	const name = "reg.example/app:1"
	set(t, s, name, "a")
	path := filepath.Join(s.dir, namesDir, fileName(name))
	newer := []byte(`{"version":2,"what":"ever"}`)
	must(t, os.WriteFile(path, newer, 0o600))
	_, err := s.Set(t.Context(), name, found("b"))
	wantKind(t, err, errkind.Unsupported)
	if got, _ := os.ReadFile(path); !bytes.Equal(got, newer) {
		t.Errorf("rewritten as %s", got)
	}
}

// A disk that fills up at any step and byte leaves the old record.
func TestFullDisk(t *testing.T) {
	s, _ := newStore(t)
	const name = "reg.example/app:1"
	set(t, s, name, "a")
	size := 0
	probe := *s
	probe.opts.Writer.Fault = func(step atomicfile.Step, n int) (int, error) { size = max(size, n); return n, nil }
	_, err := probe.Set(t.Context(), name, found("a"))
	must(t, err)
	for n := range size {
		full := *s
		full.opts.Writer.Fault = func(step atomicfile.Step, size int) (int, error) {
			if step == atomicfile.StepWrite {
				return min(n, size), syscall.ENOSPC
			}
			return size, nil
		}
		_, err := full.Set(t.Context(), name, found("b"))
		wantKind(t, err, errkind.LocalFull)
		r, err := s.Get(name)
		must(t, err)
		if r.Digest != dg("index a") {
			t.Fatalf("after %d bytes: %v", n, r.Digest)
		}
	}
}

// The store against a map, in random order.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "tagstore")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		s := Open(dir, Options{Now: newClock().now})
		model := map[string]digest.Digest{}
		name := rapid.SampledFrom([]string{"r/a:1", "r/a:2", "oci:/x y/~%z:1", "r/" + strings.Repeat("n", 300) + ":1"})
		word := rapid.SampledFrom([]string{"a", "b", "c"})
		ctx := context.Background()
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				n, w := name.Draw(t, "name"), word.Draw(t, "word")
				c, err := s.Set(ctx, n, found(w))
				was, had := model[n]
				if err != nil || c.New == had || (c.Was != "") != (had && was != dg("index "+w)) {
					t.Fatalf("%+v, %v", c, err)
				}
				model[n] = dg("index " + w)
			},
			"tag": func(t *rapid.T) {
				src, dst := name.Draw(t, "src"), name.Draw(t, "dst")
				r, err := s.Get(src)
				if (err == nil) != (model[src] != "") {
					t.Fatal(err)
				}
				if err != nil {
					return
				}
				if _, err := s.Tag(ctx, r, dst); err != nil {
					t.Fatal(err)
				}
				model[dst] = model[src]
			},
			"remove": func(t *rapid.T) {
				n := name.Draw(t, "name")
				err := s.Remove(ctx, n)
				if (err == nil) != (model[n] != "") {
					t.Fatal(err)
				}
				delete(model, n)
			},
			"": func(t *rapid.T) {
				records, err := s.List()
				if err != nil || len(records) != len(model) {
					t.Fatalf("%d records of %d, %v", len(records), len(model), err)
				}
				for _, r := range records {
					if model[r.Name] != r.Digest {
						t.Fatalf("%s is %s", r.Name, r.Digest)
					}
				}
			},
		})
	})
}

func TestStoreThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	s := Open(filepath.Join(file, "tags"), Options{})
	if _, err := s.Set(t.Context(), "reg.example/app:1", found("a")); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("%v", err)
	}
}

func FuzzDecode(f *testing.F) {
	good, err := encode(Record{Name: "r/a:1", Digest: dg("x"), Images: []Image{{Platform: "linux/amd64"}}})
	must(f, err)
	f.Add(good)
	f.Add([]byte(`{"version":1,"sum":"","record":{}}`))
	f.Add([]byte(`{"version":9}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decode(data)
		if err != nil {
			return
		}
		if r.check() != nil {
			t.Fatalf("accepted %+v", r)
		}
		again, err := encode(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decode(again); err != nil {
			t.Fatal(err)
		}
	})
}

func TestChanged(t *testing.T) {
	s, _ := newStore(t)
	if at, err := s.Changed(); !at.IsZero() || err != nil {
		t.Fatalf("an empty store: %v, %v", at, err)
	}
	changed := func(what string, change func()) {
		t.Helper()
		set(t, s, "reg.example/other:1", "other")
		past := time.Now().Add(-time.Hour)
		must(t, os.Chtimes(filepath.Join(s.dir, namesDir), past, past))
		change()
		if at, err := s.Changed(); !at.After(past) || err != nil {
			t.Errorf("%s is not told: %v, %v", what, at, err)
		}
	}
	changed("a new name", func() { set(t, s, "reg.example/a:1", "one") })
	changed("another digest", func() { set(t, s, "reg.example/a:1", "two") })
	changed("a name that goes", func() { must(t, s.Remove(t.Context(), "reg.example/a:1")) })
}
