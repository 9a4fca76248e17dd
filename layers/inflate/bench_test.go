package inflate

import (
	"archive/tar"
	"bytes"
	stdgzip "compress/gzip"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"
)

// layerTar is a tar of up to limit bytes of the regular files below dir.
func layerTar(tb testing.TB, dir string, limit int) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		if err := w.WriteHeader(&tar.Header{Name: path, Mode: 0o644, Size: int64(len(data))}); err != nil {
			return err
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
		if buf.Len() > limit {
			return fs.SkipAll
		}
		return nil
	})
	if err != nil || w.Close() != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

// goSource is the directory of the Go standard library.
func goSource(tb testing.TB) string {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		tb.Skip("go env: ", err)
	}
	return filepath.Join(strings.TrimSpace(string(root)), "src")
}

// encodings are the ways in which layers get compressed.
var encodings = []struct {
	name string
	enc  func(testing.TB, []byte) []byte
}{
	{"go6", func(tb testing.TB, p []byte) []byte { return goGzip(tb, p, 6, 0) }},
	{"pgzip", func(tb testing.TB, p []byte) []byte { return goGzip(tb, p, 5, 1<<20) }},
	{"gzip6", toolGzip},
}

// goGzip compresses with klauspost, with a sync flush each flush bytes as
// pgzip does between its blocks.
func goGzip(tb testing.TB, p []byte, level, flush int) []byte {
	var buf bytes.Buffer
	w, err := gzip.NewWriterLevel(&buf, level)
	for err == nil && len(p) > 0 {
		n := len(p)
		if flush > 0 {
			n = min(n, flush)
		}
		if _, err = w.Write(p[:n]); err == nil && flush > 0 {
			err = w.Flush()
		}
		p = p[n:]
	}
	if err != nil || w.Close() != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

func toolGzip(tb testing.TB, p []byte) []byte {
	cmd := exec.Command("gzip", "-6")
	cmd.Stdin = bytes.NewReader(p)
	out, err := cmd.Output()
	if err != nil {
		tb.Skip("gzip: ", err)
	}
	return out
}

type layer struct {
	name string
	gz   []byte
	size int64
}

// benchLayers are tars of files of this machine, text and machine code, each
// in all encodings.
func benchLayers(b *testing.B) []layer {
	const limit = 96 << 20
	var all []layer
	for _, dir := range []string{goSource(b), "/usr/lib"} {
		p := layerTar(b, dir, limit)
		for _, e := range encodings {
			all = append(all, layer{filepath.Base(dir) + "-" + e.name, e.enc(b, p), int64(len(p))})
		}
	}
	return all
}

// cpuTime is what the process has used, which other load does not change much.
func cpuTime(b *testing.B) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// BenchmarkInflate compares the decoders, checksums included; MB/s are of
// output.
func BenchmarkInflate(b *testing.B) {
	for _, l := range benchLayers(b) {
		run := func(name string, f func() (int64, error)) {
			b.Run(l.name+"/"+name, func(b *testing.B) {
				b.SetBytes(l.size)
				start := cpuTime(b)
				for b.Loop() {
					if n, err := f(); err != nil || n != l.size {
						b.Fatal(n, err)
					}
				}
				used := (cpuTime(b) - start).Seconds()
				b.ReportMetric(float64(l.size)*float64(b.N)/1e6/used, "MB/cpu-s")
			})
		}
		run("own", func() (int64, error) {
			return NewReader(bytes.NewReader(l.gz), Options{}).WriteTo(io.Discard)
		})
		run("own-spans", func() (int64, error) {
			return NewReader(bytes.NewReader(l.gz), Options{SpanSize: 1 << 20}).WriteTo(io.Discard)
		})
		run("klauspost", func() (int64, error) {
			r, err := gzip.NewReader(bytes.NewReader(l.gz))
			if err != nil {
				return 0, err
			}
			return r.WriteTo(io.Discard)
		})
		run("stdlib", func() (int64, error) {
			r, err := stdgzip.NewReader(bytes.NewReader(l.gz))
			if err != nil {
				return 0, err
			}
			return io.Copy(io.Discard, r)
		})
	}
}

// BenchmarkDecodeSpan is the time for one span of random access.
func BenchmarkDecodeSpan(b *testing.B) {
	p := layerTar(b, goSource(b), 16<<20)
	gz := goGzip(b, p, 6, 0)
	for _, size := range []int64{256 << 10, 1 << 20, 4 << 20} {
		_, spans, _, err := read(bytes.NewReader(gz), size)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(strconv.FormatInt(size>>10, 10)+"KiB", func(b *testing.B) {
			dst, n := make([]byte, 2*size), 0
			for b.Loop() {
				sp := spans[n%(len(spans)-1)]
				n++
				if err := DecodeSpan(dst[:sp.OutLen], gz[sp.In:sp.In+sp.InLen], sp.Window, sp.Bits); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(size)
		})
	}
}
