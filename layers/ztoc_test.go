package layers

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/opened"
	"github.com/peelfs/peelfs/layers/soci"
)

const fixtureSOCI digest.Digest = "sha256:21678be9d43967366a9a0a35540acafebb67107c0b65d54b20d1a4fc2690b245"

// indexedLayers are the layers of the fixture's gzip image with their ztocs.
func indexedLayers(t *testing.T) ([]Source, []*memBlob) {
	t.Helper()
	sources, blobs := fixtureLayers(t, "gzip")
	var m ocispec.Manifest
	must(t, json.Unmarshal(fixtureBlob(t, fixtureSOCI), &m))
	for i := range sources {
		for _, z := range m.Layers {
			if z.Annotations["com.amazon.soci.image-layer-digest"] == string(sources[i].Digest) {
				sources[i].Ztoc = saying(fixtureBlob(t, z.Digest), nil)
			}
		}
		if sources[i].Ztoc == nil {
			t.Fatalf("no ztoc for layer %d", i)
		}
	}
	return sources, blobs
}

func saying(ztoc []byte, err error) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) { return ztoc, err }
}

func TestAZtocListsAndReadsLikeAScan(t *testing.T) {
	sources, blobs := indexedLayers(t)
	lazy, whole := openTestStore(t, t.TempDir(), Options{}), openTestStore(t, t.TempDir(), Options{})
	for i, src := range sources {
		a := lazy.Layer(src)
		x, err := a.Index(t.Context())
		must(t, err)
		large := len(blobs[i].data) > opened.SmallLayer
		if got := x.Header().Source; large != (got == index.SOCI) || large != (blobs[i].requests.Load() == 0) {
			t.Errorf("layer %d of %d bytes: source %v after %d requests", i, len(blobs[i].data), got, blobs[i].requests.Load())
		}
		src.Ztoc = nil
		b := whole.Layer(src)
		y, err := b.Index(t.Context())
		must(t, err)
		if describe(x) != describe(y) {
			t.Fatalf("layer %d:\n%s\nscan:\n%s", i, describe(x), describe(y))
		}
		if err := compare(x, y); err != nil {
			t.Error(err)
		}
		sameContents(t, a, b, x)
	}
}

// A read fetches the spans that it needs: here those of a small file.
func TestOneFileOfAZtocFetchesItsSpan(t *testing.T) {
	sources, blobs := indexedLayers(t)
	l := openTestStore(t, t.TempDir(), Options{}).Layer(sources[0])
	x, err := l.Index(t.Context())
	must(t, err)
	etc, _ := x.Find(0, "etc")
	id, ok := x.Find(etc, "os-release")
	if !ok {
		t.Fatal("no etc/os-release")
	}
	p := make([]byte, 14)
	_, err = l.ReadAt(t.Context(), id, p, 0)
	must(t, err)
	first, last := x.SpansOf(x.Entry(id).Data, x.Entry(id).Size)
	want := int64(0)
	for i := first; i < last; i++ {
		want += x.Span(i).InLen
	}
	if got := blobs[0].bytes.Load(); string(p) != `NAME="Fixture"` || got != want || blobs[0].requests.Load() != 1 {
		t.Errorf("%q for %d bytes in %d requests; its spans have %d of %d", p, got, blobs[0].requests.Load(), want, len(blobs[0].data))
	}
}

