package opened

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math/rand"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/peelfs/peelfs/layers/index"
)

// Tables of contents make spans of single files, most of them small.
func BenchmarkChunks(b *testing.B) {
	for _, n := range []int{500, 10_000, 1 << 20} {
		out := make([]byte, n)
		r := rand.New(rand.NewSource(1))
		for i := range out {
			out[i] = "etaoin shrdlu"[r.Intn(13)]
		}
		var gz bytes.Buffer
		w := gzip.NewWriter(&gz)
		w.Write(out)
		w.Close()
		zst, _ := zstd.NewWriter(nil)
		for c, blob := range map[index.Compression][]byte{index.Gzip: gz.Bytes(), index.Zstd: zst.EncodeAll(out, nil)} {
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
