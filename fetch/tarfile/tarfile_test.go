package tarfile

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/tartest"
)

func write(t testing.TB, data []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "x.tar")
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

var sample = tartest.Of(tartest.Dir("./d/"), tartest.File("./d/a", "hello"), tartest.Symlink("s", "d/a"), tartest.Link("h", "./s"),
	tartest.Symlink("d/up", "../d/a"), tartest.Symlink("out", "../x"), tartest.Symlink("abs", "/etc/passwd"), tartest.Symlink("loop", "loop"),
	tartest.File("../escape", "no"), tartest.File("/abs2", "yes"), tartest.File("d/a2", "twice"), tartest.File("d/a2", "last"))

func TestMembers(t *testing.T) {
	var zipped bytes.Buffer
	zw := gzip.NewWriter(&zipped)
	zw.Write(sample)
	zw.Close()
	for name, data := range map[string][]byte{"plain": sample, "gzip": zipped.Bytes()} {
		tmp := t.TempDir()
		f, err := Open(t.Context(), write(t, data), filepath.Join(tmp, "spool"))
		if err != nil {
			t.Fatal(name, err)
		}
		defer f.Close()
		for member, want := range map[string]string{"d/a": "hello", "./d/a": "hello", "s": "hello", "h": "hello", "d/up": "hello", "d/../s": "hello", "d/a2": "last", "/abs2": "yes", "abs2": "yes", "/d/a": "hello"} {
			got, err := f.ReadFile(member, 10)
			if err != nil || string(got) != want {
				t.Errorf("%s: %s = %q, %v", name, member, got, err)
			}
		}
		for _, member := range []string{"out", "abs", "loop", "../escape", "escape", "nosuch", "", ".", "d"} {
			if _, err := f.ReadFile(member, 10); !errors.Is(err, ErrNotExist) || f.Has(member) {
				t.Errorf("%s: %s: %v", name, member, err)
			}
		}
		if target, err := f.Target("h"); err != nil || target != "d/a" {
			t.Errorf("target of h is %q, %v", target, err)
		}
		if _, err := f.ReadFile("d/a", 4); !errkind.Is(err, errkind.Unsupported) {
			t.Errorf("a member over the limit: %v", err)
		}
		if left, _ := filepath.Glob(filepath.Join(tmp, "spool/*")); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestBlobRanges(t *testing.T) {
	f, err := Open(t.Context(), write(t, sample), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := f.Blob("s")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		off, n int64
		want   string
	}{{0, -1, "hello"}, {1, 3, "ell"}, {5, -1, ""}, {5, 0, ""}} {
		body, at, err := b.ReadRange(t.Context(), c.off, c.n)
		if err != nil || at != c.off {
			t.Fatal(at, err)
		}
		if got, err := io.ReadAll(body); err != nil || string(got) != c.want {
			t.Errorf("%d+%d = %q, %v", c.off, c.n, got, err)
		}
	}
	for _, c := range [][2]int64{{-1, 1}, {6, -1}, {4, 2}, {0, 1 << 62}} {
		if _, _, err := b.ReadRange(t.Context(), c[0], c[1]); !errkind.Is(err, errkind.Corrupt) {
			t.Errorf("%v: %v", c, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	body, _, err := b.ReadRange(ctx, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.ReadAll(body); !errkind.Is(err, errkind.Canceled) {
		t.Errorf("after cancel: %v", err)
	}
}

func TestFileThatShrinks(t *testing.T) {
	name := write(t, tartest.Of(tartest.File("a", string(make([]byte, 10_000)))))
	f, err := Open(t.Context(), name, "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := f.Blob("a")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, 2000); err != nil {
		t.Fatal(err)
	}
	body, _, err := b.ReadRange(t.Context(), 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(body); !errkind.Is(err, errkind.Corrupt) {
		t.Errorf("a file that was cut: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(sample)
	f.Add([]byte("\x1f\x8b\x08\x00"))
	f.Add(sample[:700])
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := Open(t.Context(), write(t, data), t.TempDir())
		if err != nil {
			if k := errkind.Of(err); k == errkind.Internal {
				t.Errorf("kind %v: %v", k, err)
			}
			return
		}
		defer x.Close()
		for _, name := range x.Names() {
			b, err := x.Blob(name)
			if err != nil {
				continue
			}
			body, _, err := b.ReadRange(t.Context(), 0, -1)
			if err != nil {
				t.Fatalf("%q: %v", name, err)
			}
			if size, _ := b.Size(); size < 1<<20 {
				if got, err := io.ReadAll(body); err != nil || int64(len(got)) != size {
					t.Errorf("%q: %d bytes of %d, %v", name, len(got), size, err)
				}
			}
		}
	})
}
