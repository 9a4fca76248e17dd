package layers

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/peelfs/peelfs/layers/cachedir"
	"github.com/peelfs/peelfs/layers/index"
)

// sociLayer is a layer that was read whole by a ztoc, which has no checksum of
// what its spans decode to, and the same layer as its own bytes tell it. damage
// is done to the closed cache.
func sociLayer(t *testing.T, damage func(t *testing.T, dir string)) (s *Store, l, plain *Layer, x *index.Index, b *memBlob) {
	t.Helper()
	sources, blobs := indexedLayers(t)
	dir := t.TempDir()
	s = openTestStore(t, dir, Options{})
	plain = openTestStore(t, t.TempDir(), Options{}).Layer(Source{Digest: sources[0].Digest, Blob: blobs[0]})
	l = s.Layer(sources[0])
	x, err := l.Index(t.Context())
	must(t, err)
	if x.Header().Source != index.SOCI {
		t.Fatal("the layer is not read by its ztoc")
	}
	sameContents(t, l, plain, x)
	layerDir, err := s.cache.LayerDir(sources[0].Digest)
	must(t, err)
	must(t, s.Close())
	damage(t, layerDir)
	s = openTestStore(t, dir, Options{})
	l = s.Layer(sources[0])
	x, err = l.Index(t.Context())
	must(t, err)
	blobs[0].bytes.Store(0)
	return s, l, plain, x, blobs[0]
}

// theOne is the only file in dir of a kind.
func theOne(t *testing.T, dir, kind string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, kind+"*"))
	if err != nil || len(names) != 1 {
		t.Fatalf("files %s*: %v, %v", kind, names, err)
	}
	return names[0]
}

// zeroed is data that never came to the disk before the power went.
func zeroed(t *testing.T, dir string) {
	t.Helper()
	path := theOne(t, dir, "data.")
	fi, err := os.Stat(path)
	must(t, err)
	must(t, os.Truncate(path, 0))
	must(t, os.Truncate(path, fi.Size()))
}

func rebooted(t *testing.T, dir string) { flip(t, theOne(t, dir, "present."), 16) }

// keptByOldProgram is how programs left the cache that kept no checksums.
func keptByOldProgram(t *testing.T, dir string) {
	t.Helper()
	must(t, os.Remove(theOne(t, dir, "sums.")))
	f, err := os.OpenFile(theOne(t, dir, "present."), os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	_, err = f.WriteAt(make([]byte, 16), 48)
	must(t, err)
}

// Whatever a crash or an old program left of spans whose index has no checksum,
// Verify does not make it right: wrong bytes are found, and those that nobody can
// judge are dropped, without an alarm. Readers get the right bytes either way.
func TestNoChecksumIsNotARightOne(t *testing.T) {
	damages := map[string]struct {
		do             func(t *testing.T, dir string)
		wrong, unknown bool // what Verify finds
		fetched        bool // readers need the source again
	}{
		"nothing":        {func(*testing.T, string) {}, false, false, false},
		"a reboot":       {rebooted, false, false, false},
		"a crash":        {func(t *testing.T, d string) { zeroed(t, d); rebooted(t, d) }, true, false, true},
		"a flipped byte": {func(t *testing.T, d string) { flip(t, theOne(t, d, "data."), 100_000) }, true, false, true},
		"no checksums":   {func(t *testing.T, d string) { must(t, os.Remove(theOne(t, d, "sums."))) }, false, true, true},
		"an old cache":   {keptByOldProgram, false, true, true},
		"an old cache after a crash": {func(t *testing.T, d string) {
			zeroed(t, d)
			keptByOldProgram(t, d)
		}, false, true, true},
	}
	for name, c := range damages {
		for _, verify := range []bool{true, false} {
			if !verify && name == "a flipped byte" {
				continue // what passed once is checked again by Verify alone
			}
			t.Run(name+map[bool]string{true: "/verified", false: "/read at once"}[verify], func(t *testing.T) {
				s, l, plain, x, b := sociLayer(t, c.do)
				if verify {
					var problems []Problem
					v, err := s.Verify(t.Context(), func(p Problem) { problems = append(problems, p) })
					must(t, err)
					if (len(problems) > 0) != c.wrong || (v.Unknown > 0) != c.unknown {
						t.Errorf("found %+v, %+v", problems, v)
					}
				}
				sameContents(t, l, plain, x)
				if got := b.bytes.Load() > 0; got != c.fetched {
					t.Errorf("%d bytes were fetched again", b.bytes.Load())
				}
				if p := verifyAll(t, s); len(p) > 0 {
					t.Errorf("at the end: %+v", p)
				}
			})
		}
	}
}

// What an evictor drops while Verify waits for the span is neither confirmed nor
// reported.
func TestVerifyLeavesASpanToItsHolder(t *testing.T) {
	tar, files := bigTar()
	s := openTestStore(t, t.TempDir(), Options{})
	src, _ := sourceOf(tar, gz(tar))
	l := s.Layer(src)
	mustHave(t, l, files)
	dir, _ := s.cache.LayerDir(src.Digest)
	evictor, err := cachedir.Look(dir)
	must(t, err)
	defer evictor.Close()
	h, err := evictor.Data.TryLock(2)
	if h == nil || err != nil {
		t.Fatal(h, err)
	}
	span := evictor.Index.Span(2)
	must(t, h.Write(make([]byte, span.OutLen), span.Out))
	found := make(chan []Problem)
	go func() {
		var all []Problem
		_, err := s.Verify(t.Context(), func(p Problem) { all = append(all, p) })
		if err != nil {
			t.Error(err)
		}
		found <- all
	}()
	select {
	case p := <-found:
		t.Fatalf("Verify did not wait for the span: %+v", p)
	default:
	}
	h.Drop()
	h.Release()
	if p := <-found; len(p) > 0 {
		t.Errorf("false alarm: %+v", p)
	}
	if evictor.Data.Has(2) {
		t.Error("a span that was dropped is present")
	}
	mustHave(t, l, files)
}
