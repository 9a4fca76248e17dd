package registryv1

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/peelfs/peelfs/fetch/transport/retry"
	"github.com/peelfs/peelfs/fetch/v1image"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/testregistryv1"
)

// resolveWith changes the JSON of image b of the chain a, b and resolves.
func resolveWith(t *testing.T, json string) error {
	t.Helper()
	images := chain("a", "b")
	srv := testregistryv1.New(testregistryv1.NewStore(), testregistryv1.Python())
	srv.Store.Put("foo/bar", "latest", images...)
	srv.Fail(id("b")+"/json", -1, testregistryv1.Fault{Status: 200, Body: json})
	_, err := session(t, srv.Start(t)).Resolve(t.Context(), "latest")
	return err
}

func TestAncestryAndParentsMustAgree(t *testing.T) {
	err := resolveWith(t, `{"id":"`+id("b")+`","parent":"`+id("c")+`"}`)
	wantKind(t, err, errkind.Corrupt, id("a"), id("b"), id("c"))
	err = resolveWith(t, `{"id":"`+id("c")+`"}`)
	wantKind(t, err, errkind.Corrupt, id("b"), id("c"))
	err = resolveWith(t, `[]`)
	wantKind(t, err, errkind.Corrupt, id("b"))
	if err := resolveWith(t, `{"id":"`+id("b")+`"}`); err != nil {
		t.Errorf("a parent that is left out: %v", err)
	}
}

func TestAncestryThatEndsTooEarly(t *testing.T) {
	srv := testregistryv1.New(testregistryv1.NewStore(), testregistryv1.Python())
	srv.Store.Put("foo/bar", "latest", chain("a", "b")...)
	s := session(t, srv.Start(t))
	for body, words := range map[string][]string{
		`["` + id("b") + `"]`: {id("b"), id("a")},
		`["` + id("a") + `"]`: {"begin"},
		`[]`:                  {"begin"},
		`{}`:                  {"list"},
		`["` + id("b") + `","` + id("a") + `","` + id("b") + `"]`: {"twice"},
		`["` + id("b") + `"` + strings.Repeat(`,"x"`, 2000) + `]`: {"2001 layers"},
	} {
		srv.Mend()
		srv.Fail("ancestry", -1, testregistryv1.Fault{Status: 200, Body: body})
		_, err := s.Resolve(t.Context(), "latest")
		if !errkind.Is(err, errkind.Corrupt) && !errkind.Is(err, errkind.Unsupported) {
			t.Errorf("%.80s: %v", body, err)
			continue
		}
		wantKind(t, err, errkind.Of(err), words...)
	}
}

func TestShortIdentifiers(t *testing.T) {
	short := strings.Repeat("0f", 8)
	json := []byte(`{"id":"` + short + `"}`)
	img := testregistryv1.Image{ID: short, JSON: json, Layer: []byte("some layer"), Checksums: []string{testregistryv1.PayloadChecksum(json, []byte("some layer"))}}
	_, s := single(t, testregistryv1.Python(), img)
	pull(t, s, []testregistryv1.Image{img})
}

func TestImageBeingUploaded(t *testing.T) {
	images := chain("a", "b")
	srv := testregistryv1.New(testregistryv1.NewStore(), testregistryv1.Python())
	srv.Store.Put("foo/bar", "latest", images...)
	srv.Store.Change(id("b"), func(i *testregistryv1.Image) { i.Done = false })
	waited := 0
	s := session(t, srv.Start(t), func(o *Options) {
		o.Policy.Sleep = func(context.Context, time.Duration) error {
			if waited++; waited == 2 {
				srv.Store.Change(id("b"), func(i *testregistryv1.Image) { i.Done = true })
			}
			return nil
		}
	})
	pull(t, s, images)
	if waited != 2 {
		t.Errorf("waited %d times", waited)
	}
}

