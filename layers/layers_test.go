package layers

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/ulikunitz/xz"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/layers/cachedir"
)

// memBlob is a blob in memory that counts what is asked of it.
type memBlob struct {
	data     []byte
	requests atomic.Int64
	bytes    atomic.Int64
	fail     atomic.Pointer[error] // every request fails so
	gate     chan struct{}         // if set, requests wait for it
	noRange  bool
}

func (b *memBlob) Size() (int64, bool) { return int64(len(b.data)), true }

func (b *memBlob) ReadRange(ctx context.Context, off, n int64) (io.ReadCloser, int64, error) {
	b.requests.Add(1)
	if b.gate != nil {
		select {
		case <-b.gate:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
	if err := b.fail.Load(); err != nil {
		return nil, 0, *err
	}
	if b.noRange {
		return io.NopCloser(b.counted(b.data)), 0, nil
	}
	if n < 0 {
		n = int64(len(b.data)) - off
	}
	return io.NopCloser(b.counted(b.data[off : off+n])), off, nil
}

func (b *memBlob) counted(p []byte) io.Reader {
	return io.TeeReader(bytes.NewReader(p), writerFunc(func(p []byte) { b.bytes.Add(int64(len(p))) }))
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

// words are n bytes that compress about two to one.
func words(seed int64, n int) string {
	b := make([]byte, n)
	rand.New(rand.NewSource(seed)).Read(b)
	for i, c := range b {
		b[i] = "0123456789abcdef"[c&15]
	}
	return string(b)
}

// bigTar is a layer of several spans: files of 200 KiB, one of 3 MiB.
var bigTar = sync.OnceValues(makeBigTar)

func makeBigTar() ([]byte, map[string]string) {
	files := map[string]string{"big": words(1, 3<<20)}
	entries := []tartest.Entry{tartest.File("big", files["big"])}
	for i := range 20 {
		name := fmt.Sprintf("f%02d", i)
		files[name] = words(int64(i+2), 200<<10)
		entries = append(entries, tartest.File(name, files[name]))
	}
	return tartest.Of(entries...), files
}

// compressed keeps what was compressed before: under the race detector that is
// most of the work.
var compressed sync.Map

func once(how string, b []byte, compress func(io.Writer) io.WriteCloser) []byte {
	key := how + string(digest.FromBytes(b))
	if v, ok := compressed.Load(key); ok {
		return v.([]byte)
	}
	var out bytes.Buffer
	w := compress(&out)
	w.Write(b)
	w.Close()
	compressed.Store(key, out.Bytes())
	return out.Bytes()
}

func gz(b []byte) []byte {
	return once("gzip", b, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })
}

func zst(b []byte) []byte {
	return once("zstd", b, func(w io.Writer) io.WriteCloser {
		z, _ := zstd.NewWriter(w)
		return z
	})
}

func xzed(b []byte) []byte {
	return once("xz", b, func(w io.Writer) io.WriteCloser {
		x, _ := xz.NewWriter(w)
		return x
	})
}

func sourceOf(tar, blob []byte) (Source, *memBlob) {
	b := &memBlob{data: blob}
	return Source{Digest: digest.FromBytes(blob), DiffID: digest.FromBytes(tar), Blob: b}, b
}

func openTestStore(t *testing.T, dir string, opt Options) *Store {
	t.Helper()
	opt.Logger = slog.New(slog.NewTextHandler(testWriter{t}, nil))
	s, err := OpenStore(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) { w.t.Logf("%s", p); return len(p), nil }

// content reads the file name of the layer through the index, in odd pieces.
func content(t *testing.T, l *Layer, name string) string {
	t.Helper()
	idx, err := l.Index(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id, ok := idx.Find(0, name)
	if !ok {
		t.Fatalf("no %s", name)
	}
	var out []byte
	size := idx.Entry(id).Size
	for off := int64(0); off < size; {
		p := make([]byte, min(70001, size-off))
		n, err := l.ReadAt(t.Context(), id, p, off)
		if err != nil || n != len(p) {
			t.Fatalf("read %s at %d: %d, %v", name, off, n, err)
		}
		out = append(out, p...)
		off += int64(n)
	}
	return string(out)
}

func mustHave(t *testing.T, l *Layer, files map[string]string) {
	t.Helper()
	for name, want := range files {
		if content(t, l, name) != want {
			t.Fatalf("%s has wrong content", name)
		}
	}
}

func TestEveryCompressionReadsTheSame(t *testing.T) {
	tar, files := bigTar()
	for name, blob := range map[string][]byte{"gzip": gz(tar), "zstd": zst(tar), "xz": xzed(tar), "plain": tar} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openTestStore(t, dir, Options{})
			src, b := sourceOf(tar, blob)
			l := s.Layer(src)
			if st := l.Status(); st.State != Cold || b.requests.Load() != 0 {
				t.Fatalf("before use: %+v", st)
			}
			mustHave(t, l, files)
			if n := b.requests.Load(); n != 1 {
				t.Errorf("%d requests, want 1", n)
			}
			if st := l.Status(); st.State != Complete || st.Proof != "layer" || st.Fetched != int64(len(blob)) {
				t.Errorf("after use: %+v", st)
			}
			s.Close()

			offline, gone := sourceOf(tar, blob)
			err := errkind.New(errkind.Unavailable, "no network")
			gone.fail.Store(&err)
			mustHave(t, openTestStore(t, dir, Options{}).Layer(offline), files)

			// Without the data, the index brings it back.
			s = openTestStore(t, dir, Options{})
			if _, err := s.Prune(PruneOptions{DataOnly: true}); err != nil {
				t.Fatal(err)
			}
			src, b = sourceOf(tar, blob)
			l = s.Layer(src)
			if st := l.Status(); st.State != Indexed {
				t.Fatalf("after prune: %+v", st)
			}
			mustHave(t, l, files)
			if b.requests.Load() == 0 {
				t.Error("data came from nowhere")
			}
			if st := l.Status(); st.State != Complete {
				t.Errorf("after reading everything again: %+v", st)
			}
		})
	}
}

func TestAReadFetchesWhatItNeeds(t *testing.T) {
	tar, files := bigTar()
	for name, blob := range map[string][]byte{"gzip": gz(tar), "plain": tar} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openTestStore(t, dir, Options{IndexOnly: true})
			src, _ := sourceOf(tar, blob)
			if _, err := s.Layer(src).Index(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.Close()
			src, b := sourceOf(tar, blob)
			l := openTestStore(t, dir, Options{}).Layer(src)
			if content(t, l, "f10") != files["f10"] {
				t.Fatal("wrong content")
			}
			if n, all := b.bytes.Load(), int64(len(blob)); n == 0 || n > all/2 || b.requests.Load() > 2 {
				t.Errorf("%d of %d bytes in %d requests", n, all, b.requests.Load())
			}
			mustHave(t, l, files)
		})
	}
}

