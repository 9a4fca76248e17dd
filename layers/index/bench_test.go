package index

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

var benchSizes = []int{80_000, 1_000_000}

// benchRecord is one of a tree like that of node_modules: packages of forty
// files in four directories, a few names shared by all.
func benchRecord(i int) Record {
	pkg, f := i/44, i%44
	dir := fmt.Sprintf("usr/lib/node_modules/package-%d", pkg)
	switch {
	case f == 0:
		return Record{Name: dir + "/", Kind: Dir, Mode: 0o755, Sec: 1700000000}
	case f < 4:
		return Record{Name: fmt.Sprintf("%s/dir%d/", dir, f), Kind: Dir, Mode: 0o755, Sec: 1700000000}
	case f == 4:
		return Record{Name: dir + "/package.json", Kind: File, Mode: 0o644, Size: 1000, Data: int64(i) * 1024, Sec: 1700000000}
	}
	return Record{Name: fmt.Sprintf("%s/dir%d/file-%d-%d.js", dir, f%3+1, f, pkg%500), Kind: File, Mode: 0o644,
		Size: int64(f) * 100, Data: int64(i) * 8192, Sec: 1700000000 + int64(pkg%40)}
}

func benchBuilder(b *testing.B, n int) *Builder {
	builder := NewBuilder()
	for i := range n {
		if err := builder.Add(benchRecord(i)); err != nil {
			b.Fatal(err)
		}
	}
	return builder
}

func benchFile(b *testing.B, n int) []byte {
	var out bytes.Buffer
	if err := benchBuilder(b, n).Write(&out, Header{BlobSize: -1, SpaceSize: MaxSize}, nil, nil); err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}

func forSizes(b *testing.B, run func(b *testing.B, n int)) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) { run(b, n) })
	}
}

func BenchmarkBuild(b *testing.B) {
	forSizes(b, func(b *testing.B, n int) {
		for b.Loop() {
			b.StopTimer()
			records := make([]Record, n)
			for i := range records {
				records[i] = benchRecord(i)
			}
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			b.StartTimer()
			builder := NewBuilder()
			for _, r := range records {
				if err := builder.Add(r); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "heap-B/entry")
			b.StartTimer()
			if err := builder.Write(io.Discard, Header{BlobSize: -1, SpaceSize: MaxSize}, nil, nil); err != nil {
				b.Fatal(err)
			}
			runtime.KeepAlive(records)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/entry")
	})
}

func BenchmarkOpen(b *testing.B) {
	forSizes(b, func(b *testing.B, n int) {
		path := filepath.Join(b.TempDir(), "index")
		data := benchFile(b, n)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			x, err := Open(path)
			if err != nil {
				b.Fatal(err)
			}
			if err := x.Close(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(data))/float64(n), "file-B/entry")
	})
}

// BenchmarkLookup finds package.json of package after package, by whole paths.
func BenchmarkLookup(b *testing.B) {
	forSizes(b, func(b *testing.B, n int) {
		x, err := OpenBytes(benchFile(b, n))
		if err != nil {
			b.Fatal(err)
		}
		id, _ := x.Find(0, "usr")
		id, _ = x.Find(id, "lib")
		id, _ = x.Find(id, "node_modules")
		var names []string
		for p := 0; p < n/44; p++ {
			names = append(names, fmt.Sprintf("package-%d", (p*7919)%(n/44)))
		}
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			dir, ok := x.Find(id, names[i%len(names)])
			if _, found := x.Find(dir, "package.json"); !ok || !found {
				b.Fatal("missing")
			}
			i++
		}
	})
}

func BenchmarkWalk(b *testing.B) {
	forSizes(b, func(b *testing.B, n int) {
		x, err := OpenBytes(benchFile(b, n))
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		size := int64(0)
		for b.Loop() {
			for id := range uint32(x.Len()) {
				e := x.Entry(id)
				size += e.Size + int64(len(x.Name(id)))
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/entry")
	})
}
