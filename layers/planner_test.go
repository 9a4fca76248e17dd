package layers

import (
	"math/rand"
	"sync"
	"testing"

	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/layers/stream"
)

// evicted is a layer of 40 MiB whose index is in the cache and whose data is not.
func evicted(t *testing.T, opt Options) (*Layer, *memBlob, string) {
	t.Helper()
	content := words(9, 40<<20)
	tar := tartest.Of(tartest.File("f", content))
	dir := t.TempDir()
	src, _ := sourceOf(tar, tar)
	s := openTestStore(t, dir, Options{IndexOnly: true})
	_, err := s.Layer(src).Index(t.Context())
	must(t, err)
	s.Close()
	src, b := sourceOf(tar, tar)
	l := openTestStore(t, dir, opt).Layer(src)
	_, err = l.Index(t.Context())
	must(t, err)
	return l, b, content
}

// readPiece reads n bytes at off of the one file.
func readPiece(t *testing.T, l *Layer, content string, off, n int64) {
	t.Helper()
	x, err := l.Index(t.Context())
	must(t, err)
	p := make([]byte, n)
	if got, err := l.ReadAt(t.Context(), fileNamed(t, x, "f"), p, off); err != nil || string(p[:got]) != content[off:off+n] {
		t.Fatalf("%d bytes at %d: %v", n, off, err)
	}
}

// A reader who goes from the start to the end costs what a pull costs: each byte
// once, in few requests.
func TestSequentialReadsGrowTheirRequests(t *testing.T) {
	l, b, content := evicted(t, Options{})
	for off := int64(0); off < int64(len(content)); off += 128 << 10 {
		readPiece(t, l, content, off, 128<<10)
	}
	if n, sent := b.requests.Load(), b.bytes.Load(); n > 9 || sent > int64(len(b.data)) {
		t.Errorf("%d requests, %d bytes of %d", n, sent, len(b.data))
	}
}

func TestRandomReadsFetchNoMoreThanTheirSpans(t *testing.T) {
	l, b, content := evicted(t, Options{})
	r := rand.New(rand.NewSource(1))
	spans := map[int64]bool{}
	for range 12 {
		off := r.Int63n(int64(len(content) - 4096))
		readPiece(t, l, content, off, 4096)
		for _, at := range []int64{off + 512, off + 512 + 4095} { // behind the tar header
			spans[at/stream.SpanSize] = true
		}
	}
	if sent := b.bytes.Load(); sent > int64(len(spans))*stream.SpanSize {
		t.Errorf("%d bytes for %d spans", sent, len(spans))
	}
	if n := b.requests.Load(); n > 12 {
		t.Errorf("%d requests for 12 reads", n)
	}
}

// A read across spans asks for all of them at once, and leaves out what is here.
func TestNeighbouringSpansComeInOneRequest(t *testing.T) {
	l, b, content := evicted(t, Options{})
	readPiece(t, l, content, 10<<20, 5<<20)
	if n, sent := b.requests.Load(), b.bytes.Load(); n != 1 || sent > 6<<20 {
		t.Fatalf("%d requests, %d bytes", n, sent)
	}
	readPiece(t, l, content, 8<<20, 9<<20)
	if n, sent := b.requests.Load(), b.bytes.Load(); n > 3 || sent > 10<<20 {
		t.Errorf("%d requests, %d bytes after a read around the first", n, sent)
	}
}

// Two processes that read one layer everywhere at once fetch each byte once
// between them, whatever they meet on the way.
func TestTwoProcessesShareSpans(t *testing.T) {
	tar, files := bigTar()
	for name, blob := range map[string][]byte{"gzip": gz(tar), "plain": tar, "zstd": zstdFrames(tar, 1<<20)} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			src, b := sourceOf(tar, blob)
			s := openTestStore(t, dir, Options{IndexOnly: true})
			_, err := s.Layer(src).Index(t.Context())
			must(t, err)
			before := b.bytes.Load()
			var wg sync.WaitGroup
			for range 2 {
				l := openTestStore(t, dir, Options{}).Layer(src)
				for range 3 {
					wg.Go(func() {
						for name, want := range files { // in an order of its own
							if content(t, l, name) != want {
								t.Error("wrong content of", name)
							}
						}
					})
				}
			}
			wg.Wait()
			// Two spans of gzip may share a byte where requests meet.
			if sent := b.bytes.Load() - before; sent > int64(len(blob))+b.requests.Load() {
				t.Errorf("%d bytes for a layer of %d", sent, len(blob))
			}
		})
	}
}

// Readers of an image larger than the cache get the right bytes, and reading it
// from start to end fetches little twice.
func TestALayerLargerThanTheCacheIsReadOnce(t *testing.T) {
	l, b, content := evicted(t, Options{Size: 16 << 20})
	for off := int64(0); off < int64(len(content)); off += 128 << 10 {
		readPiece(t, l, content, off, 128<<10)
	}
	if sent := b.bytes.Load(); sent > int64(len(b.data))*11/10 {
		t.Errorf("%d bytes for a layer of %d", sent, len(b.data))
	}
	l.store.room.Wait()
	if c := l.store.List(); c[0].Data > 17<<20 {
		t.Errorf("%d bytes in the cache", c[0].Data)
	}
	if _, err := l.store.Verify(t.Context(), func(p Problem) { t.Errorf("%+v", p) }); err != nil {
		t.Fatal(err)
	}
}