func TestStatusTellsWhatReadersAskedFor(t *testing.T) {
	tar, files := bigTar()
	src, b := sourceOf(tar, gz(tar))
	l := openTestStore(t, t.TempDir(), Options{}).Layer(src)
	_, err := l.Index(t.Context())
	must(t, err)
	if st := l.Status(); st.Asked != 0 || st.Fetched != int64(len(b.data)) {
		t.Errorf("before a read: %+v", st)
	}
	content(t, l, "f01")
	if st := l.Status(); st.Asked != int64(len(files["f01"])) {
		t.Errorf("%d bytes asked for instead of %d", st.Asked, len(files["f01"]))
	}
}

func TestManyReadersFetchOnce(t *testing.T) {
	tar, files := bigTar()
	src, b := sourceOf(tar, gz(tar))
	dir := t.TempDir()
	// Two stores stand for two processes: their locks are of different open files.
	stores := []*Store{openTestStore(t, dir, Options{}), openTestStore(t, dir, Options{})}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			l := stores[i%2].Layer(src)
			if got := content(t, l, "f07"); got != files["f07"] {
				t.Error("wrong content")
			}
		}()
	}
	wg.Wait()
	if n := b.requests.Load(); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func TestAWaiterThatGoesLeavesTheFetchRunning(t *testing.T) {
	tar, files := bigTar()
	src, b := sourceOf(tar, gz(tar))
	b.gate = make(chan struct{})
	l := openTestStore(t, t.TempDir(), Options{}).Layer(src)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { _, err := l.Index(ctx); done <- err }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	close(b.gate)
	mustHave(t, l, files)
	if n := b.requests.Load(); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func TestWrongLayersAreRefused(t *testing.T) {
	tar, _ := bigTar()
	good := gz(tar)
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 1
	garbage := gz([]byte(words(9, 5000)))
	for name, c := range map[string]struct {
		src  Source
		kind errkind.Kind
	}{
		"other bytes than the digest says": {Source{Digest: digest.FromBytes(good), Blob: &memBlob{data: flipped}}, errkind.Corrupt},
		"other tar than the config says":   {Source{Digest: digest.FromBytes(good), DiffID: digest.FromString("x"), Blob: &memBlob{data: good}}, errkind.Corrupt},
		"truncated gzip":                   {Source{Digest: digest.FromBytes(good[:9999]), Blob: &memBlob{data: good[:9999]}}, errkind.Corrupt},
		"garbage instead of a tar":         {Source{Digest: digest.FromBytes(garbage), Blob: &memBlob{data: garbage}}, errkind.Corrupt},
		"plain garbage":                    {Source{Digest: digest.FromString(words(8, 3000)), Blob: &memBlob{data: []byte(words(8, 3000))}}, errkind.Corrupt},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := openTestStore(t, dir, Options{}).Layer(c.src)
			_, err := l.Index(t.Context())
			if !errkind.Is(err, c.kind) {
				t.Fatalf("got %v (%v), want kind %v", err, errkind.Of(err), c.kind)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "tmp", "*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			if st := l.Status(); st.Error == "" {
				t.Error("status does not tell")
			}
		})
	}
}