func TestRetriesAreBounded(t *testing.T) {
	for name, c := range map[string]struct {
		fault    testregistryv1.Fault
		kind     errkind.Kind
		requests int
	}{
		"uploading":  {testregistryv1.Fault{Status: 400, Body: `{"error": "Image is being uploaded, retry later"}`}, errkind.Unavailable, 4},
		"5xx":        {testregistryv1.Fault{Status: 500}, errkind.Unavailable, 4},
		"closed":     {testregistryv1.Fault{Close: true}, errkind.Unavailable, 4},
		"other 400":  {testregistryv1.Fault{Status: 400, Body: `{"error": "no"}`}, errkind.Unsupported, 1},
		"missing":    {testregistryv1.Fault{Status: 404}, errkind.NotFound, 1},
		"denied":     {testregistryv1.Fault{Status: 403}, errkind.Denied, 2},
		"long pause": {testregistryv1.Fault{Status: 429, Header: map[string]string{"Retry-After": "3600"}}, errkind.Unavailable, 1},
		"pause":      {testregistryv1.Fault{Status: 429, Header: map[string]string{"Retry-After": "7"}}, errkind.Unavailable, 4},
	} {
		srv := testregistryv1.New(testregistryv1.NewStore(), testregistryv1.Python())
		srv.Store.Put("foo/bar", "latest", chain("a")...)
		p := &pauses{}
		s := session(t, srv.Start(t), func(o *Options) { o.Policy = retry.Policy{Attempts: 4, Sleep: p.sleep, Budget: 25 * time.Second} })
		if _, err := s.Repository(t.Context()); err != nil {
			t.Fatal(err)
		}
		srv.Fail("ancestry", -1, c.fault)
		_, err := s.Ancestry(t.Context(), id("a"))
		wantKind(t, err, c.kind)
		n := srv.Count("ancestry")
		if c.fault.Close {
			n = len(p.all) + 1 // net/http repeats by itself what a kept connection did not answer
		}
		if n != c.requests {
			t.Errorf("%s: %d requests, want %d", name, n, c.requests)
		}
		for _, d := range p.all {
			if name == "pause" && d != 7*time.Second || d > 8*time.Second {
				t.Errorf("%s: pause of %v", name, d)
			}
		}
	}
}

// Every route may ask for patience as often as the policy allows: what one took
// does not count against the next.
func TestEachRouteMayBeBusy(t *testing.T) {
	images := chain("a", "b")
	srv := testregistryv1.New(testregistryv1.NewStore(), testregistryv1.Python())
	srv.Store.Put("foo/bar", "latest", images...)
	busy := testregistryv1.Fault{Status: 429, Header: map[string]string{"Retry-After": "10"}}
	for _, route := range []string{"/_ping", "/foo/bar/images", "/tags/latest", "/ancestry", "/json", "/layer"} {
		srv.Fail(route, 5, busy)
	}
	pull(t, session(t, srv.Start(t)), images)
	for _, route := range []string{"/_ping", "/foo/bar/images", "/tags/latest", "/ancestry"} {
		if n := srv.Count(route); n != 6 {
			t.Errorf("%s: %d requests", route, n)
		}
	}
}

func TestManifestRoundTrip(t *testing.T) {
	images := chain("a", "b")
	srv := testregistryv1.New(testregistryv1.NewStore(), testregistryv1.Python())
	srv.Store.Put("foo/bar", "latest", images...)
	s := session(t, srv.Start(t))
	one, err := s.Resolve(t.Context(), "latest")
	if err != nil {
		t.Fatal(err)
	}
	two, err := s.Resolve(t.Context(), "latest")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := one.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := two.Encode(); err != nil || !bytes.Equal(raw, again) {
		t.Errorf("two resolutions differ: %v", err)
	}
	back, err := ParseManifest(raw)
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range back.Layers {
		if got, err := readLayer(t, s, l); err != nil || !bytes.Equal(got, images[i].Layer) {
			t.Errorf("layer %d of a parsed manifest: %v", i, err)
		}
	}
}

func FuzzManifest(f *testing.F) {
	m := &Manifest{SchemaVersion: 1, MediaType: MediaType, Registry: "r", ID: id("b"), Layers: []ManifestLayer{
		{ID: id("a"), JSON: []byte(`{"id":"` + id("a") + `"}`), Size: 5},
		{ID: id("b"), JSON: []byte(`{"id":"` + id("b") + `","parent":"` + id("a") + `","throwaway":true}`), Size: -1},
	}}
	raw, err := m.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := ParseManifest(raw)
		if err != nil {
			return
		}
		for _, l := range m.Layers {
			if !v1image.ValidID(l.ID) {
				t.Fatalf("identifier %q", l.ID)
			}
		}
		if _, history, err := m.Config(); err != nil || len(history) != len(m.Layers) {
			t.Fatalf("%d history entries of %d layers, %v", len(history), len(m.Layers), err)
		}
	})
}

func FuzzTagOf(f *testing.F) {
	f.Add([]byte(`"`+id("a")+`"`), "t")
	f.Add([]byte(id("2")), "t")
	f.Add([]byte(`{"t":"`+id("a")+`"}`), "t")
	f.Fuzz(func(t *testing.T, body []byte, tag string) {
		if got, err := tagOf(body, tag); err == nil && !v1image.ValidID(got) {
			t.Fatalf("%q: %q", body, got)
		}
	})
}
