package spanfile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/zeebo/xxh3"
	"golang.org/x/sys/unix"
)

func openReadOnly(t *testing.T, dir string) *File {
	t.Helper()
	f, err := OpenReadOnly(dir, testLayout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// stateBytes is the state file as bytes.
func stateBytes(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "present.tar"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestReadOnlyFilesFollowTheirWriter(t *testing.T) {
	dir := t.TempDir()
	w := openTest(t, dir)
	fill(t, w, 2)
	r := openReadOnly(t, dir)
	mustRead(t, r, 2, true)
	mustRead(t, r, 3, false)
	fill(t, w, 3)
	mustRead(t, r, 3, true)
	h := hold(t, w, 2)
	h.Discard()
	h.Release()
	mustRead(t, r, 2, false)
	if r.Present() != 1 || r.Suspect(2) {
		t.Errorf("%d present, span 2 suspect %v", r.Present(), r.Suspect(2))
	}
}

// Bits of another boot, or of another data file, are hints; what this process
// finds out about them stays with it.
func TestReadOnlyFilesAreComparedFirst(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dir string){
		"another boot": func(t *testing.T, dir string) {
			f, err := os.OpenFile(filepath.Join(dir, "present.tar"), os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt([]byte("another boot 123"), bootOff); err != nil {
				t.Fatal(err)
			}
		},
		"a copy": func(t *testing.T, dir string) {
			b, err := os.ReadFile(filepath.Join(dir, "data.tar"))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "copy"), b, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(dir, "copy"), filepath.Join(dir, "data.tar")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w := openTest(t, dir)
			fill(t, w, 1)
			fill(t, w, 2)
			w.Close()
			spoil(t, dir)
			before := stateBytes(t, dir)
			r := openReadOnly(t, dir)
			if r.Present() != 0 || !r.Suspect(1) || !r.Suspect(2) || r.Suspect(3) {
				t.Fatalf("%v: %v %v %v", r, r.Suspect(1), r.Suspect(2), r.Suspect(3))
			}
			mustRead(t, r, 1, false)
			h := hold(t, r, 1)
			if err := h.Confirm(xxh3.Hash(content(1))); err != nil {
				t.Fatal(err)
			}
			h.Release()
			mustRead(t, r, 1, true)
			bad := hold(t, r, 2)
			bad.Drop()
			bad.Release()
			if r.Suspect(2) || r.Has(2) {
				t.Error("a span that was found wrong is still there")
			}
			if stateBytes(t, dir) != before {
				t.Error("the state file has changed")
			}
			mustRead(t, openReadOnly(t, dir), 1, false)
		})
	}
}

func TestReadOnlyFilesAreNotWritten(t *testing.T) {
	dir := t.TempDir()
	w := openTest(t, dir)
	fill(t, w, 1)
	r := openReadOnly(t, dir)
	h := hold(t, r, 0)
	defer h.Release()
	if err := h.Write(content(0), 0); !errors.Is(err, unix.EROFS) {
		t.Errorf("write: %v", err)
	}
	if err := h.Confirm(1); err == nil {
		t.Error("a span that is not on disk was confirmed")
	}
	h.Discard()
	if r.Evict(1<<30, true) != 0 {
		t.Error("bytes were freed")
	}
	mustRead(t, w, 1, true)
	if f := openReadOnly(t, t.TempDir()); !f.IsNowhere() {
		t.Error("files that are missing were opened")
	}
}