func TestAFailureIsForgotten(t *testing.T) {
	tar, files := bigTar()
	src, b := sourceOf(tar, gz(tar))
	err := errkind.New(errkind.Unavailable, "no route")
	b.fail.Store(&err)
	l := openTestStore(t, t.TempDir(), Options{}).Layer(src)
	if _, err := l.Index(t.Context()); !errkind.Is(err, errkind.Unavailable) {
		t.Fatalf("got %v", err)
	}
	if _, err := l.Index(t.Context()); err == nil || b.requests.Load() != 1 {
		t.Fatalf("a failure of just now is asked for again: %v", err)
	}
	b.fail.Store(nil)
	l.opening.KeepError = 0
	mustHave(t, l, files)
}

func TestDamagedCacheHeals(t *testing.T) {
	tar, files := bigTar()
	blob := gz(tar)
	for name, damage := range map[string]func(t *testing.T, dir string){
		"index cut":      func(t *testing.T, d string) { must(t, os.Truncate(filepath.Join(d, "index"), 300)) },
		"index bit flip": func(t *testing.T, d string) { flip(t, filepath.Join(d, "index"), 700) },
		"index empty":    func(t *testing.T, d string) { must(t, os.Truncate(filepath.Join(d, "index"), 0)) },
		"data cut":       func(t *testing.T, d string) { must(t, os.Truncate(filepath.Join(d, "data.tar"), 10)) },
		"data gone":      func(t *testing.T, d string) { must(t, os.Remove(filepath.Join(d, "data.tar"))) },
		"presence gone":  func(t *testing.T, d string) { must(t, os.Remove(filepath.Join(d, "present.tar"))) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openTestStore(t, dir, Options{})
			src, _ := sourceOf(tar, blob)
			mustHave(t, s.Layer(src), files)
			layerDir, _ := s.cache.LayerDir(src.Digest)
			s.Close()
			damage(t, layerDir)
			mustHave(t, openTestStore(t, dir, Options{}).Layer(src), files)
		})
	}
}

func TestVerifyFindsAndDropsWrongBytes(t *testing.T) {
	tar, files := bigTar()
	blob := gz(tar)
	dir := t.TempDir()
	s := openTestStore(t, dir, Options{})
	src, _ := sourceOf(tar, blob)
	l := s.Layer(src)
	mustHave(t, l, files)
	layerDir, _ := s.cache.LayerDir(src.Digest)
	none := func(p Problem) { t.Errorf("unexpected: %+v", p) }
	if n, err := s.Verify(t.Context(), none); err != nil || n.Bytes != int64(len(tar)) {
		t.Fatalf("verified %d of %d bytes, %v", n, len(tar), err)
	}
	flip(t, filepath.Join(layerDir, "data.tar"), 1<<20+5)
	var found []Problem
	if _, err := s.Verify(t.Context(), func(p Problem) { found = append(found, p) }); err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || len(found[0].Spans) != 1 {
		t.Fatalf("found %+v", found)
	}
	mustHave(t, l, files) // the open layer fetches it again
	if _, err := s.Verify(t.Context(), none); err != nil {
		t.Fatal(err)
	}
}

func TestCacheSizeBoundsTheDataAndLosesNothing(t *testing.T) {
	tar, files := bigTar()
	blob := gz(tar)
	const limit = 3 << 20 // less than half of the layer
	s := openTestStore(t, t.TempDir(), Options{Size: limit})
	src, _ := sourceOf(tar, blob)
	l := s.Layer(src)
	for range 3 {
		mustHave(t, l, files)
	}
	s.room.Wait()
	s.room.Clean(limit)
	if c := s.List(); len(c) != 1 || c[0].Data > limit {
		t.Errorf("cache holds %+v", c)
	}
	mustHave(t, l, files)
}