func TestWithoutAUsableZtocTheLayerIsRead(t *testing.T) {
	sources, _ := indexedLayers(t)
	other, err := sources[2].Ztoc(t.Context())
	must(t, err)
	for name, z := range map[string]func(context.Context) ([]byte, error){
		"none":          saying(nil, nil),
		"unreachable":   saying(nil, errkind.New(errkind.Unavailable, "no network")),
		"no ztoc":       saying([]byte("this is not a flatbuffer at all"), nil),
		"another layer": saying(other, nil),
	} {
		src := sources[0]
		src.Ztoc = z
		x, err := openTestStore(t, t.TempDir(), Options{}).Layer(src).Index(t.Context())
		must(t, err)
		if x.Header().Source != index.Scan {
			t.Errorf("%s: source %v", name, x.Header().Source)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("gone"))
	src := sources[0]
	src.Ztoc = func(ctx context.Context) ([]byte, error) { return nil, ctx.Err() }
	if _, err := openTestStore(t, t.TempDir(), Options{}).Layer(src).Index(ctx); err == nil {
		t.Error("a reader who is gone got an index")
	}
}

// A reader by a ztoc goes on undisturbed when another process proves the layer.
func TestProvingALayerLeavesItsReadersAlone(t *testing.T) {
	sources, blobs := indexedLayers(t)
	dir := t.TempDir()
	reader, prover := openTestStore(t, dir, Options{}), openTestStore(t, dir, Options{})
	r := reader.Layer(sources[0])
	x, err := r.Index(t.Context())
	must(t, err)
	_, err = r.ReadAt(t.Context(), fileNamed(t, x, "etc/os-release"), make([]byte, 10), 0)
	must(t, err)

	p := prover.Layer(sources[0])
	must(t, p.Fill(t.Context()))
	if st := p.Status(); st.State != Complete || st.Proof != "layer" || st.Mode != "seek" {
		t.Fatalf("after it was filled: %+v", st)
	}
	if st := r.Status(); st.Mode != "soci" || st.Proof != "spans" {
		t.Fatalf("the reader's: %+v", st)
	}
	plain := sources[0]
	plain.Ztoc = nil
	whole := openTestStore(t, t.TempDir(), Options{}).Layer(plain)
	_, err = whole.Index(t.Context())
	must(t, err)
	before := blobs[0].requests.Load()
	sameContents(t, p, whole, x)
	if n := blobs[0].requests.Load() - before; n != 0 {
		t.Errorf("a complete layer was asked for %d times", n)
	}
	sameContents(t, r, whole, x)
	if problems := verifyAll(t, prover); len(problems) > 0 {
		t.Errorf("%+v", problems)
	}
	must(t, r.Fill(t.Context())) // finds it proven
	if st := r.Status(); st.State != Complete || st.Proof != "layer" {
		t.Errorf("the reader's in the end: %+v", st)
	}
	if files, _ := os.ReadDir(p.current.Load().Dir); len(files) != 4 {
		t.Errorf("left: %v", files)
	}
}

func verifyAll(t *testing.T, s *Store) (all []Problem) {
	t.Helper()
	_, err := s.Verify(t.Context(), func(p Problem) { all = append(all, p) })
	must(t, err)
	return all
}

func fileNamed(t *testing.T, x *index.Index, path string) (id uint32) {
	t.Helper()
	for part := range strings.SplitSeq(path, "/") {
		var ok bool
		if id, ok = x.Find(id, part); !ok {
			t.Fatalf("no %s", path)
		}
	}
	return id
}

// gzipped is poorly compressed, so that the layer is not small.
func gzipped(t *testing.T, tar []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	must(t, err)
	_, err = w.Write(tar)
	must(t, errors.Join(err, w.Close()))
	return b.Bytes()
}

// A ztoc is somebody's word. That it lies shows when the layer is read whole.
func TestALyingZtocIsFoundOut(t *testing.T) {
	files := map[string]string{"data": words(7, 2<<20), "tool": "#!/bin/true\n", "end": "end\n"}
	tar := tartest.Of(tartest.File("data", files["data"]), tartest.File("tool", files["tool"], tartest.Mode(0o751)), tartest.File("end", files["end"]))
	blob := gzipped(t, tar)
	built, err := soci.Build(bytes.NewReader(blob), soci.Options{SpanSize: 256 << 10})
	must(t, err)
	le := func(n int) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(n)) }
	end := bytes.Index(tar, []byte(files["end"]))
	for name, forged := range map[string][]byte{
		"a name":        patch(t, built.Ztoc, []byte("tool"), []byte("evil")),
		"a mode":        patch(t, built.Ztoc, le(0o751), le(0o4751)),
		"a place":       patch(t, built.Ztoc, le(end), le(end+512)),
		"what precedes": otherWindow(t, built.Ztoc),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			src, _ := sourceOf(tar, blob)
			src.Ztoc = saying(forged, nil)
			l := openTestStore(t, dir, Options{}).Layer(src)
			x, err := l.Index(t.Context())
			must(t, err)
			if x.Header().Source != index.SOCI {
				t.Fatalf("source %v", x.Header().Source)
			}
			content(t, l, "data") // every one of its spans holds its digest
			if err := l.Fill(t.Context()); !errkind.Is(err, errkind.Corrupt) || !strings.Contains(err.Error(), "lies") {
				t.Fatalf("error %v", err)
			}
			if st := l.Status(); st.State != Corrupt {
				t.Errorf("%+v", st)
			}
			if _, err := l.ReadAt(t.Context(), fileNamed(t, x, "data"), make([]byte, 1), 0); err == nil {
				t.Error("it can still be read")
			}
			mustHave(t, openTestStore(t, dir, Options{}).Layer(src), files)
		})
	}
}

