package layers

import (
	"fmt"
	"testing"

	"github.com/peelfs/peelfs/layers/index"
)

// Tables of contents make spans of single files, most of them small.
func BenchmarkChunks(b *testing.B) {
	for _, n := range []int{500, 10_000, 1 << 20} {
		out := []byte(words(1, n))
		for c, blob := range map[index.Compression][]byte{index.Gzip: gz(out), index.Zstd: zst(out)} {
			b.Run(fmt.Sprintf("%s/%d", c, n), func(b *testing.B) {
				b.SetBytes(int64(n))
				b.ReportAllocs()
				buf := make([]byte, n)
				for b.Loop() {
					if err := start(c, buf, blob); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