// A cache that is too small for what is read says so once, however long it goes on.
func TestACacheThatIsTooSmallSaysSoOnce(t *testing.T) {
	tar, files := bigTar()
	var log bytes.Buffer
	s, err := OpenStore(t.TempDir(), Options{Size: 3 << 20, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	must(t, err)
	src, _ := sourceOf(tar, gz(tar))
	l := s.Layer(src)
	for range 3 {
		mustHave(t, l, files)
		s.room.Wait()
		s.room.Clean(3 << 20)
	}
	must(t, s.Close())
	if n := strings.Count(log.String(), "the cache is too small"); n != 1 {
		t.Errorf("said %d times:\n%s", n, &log)
	}
}

func TestLayerWithoutADigestIsLearned(t *testing.T) {
	tar, files := bigTar()
	blob := gz(tar)
	dir := t.TempDir()
	s := openTestStore(t, dir, Options{})
	b := &memBlob{data: blob}
	l := s.Layer(Source{Alias: "v1:example.com/abc", Blob: b})
	mustHave(t, l, files)
	if l.Digest() != digest.FromBytes(blob) {
		t.Fatalf("learned %s", l.Digest())
	}
	s.Close()
	s = openTestStore(t, dir, Options{})
	mustHave(t, s.Layer(Source{Alias: "v1:example.com/abc", Blob: b}), files)
	named, _ := sourceOf(tar, blob)
	named.Blob = b
	mustHave(t, s.Layer(named), files)
	if n := b.requests.Load(); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func TestPruneLeavesOpenAndPinnedLayers(t *testing.T) {
	tar, files := bigTar()
	open, _ := sourceOf(tar, gz(tar))
	pin, _ := sourceOf(tar, zst(tar))
	idle, _ := sourceOf(tar, tar)
	dir := t.TempDir()
	s := openTestStore(t, dir, Options{})
	for _, src := range []Source{pin, idle} {
		mustHave(t, s.Layer(src), files)
	}
	s.Close()
	s = openTestStore(t, dir, Options{})
	must(t, s.Pin(pin.Digest))
	l := s.Layer(open)
	mustHave(t, l, files)
	p, err := s.Prune(PruneOptions{})
	if err != nil || len(p.Layers) != 1 || p.Layers[0] != idle.Digest || p.InUse != 1 {
		t.Fatalf("pruned %+v, %v", p, err)
	}
	mustHave(t, l, files)
	if len(s.List()) != 2 {
		t.Fatalf("left: %+v", s.List())
	}
	must(t, s.Unpin(pin.Digest))
	if p, err := s.Prune(PruneOptions{}); err != nil || len(p.Layers) != 1 {
		t.Fatalf("pruned %+v, %v", p, err)
	}
}

func TestServerWithoutRanges(t *testing.T) {
	tar, files := bigTar()
	dir := t.TempDir()
	s := openTestStore(t, dir, Options{IndexOnly: true})
	src, _ := sourceOf(tar, gz(tar))
	if _, err := s.Layer(src).Index(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Close()
	src, b := sourceOf(tar, gz(tar))
	b.noRange = true
	mustHave(t, openTestStore(t, dir, Options{}).Layer(src), files)
	if n := b.requests.Load(); n != 1 {
		t.Errorf("%d requests: what came was not kept", n)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func flip(t *testing.T, path string, off int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	p := make([]byte, 1)
	_, err = f.ReadAt(p, off)
	must(t, err)
	p[0] ^= 1
	_, err = f.WriteAt(p, off)
	must(t, err)
}

// noWarnings fails the test for whatever is logged as a warning or worse.
type noWarnings struct{ t *testing.T }

func (w noWarnings) Write(p []byte) (int, error) { w.t.Errorf("logged: %s", p); return len(p), nil }

func TestIndexesOfOtherVersionsAreMadeAgainInSilence(t *testing.T) {
	tar, files := bigTar()
	src, _ := sourceOf(tar, gz(tar))
	dir := t.TempDir()
	mustHave(t, openTestStore(t, dir, Options{}).Layer(src), files)
	path := filepath.Join(dir, "layers", "sha256", src.Digest.Encoded(), cachedir.IndexName)
	raw, err := os.ReadFile(path)
	must(t, err)
	const versionAt = 8
	raw[versionAt]--
	must(t, os.WriteFile(path, raw, 0o600))

	quiet := slog.New(slog.NewTextHandler(noWarnings{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	mustHave(t, openTestStore(t, dir, Options{Logger: quiet}).Layer(src), files)
	raw[versionAt]++
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, raw) {
		t.Errorf("the index was not made again: %v", err)
	}
}
