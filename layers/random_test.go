package layers

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math/bits"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"github.com/peelfs/peelfs/internal/tarstream"
	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/stream"
)

// mixedTar is a layer of four spans with files of many lengths, one of them at
// odds with every boundary.
func mixedTar() []byte {
	entries := []tartest.Entry{tartest.File("big", words(1, 1500<<10))}
	for i, n := range []int{0, 1, 511, 512, 513, 4096, 100_000, 262_145, 700_001} {
		entries = append(entries, tartest.File("f"+string(rune('a'+i)), words(int64(i+2), n)))
	}
	return tartest.Of(append(entries, tartest.File("zeros", string(make([]byte, 300<<10))))...)
}

// stored is b in gzip without compression.
func stored(b []byte) []byte {
	var out bytes.Buffer
	w, _ := gzip.NewWriterLevel(&out, gzip.NoCompression)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

// oneBlock is b in gzip as a single deflate block with fixed codes. Nothing in it
// can be entered.
func oneBlock(b []byte) []byte {
	out := []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}
	acc, have := uint64(0b011), uint(3) // the last block, fixed codes
	put := func(code uint16, n uint) {
		acc |= uint64(bits.Reverse16(code)>>(16-n)) << have
		for have += n; have >= 8; have -= 8 {
			out = append(out, byte(acc))
			acc >>= 8
		}
	}
	for _, c := range b {
		if c < 144 {
			put(0x30+uint16(c), 8)
		} else {
			put(0x190+uint16(c)-144, 9)
		}
	}
	put(0, 7)
	put(0, 7) // what is left of the last byte
	out = binary.LittleEndian.AppendUint32(out, crc32.ChecksumIEEE(b))
	return binary.LittleEndian.AppendUint32(out, uint32(len(b)))
}

// members is b in gzip, cut into members of n bytes.
func members(b []byte, n int, between ...byte) (out []byte) {
	for part := range slices.Chunk(b, n) {
		out = append(append(out, gz(part)...), between...)
	}
	return out
}

func zstdFrames(b []byte, n int) (out []byte) {
	for part := range slices.Chunk(b, n) {
		out = append(out, zst(part)...)
	}
	return out
}

// subject is a layer in one format and what is in it.
type subject struct {
	name   string
	files  map[string][]byte
	names  []string
	ids    map[string]uint32
	layers []*Layer // of two stores on one directory
	stores []*Store
}

func newSubject(t *testing.T, name string, src Source, plain []byte) *subject {
	t.Helper()
	s := &subject{name: name, files: contents(t, plain)}
	s.names = slices.Sorted(maps.Keys(s.files))
	dir := t.TempDir()
	for range 2 {
		store := openTestStore(t, dir, Options{})
		s.stores = append(s.stores, store)
		s.layers = append(s.layers, store.Layer(src))
	}
	return s
}

// contents are the regular files of a tar, by archive/tar.
func contents(t *testing.T, plain []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(plain)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		must(t, err)
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if h.Typeflag != tar.TypeReg || strings.HasPrefix(path.Base(name), ".wh.") || name == "stargz.index.json" {
			continue
		}
		b, err := io.ReadAll(r)
		must(t, err)
		files[name] = b
	}
}

// decodeAll decodes a blob from its start to its end, by other people's code.
func decodeAll(t *testing.T, blob []byte) []byte {
	t.Helper()
	var r io.Reader = bytes.NewReader(blob)
	var err error
	switch stream.CompressionOf(blob[:min(len(blob), tarstream.HeadSize)]) {
	case index.Gzip:
		r, err = gzip.NewReader(r)
	case index.Zstd:
		r, err = zstd.NewReader(r)
	case index.Xz:
		r, err = xz.NewReader(r)
	}
	must(t, err)
	out, err := io.ReadAll(r)
	must(t, err)
	return out
}

