package fusefs

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/layers/index"
)

// The benchmarks mount anew each time, so that the kernel remembers nothing, and
// have tools in processes of their own do the work. Layers are in memory: what is
// measured is the way through the kernel and back.

func coldRuns(b *testing.B, l *memLayer, complete bool, work func(dir string)) {
	needFUSE(b)
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		s, err := Mount(dir, viewOf(l), Options{FSName: "peelfs:bench", Complete: func() bool { return complete }})
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		work(dir)
		b.StopTimer()
		if err := s.Unmount(false); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkFindCold(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		l := manyFiles(b, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			coldRuns(b, l, false, func(dir string) { run(b, "find", dir, "-size", "+100c") })
		})
	}
}

func BenchmarkFindWarm(b *testing.B) {
	dir, _ := mounted(b, viewOf(manyFiles(b, 100_000)), Options{})
	run(b, "find", dir, "-size", "+100c")
	for b.Loop() {
		run(b, "find", dir, "-size", "+100c")
	}
}

// smallFiles is a layer of n files of about 4 KiB in directories of 100.
func smallFiles(b *testing.B, n int) *memLayer {
	builder := index.NewBuilder()
	data := make([]byte, 1<<20)
	for i := range n {
		r := index.Record{
			Name: fmt.Sprintf("d%04d/file-%07d", i/100, i), Kind: index.File, Mode: 0o644,
			Size: int64(1000 + i*37%6000), Data: int64(i % 200 * 4096),
		}
		if err := builder.Add(r); err != nil {
			b.Fatal(err)
		}
	}
	return seal(b, builder, data)
}

// Many small files, with those to come pushed or not.
func BenchmarkSmallFilesCold(b *testing.B) {
	const n = 10_000
	l := smallFiles(b, n)
	for name, command := range map[string]string{
		"tar": "tar cf - -C %s . | cat >/dev/null",
		"cat": "find %s -type f -print0 | xargs -0 cat >/dev/null",
	} {
		for _, complete := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/pushed=%v", name, complete), func(b *testing.B) {
				coldRuns(b, l, complete, func(dir string) { run(b, "sh", "-c", fmt.Sprintf(command, dir)) })
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/n, "us/file")
			})
		}
	}
}

func BenchmarkSequentialCold(b *testing.B) {
	const size = 120 << 20
	l := layerOf(b, tartest.File("big", pattern(size)))
	for name, complete := range map[string]bool{"128KiB": false, "1MiB": true} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size)
			coldRuns(b, l, complete, func(dir string) {
				run(b, "dd", "status=none", "if="+filepath.Join(dir, "big"), "of=/dev/null", "bs=1M")
			})
		})
	}
}
