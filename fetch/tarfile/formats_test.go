package tarfile

import (
	"bytes"
	"encoding/base64"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/tartest"
)

func packed(t *testing.T, data []byte, pack func(io.Writer) (io.WriteCloser, error)) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := pack(&out)
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// bzipped is a tar of one file a that has "hello", in bzip2, for which there is no
// encoder here.
const bzipped = "QlpoOTFBWSZTWanqkMYAAGz7gMmAAAJAAG8AAADiRJ4ACAggAFRCAAGgaaCKmoGjTQAH2syEQ5tREp1WZpTHBBJBIrAxITaEwwlSXhjhI+J0w6iJMREA+LuSKcKEhU9UhjA="

func TestEveryCompression(t *testing.T) {
	plain := tartest.Of(tartest.File("a", "hello"))
	bz, err := base64.StdEncoding.DecodeString(bzipped)
	if err != nil {
		t.Fatal(err)
	}
	gz := packed(t, plain, func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil })
	zst := packed(t, plain, func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) })
	skip := append([]byte{0x5a, 0x2a, 0x4d, 0x18, 5, 0, 0, 0}, "skip!"...)
	for name, data := range map[string][]byte{
		"plain": plain, "gzip": gz, "bzip2": bz, "zstd": zst,
		"xz":                         packed(t, plain, func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) }),
		"zstd behind skipped frames": append(append(bytes.Clone(skip), skip...), zst...),
		"zstd before skipped frames": append(bytes.Clone(zst), skip...),
		"zstd of two frames":         append(packed(t, plain[:700], func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }), packed(t, plain[700:], func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) })...),
		"gzip of two members":        append(packed(t, plain[:700], func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }), packed(t, plain[700:], func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil })...),
		"gzip with padding":          append(bytes.Clone(gz), make([]byte, 1000)...),
		"a name like gzip":           tartest.Of(tartest.File("\x1f\x8bb", "x"), tartest.File("a", "hello")),
		"a name like bzip2":          tartest.Of(tartest.File("BZh9", "x"), tartest.File("a", "hello")),
		"a name like zstd":           tartest.Of(tartest.File("Q*M\x18", "x"), tartest.File("a", "hello")),
	} {
		f, err := Open(t.Context(), write(t, data), t.TempDir())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := f.ReadFile("a", 10); string(got) != "hello" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		f.Close()
		if name == "plain" || strings.HasPrefix(name, "a name") || strings.Contains(name, "skipped") || strings.Contains(name, "padding") {
			continue
		}
		_, err = Open(t.Context(), write(t, data[:len(data)-9]), t.TempDir())
		if !errkind.Is(err, errkind.Corrupt) {
			t.Errorf("%s, cut: %v", name, err)
		}
	}
}

// Sparse members in the four formats of GNU tar; layers/tarindex has the same files.
func TestSparseMembers(t *testing.T) {
	holes := make([]byte, 1<<20)
	for i := range 30 {
		n := 4096
		if i%4 == 0 {
			n = 8192
		}
		copy(holes[i*(16384+4096*(i%3)):], bytes.Repeat([]byte{byte('A' + i)}, n))
	}
	want := map[string][]byte{
		"holes": holes, "tail": append(make([]byte, 1<<20), "end of a long hole"...), "allhole": make([]byte, 300000),
	}
	random := rand.New(rand.NewSource(1))
	for _, format := range []string{"gnu", "0.0", "0.1", "1.0"} {
		f, err := Open(t.Context(), "../../layers/tarindex/testdata/sparse-"+format+".tar.gz", t.TempDir())
		if err != nil {
			t.Fatal(format, err)
		}
		defer f.Close()
		for name, want := range want {
			got, err := f.ReadFile(name, 2<<20)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %s has other content, %v", format, name, err)
			}
			b, err := f.Blob(name)
			if err != nil {
				t.Fatal(err)
			}
			if n, ok := b.Size(); !ok || n != int64(len(want)) {
				t.Errorf("%s: %s has %d bytes", format, name, n)
			}
			for range 50 {
				off := random.Int63n(int64(len(want)))
				n := random.Int63n(min(20000, int64(len(want))-off) + 1)
				body, _, err := b.ReadRange(t.Context(), off, n)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, want[off:off+n]) {
					t.Fatalf("%s: %s at %d+%d is wrong, %v", format, name, off, n, err)
				}
			}
		}
	}
}

func TestArchivesThatAreNotWhole(t *testing.T) {
	whole := tartest.Of(tartest.File("one", "1"), tartest.File("two", strings.Repeat("2", 3000)), tartest.File("three", "3"))
	for _, c := range []struct {
		size  int
		words string
	}{
		{0, "empty"}, {512 * 4, ""}, {512*4 + 100, "two"}, {512*5 + 100, "within its member two: 100 of its 3000 bytes"},
		{1024 + 700, "member one"},
	} {
		_, err := Open(t.Context(), write(t, whole[:c.size]), "")
		if c.words == "" && err == nil {
			continue
		}
		if !errkind.Is(err, errkind.Corrupt) || !strings.Contains(err.Error(), "x.tar") {
			t.Errorf("%d bytes: %v", c.size, err)
		}
	}
}

// What is no file is refused at once, and a fifo is not waited for.
func TestArchivesThatAreNoFiles(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{fifo, dir, os.DevNull} {
		if _, err := Open(t.Context(), name, ""); !errkind.Is(err, errkind.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNamesThatComeTwice(t *testing.T) {
	f, err := Open(t.Context(), write(t, tartest.Of(tartest.File("a", "old"), tartest.Link("h", "a"), tartest.Symlink("s", "a"),
		tartest.File("/a", "new"), tartest.Link("late", "b"), tartest.File("b", "b"),
		tartest.File("gone", "x"), tartest.Dir("gone"), tartest.File("d/f", "f"), tartest.Symlink("e", "d"), tartest.Symlink("/e2", "/e"))), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, want := range map[string]string{"a": "new", "/a": "new", "./a": "new", "s": "new", "h": "old", "late": "b", "e/f": "f", "e2/f": "f"} {
		if got, err := f.ReadFile(name, 10); string(got) != want {
			t.Errorf("%s = %q, %v", name, got, err)
		}
	}
	if f.Has("gone") {
		t.Error("a file that became a directory is still there")
	}
}
