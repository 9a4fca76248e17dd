package view

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"

	tt "github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/layers/index"
)

// bigLayer is a layer with n files in one directory, made without a tar.
func bigLayer(t testing.TB, n, step int) *memLayer {
	b := index.NewBuilder()
	add := func(r index.Record) {
		if err := b.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	add(index.Record{Name: "./", Kind: index.Dir, Mode: 0o755})
	add(index.Record{Name: "d", Kind: index.Dir, Mode: 0o755})
	for i := 0; i < n; i += step {
		add(index.Record{Name: fmt.Sprintf("d/file%07d", i), Kind: index.File, Mode: 0o644, Sec: int64(i)})
	}
	var out bytes.Buffer
	if err := b.Write(&out, index.Header{BlobSize: -1}, nil, nil); err != nil {
		t.Fatal(err)
	}
	return &memLayer{make: sync.OnceValues(func() (*index.Index, error) { return index.OpenBytes(out.Bytes()) })}
}

// bigView is a directory of n names, in one layer, or merged from three.
func bigView(t testing.TB, n int, merged bool) (*View, Ino) {
	layers := []*memLayer{bigLayer(t, n, 1)}
	if merged {
		layers = append(layers, bigLayer(t, n, 10), bigLayer(t, n, 7))
	}
	v := viewOf(layers, Options{})
	dir := get(t, v, "d").Ino
	if _, err := v.ReadDir(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	return v, dir
}

// The calls that the kernel makes all the time allocate nothing.
func TestHotCallsDoNotAllocate(t *testing.T) {
	for _, merged := range []bool{false, true} {
		v, dir := bigView(t, 1000, merged)
		ctx := t.Context()
		file, err := v.Lookup(ctx, dir, "file0000070")
		if err != nil {
			t.Fatal(err)
		}
		d, err := v.ReadDir(ctx, dir)
		if err != nil {
			t.Fatal(err)
		}
		for name, do := range map[string]func() error{
			"Lookup":        func() error { _, err := v.Lookup(ctx, dir, "file0000070"); return err },
			"absent":        func() error { _, err := v.Lookup(ctx, dir, "none"); return unexpected(err) },
			"Attr":          func() error { _, err := v.Attr(ctx, file.Ino); return err },
			"Attr of a dir": func() error { _, err := v.Attr(ctx, dir); return err },
			"Root":          func() error { _, err := v.Root(ctx); return err },
			"Parent":        func() error { _, err := v.Parent(ctx, dir); return err },
			"ReadDir":       func() error { return iterate(ctx, v, dir) },
			"Dir.Entry":     func() error { d.Entry(70); return nil },
			"Xattr":         func() error { _, _, err := v.Xattr(ctx, file.Ino, "user.x"); return err },
		} {
			if err := do(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if n := testing.AllocsPerRun(100, func() { _ = do() }); n != 0 {
				t.Errorf("%s allocates %v times (merged: %v)", name, n, merged)
			}
		}
	}
}

func unexpected(err error) error {
	if err == ErrNotExist {
		return nil
	}
	return fmt.Errorf("not absent: %w", err)
}

// iterate does what READDIRPLUS does.
func iterate(ctx context.Context, v *View, dir Ino) error {
	d, err := v.ReadDir(ctx, dir)
	if err != nil {
		return err
	}
	size := int64(0)
	for i := range d.Len() {
		a := d.Attr(i)
		size += int64(len(d.Name(i))) + a.Sec
	}
	if size == 0 && d.Len() > 0 {
		return fmt.Errorf("nothing in the listing")
	}
	return nil
}

// Hard links and symbolic links have attributes that need thought, once.
func TestLinkedAttributesDoNotAllocate(t *testing.T) {
	v := viewOf(stack(
		tarball{tt.File("a", "1"), tt.Link("b", "a"), tt.Symlink("d/e/l", "/a")},
		tarball{tt.Link("c", "a"), tt.File("d/e/f", "2")},
	), Options{})
	if err := iterate(t.Context(), v, RootIno); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c", "d"} {
		if n := testing.AllocsPerRun(100, func() { _, _ = v.Lookup(t.Context(), RootIno, name) }); n != 0 {
			t.Errorf("Lookup(%s) allocates %v times", name, n)
		}
	}
	dir := get(t, v, "d/e").Ino
	if n := testing.AllocsPerRun(100, func() { _, _ = v.Lookup(t.Context(), dir, "l") }); n != 0 {
		t.Errorf("Lookup(l) allocates %v times", n)
	}
}

var benchSizes = []int{10_000, 100_000, 1_000_000}

func benchViews(b *testing.B, run func(b *testing.B, v *View, dir Ino, n int)) {
	for _, merged := range []bool{false, true} {
		for _, n := range benchSizes {
			b.Run(fmt.Sprintf("merged=%v/names=%d", merged, n), func(b *testing.B) {
				v, dir := bigView(b, n, merged)
				b.ReportAllocs()
				b.ResetTimer()
				run(b, v, dir, n)
			})
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	benchViews(b, func(b *testing.B, v *View, dir Ino, n int) {
		names := make([]string, 1024)
		for i := range names {
			names[i] = fmt.Sprintf("file%07d", i*7919%n)
		}
		i := 0
		for b.Loop() {
			if _, err := v.Lookup(b.Context(), dir, names[i%len(names)]); err != nil {
				b.Fatal(err)
			}
			i++
		}
	})
}

func BenchmarkAttr(b *testing.B) {
	benchViews(b, func(b *testing.B, v *View, dir Ino, n int) {
		d, err := v.ReadDir(b.Context(), dir)
		if err != nil {
			b.Fatal(err)
		}
		_, ino, _ := d.Entry(n / 2)
		for b.Loop() {
			if _, err := v.Attr(b.Context(), ino); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// One listing, names and attributes; ns/name is what counts.
func BenchmarkListing(b *testing.B) {
	benchViews(b, func(b *testing.B, v *View, dir Ino, n int) {
		for b.Loop() {
			if err := iterate(b.Context(), v, dir); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/name")
	})
}

// The first listing of a directory, which merges.
func BenchmarkFirstListing(b *testing.B) {
	benchViews(b, func(b *testing.B, v *View, dir Ino, n int) {
		node, err := v.node(dir)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			node.list.Store(nil)
			if _, err := v.list(node); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/name")
	})
}

// Everything walked, the view keeps at most 100 bytes an inode.
func TestMemoryPerInode(t *testing.T) {
	const dirs, files = 3000, 12
	b := make([]*index.Builder, 2)
	for layer := range b {
		b[layer] = index.NewBuilder()
		for d := range dirs {
			for f := range files {
				r := index.Record{Name: fmt.Sprintf("d%d/f%d", d, f+layer*files/2), Kind: index.File}
				if err := b[layer].Add(r); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	var layers []*memLayer
	for _, b := range b {
		var out bytes.Buffer
		if err := b.Write(&out, index.Header{BlobSize: -1}, nil, nil); err != nil {
			t.Fatal(err)
		}
		layers = append(layers, &memLayer{make: sync.OnceValues(func() (*index.Index, error) { return index.OpenBytes(out.Bytes()) })})
	}
	v := viewOf(layers, Options{})
	if _, err := v.Root(t.Context()); err != nil { // gets the indexes, no more
		t.Fatal(err)
	}
	before := heap()
	inodes := 0
	if err := walk(t.Context(), v, "/", func(string, Attr) error { inodes++; return nil }); err != nil {
		t.Fatal(err)
	}
	after := heap()
	if inodes != 1+dirs*(1+files+files/2) {
		t.Fatalf("%d inodes", inodes)
	}
	if per := float64(after-before) / float64(inodes); after > before && per > 100 {
		t.Errorf("%.0f bytes an inode", per)
	} else {
		t.Logf("%.0f bytes an inode", per)
	}
	runtime.KeepAlive(v)
}

// heap is how many bytes are in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