func subjects(t *testing.T) (all []*subject) {
	plain := mixedTar()
	small := tartest.Of(tartest.File("a", words(3, 100_000)), tartest.File("b", words(4, 50_001)))
	for _, f := range []struct {
		name      string
		tar, blob []byte
	}{
		{"gzip", plain, gz(plain)},
		{"stored", plain, stored(plain)},
		{"one block", plain, oneBlock(plain)},
		{"members", plain, members(plain, 300_007)},
		{"tiny members", small, members(small, 500)},
		{"empty members", plain, members(plain, 1<<20, gz(nil)...)},
		{"trailing garbage", plain, append(gz(plain), 0, 0, 0, 0, 'x')},
		{"zstd", plain, zst(plain)},
		{"zstd frames", plain, zstdFrames(plain, 400_000)},
		{"xz", small, xzed(small)},
		{"plain", plain, plain},
	} {
		src, _ := sourceOf(f.tar, f.blob)
		all = append(all, newSubject(t, f.name, src, f.tar))
	}
	for _, ref := range []string{"estargz", "estargz-inner", "zstdchunked", "zstdchunked-stargz"} {
		sources, blobs := fixtureLayers(t, ref)
		all = append(all, newSubject(t, ref, sources[0], decodeAll(t, blobs[0].data)),
			newSubject(t, ref, sources[2], decodeAll(t, blobs[2].data)))
	}
	sources, blobs := indexedLayers(t)
	return append(all, newSubject(t, "soci", sources[0], decodeAll(t, blobs[0].data)),
		newSubject(t, "soci", sources[2], decodeAll(t, blobs[2].data)))
}

// prepare learns the entry numbers of the files and lets the data go.
func (s *subject) prepare(t *testing.T) {
	t.Helper()
	x, err := s.layers[0].Index(t.Context())
	must(t, err)
	s.ids = map[string]uint32{}
	for _, name := range s.names {
		id, ok := uint32(0), true
		for _, part := range strings.Split(name, "/") {
			if ok {
				id, ok = x.Find(id, part)
			}
		}
		if ok && x.Entry(id).Kind == index.File {
			s.ids[name] = id
		}
	}
	s.names = slices.Sorted(maps.Keys(s.ids))
	if len(s.names) == 0 {
		t.Fatalf("%s: no files", s.name)
	}
	_, err = s.stores[0].Prune(PruneOptions{DataOnly: true})
	must(t, err)
}

// step is a read, or with no name a loss of data.
type step struct {
	store  int
	name   string
	off, n int64
}

func drawSteps(t *rapid.T, s *subject) []step {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		st := step{store: rapid.IntRange(0, 1).Draw(t, "store"), n: rapid.Int64Range(1, 1<<20).Draw(t, "n")}
		if rapid.IntRange(0, 4).Draw(t, "what") > 0 {
			st.name = rapid.SampledFrom(s.names).Draw(t, "name")
			st.off = rapid.Int64Range(0, int64(len(s.files[st.name]))).Draw(t, "off")
		}
		return st
	}), 1, 6).Draw(t, "steps")
}

func (s *subject) take(ctx context.Context, st step) error {
	store := s.stores[st.store]
	if st.name == "" {
		for _, d := range store.cache.List() {
			store.cache.Evict(d, st.n, true)
		}
		return nil
	}
	want := s.files[st.name][st.off:]
	want = want[:min(int64(len(want)), st.n)]
	p := make([]byte, st.n)
	n, err := s.layers[st.store].ReadAt(ctx, s.ids[st.name], p, st.off)
	if err != nil {
		return err
	}
	if !bytes.Equal(p[:n], want) {
		return fmt.Errorf("%d bytes at %d of %s are wrong", n, st.off, st.name)
	}
	return nil
}

// Reads anywhere, by several readers in two processes, while spans are dropped,
// give what decoding the layer from its start to its end gives.
func TestRandomReadsAgainstSequentialDecoding(t *testing.T) {
	all := subjects(t)
	for _, s := range all {
		s.prepare(t)
	}
	rapid.Check(t, func(rt *rapid.T) {
		s := rapid.SampledFrom(all).Draw(rt, "subject")
		var readers errgroup.Group
		for range rapid.IntRange(1, 3).Draw(rt, "readers") {
			steps := drawSteps(rt, s)
			readers.Go(func() error {
				for _, st := range steps {
					if err := s.take(t.Context(), st); err != nil {
						return fmt.Errorf("%s: %+v: %w", s.name, st, err)
					}
				}
				return nil
			})
		}
		if err := readers.Wait(); err != nil {
			rt.Fatal(err)
		}
	})
	for _, s := range all {
		if _, err := s.stores[0].Verify(t.Context(), func(p Problem) { t.Errorf("%s: %+v", s.name, p) }); err != nil {
			t.Error(err)
		}
	}
}

func (s *subject) String() string { return s.name }