// patch changes the one place that has old.
func patch(t *testing.T, b, old, to []byte) []byte {
	t.Helper()
	if n := bytes.Count(b, old); n != 1 {
		t.Fatalf("%x is there %d times", old, n)
	}
	return bytes.Replace(b, old, to, 1)
}

// otherWindow makes a checkpoint's history another one, and so what is decoded.
func otherWindow(t *testing.T, ztoc []byte) []byte {
	t.Helper()
	z, err := soci.Parse(ztoc)
	must(t, err)
	s := z.Spans[1]
	head := binary.LittleEndian.AppendUint64(nil, uint64(s.In+min(1, int64(s.Bits))))
	head = binary.LittleEndian.AppendUint64(head, uint64(s.Out))
	at := bytes.Index(ztoc, head)
	if at < 0 {
		t.Fatal("no checkpoint")
	}
	ztoc = bytes.Clone(ztoc)
	for i, c := range ztoc[at+17:][:32<<10] {
		if c != 0 {
			ztoc[at+17+i] = c ^ 1
		}
	}
	return ztoc
}

// An index in the cache that was made from a ztoc is only for those who would
// believe that ztoc themselves.
func TestOnlyZtocsThatAreBelievedAreUsed(t *testing.T) {
	sources, blobs := indexedLayers(t)
	src, blob := sources[0], blobs[0]
	ztoc, err := src.Ztoc(t.Context())
	must(t, err)
	only := func(d digest.Digest) func(context.Context) (digest.Digest, error) {
		return func(context.Context) (digest.Digest, error) { return d, nil }
	}
	for _, c := range []struct {
		name string
		only func(context.Context) (digest.Digest, error)
		ztoc []byte
		want index.Source
	}{
		{"all are believed", nil, ztoc, index.SOCI},
		{"this one is believed", only(digest.FromBytes(ztoc)), ztoc, index.SOCI},
		{"another one is believed", only(digest.FromString("another")), nil, index.Scan},
		{"none is believed", only(""), nil, index.Scan},
	} {
		dir := t.TempDir()
		x, err := openTestStore(t, dir, Options{}).Layer(src).Index(t.Context())
		must(t, err)
		if x.Header().Source != index.SOCI || x.Header().Document != digest.FromBytes(ztoc) {
			t.Fatalf("the first to open it made %+v", x.Header())
		}
		before := blob.requests.Load()
		strict := src
		strict.OnlyZtoc, strict.Ztoc = c.only, saying(c.ztoc, nil)
		s := openTestStore(t, dir, Options{})
		x, err = s.Layer(strict).Index(t.Context())
		must(t, err)
		if got := x.Header().Source; got != c.want || (got == index.SOCI) != (blob.requests.Load() == before) {
			t.Errorf("%s: source %v after %d requests", c.name, got, blob.requests.Load()-before)
		}
	}
}

func TestWhatToBelieveIsAskedBeforeTheCacheIsUsed(t *testing.T) {
	sources, _ := indexedLayers(t)
	src, dir := sources[0], t.TempDir()
	_, err := openTestStore(t, dir, Options{}).Layer(src).Index(t.Context())
	must(t, err)
	down := errkind.New(errkind.Unavailable, "down")
	src.OnlyZtoc = func(context.Context) (digest.Digest, error) { return "", down }
	if _, err := openTestStore(t, dir, Options{}).Layer(src).Index(t.Context()); !errors.Is(err, down) {
		t.Errorf("%v", err)
	}
}
