package spanfile

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/peelfs/peelfs/internal/flock"
)

func mustNotLock(t *testing.T, f *File, i int) {
	t.Helper()
	if h, err := f.TryLock(i); h != nil || err != nil {
		t.Fatalf("span %d: %v, %v; somebody holds it", i, h, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Goroutines that share a File exclude each other, and so do those that opened
// the files for themselves, as other processes do.
func TestOneHolderForEachSpan(t *testing.T) {
	dir := t.TempDir()
	a, b := openTest(t, dir), openTest(t, dir)
	h := hold(t, a, 3)
	mustNotLock(t, a, 3)
	mustNotLock(t, b, 3)
	hold(t, a, 4).Release()
	hold(t, b, 4)
	h.Release()
	h.Release() // once more does no harm
	h = hold(t, b, 3)
	mustNotLock(t, a, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := a.Lock(ctx, 3); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	done := make(chan error, 1)
	go func() {
		h, err := a.Lock(t.Context(), 3)
		h.Release()
		done <- err
	}()
	h.Release()
	must(t, <-done)
}

// A program without pairs locks the layer's lock file; and a lock file that was
// removed and made again does not let two in.
func TestLocksOfOtherKinds(t *testing.T) {
	dir := t.TempDir()
	a := openTest(t, dir)
	older := lockFile(t, dir)
	if ok, err := older.TryLock(spanLocks+2, 1); !ok || err != nil {
		t.Fatal(ok, err)
	}
	mustNotLock(t, a, 2)
	hold(t, a, 1)
	if ok, err := older.TryLock(spanLocks+1, 1); ok || err != nil {
		t.Fatal(ok, err)
	}
	must(t, os.Remove(filepath.Join(dir, "lock")))
	mustNotLock(t, openTest(t, dir), 1)
}

func TestWithoutItsLockNothingChanges(t *testing.T) {
	f := openTest(t, t.TempDir())
	fill(t, f, 1)
	h := hold(t, f, 1)
	if err := h.Write(content(2), 2*testSpan); err == nil {
		t.Error("wrote another span")
	}
	if err := h.Write(content(1), testSpan+1); err == nil {
		t.Error("wrote beyond the span")
	}
	h.Release()
	if h.Write(content(3), testSpan) == nil || h.Confirm(0) == nil || h.ConfirmUnread(0) == nil {
		t.Error("a lock that was given back still serves")
	}
	h.Drop()
	mustRead(t, f, 1, true)
	mustRead(t, f, 2, false)
}

// A process that has a pair of files open goes on with that pair, in bytes, bits and
// locks, when another one takes its place.
func TestAPairIsReplacedAsAPair(t *testing.T) {
	longer := Layout{Space: "tar", Size: (testLen + 1) * testSpan, Spans: testLen + 1, Bounds: bounds}
	for name, replace := range map[string]func(t *testing.T, dir string) *File{
		"another layout": func(t *testing.T, dir string) *File {
			f, err := Open(dir, longer, lockFile(t, dir))
			must(t, err)
			return f
		},
		"adopted": func(t *testing.T, dir string) *File {
			tmp := filepath.Join(dir, "tmp")
			must(t, os.WriteFile(tmp, bytes.Repeat([]byte{0xee}, testLen*testSpan), 0o600))
			must(t, Adopt(dir, testLayout, tmp, lockFile(t, dir)))
			return openTest(t, dir)
		},
		"removed": func(t *testing.T, dir string) *File {
			must(t, Remove(dir, "tar", lockFile(t, dir)))
			return openTest(t, dir)
		},
		"data lost": func(t *testing.T, dir string) *File {
			must(t, os.Remove(filepath.Join(dir, "data.tar")))
			return openTest(t, dir)
		},
		"directory lost": func(t *testing.T, dir string) *File {
			must(t, os.RemoveAll(dir))
			must(t, os.Mkdir(dir, 0o700))
			return openTest(t, dir)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "layer")
			must(t, os.Mkdir(dir, 0o700))
			old := openTest(t, dir)
			fill(t, old, 1)
			fresh := replace(t, dir)
			defer fresh.Close()
			if fresh.Suspect(1) || fresh.Has(1) != (name == "adopted") {
				t.Error("bits of the old pair are those of the new one")
			}
			mustRead(t, old, 1, true)
			fill(t, old, 2)
			mustRead(t, old, 2, true)
			if old.Evict(1<<40, true) == 0 {
				t.Error("nothing is dropped from the old pair")
			}
			if name == "adopted" && !fresh.Complete() || name != "adopted" && fresh.Present() != 0 {
				t.Errorf("%d spans of the new pair", fresh.Present())
			}
		})
	}
}

// A state that stands beside data that is not its own proves nothing, and the
// process that goes on with that data does not touch the state of this one.
func TestBitsOfOtherDataAreSuspect(t *testing.T) {
	dir := t.TempDir()
	old := openTest(t, dir)
	fill(t, old, 1)
	other := filepath.Join(dir, "other")
	must(t, os.WriteFile(other, make([]byte, testLen*testSpan), 0o600))
	must(t, os.Rename(other, filepath.Join(dir, "data.tar")))
	f := openTest(t, dir)
	if f.Has(1) || !f.Suspect(1) {
		t.Error("span 1 is not suspect")
	}
	fill(t, old, 2)
	if f.Has(2) {
		t.Error("a bit of other data shows")
	}
	fill(t, f, 3)
	g := openTest(t, dir) // and now it stays
	mustRead(t, g, 3, true)
}

// Programs before this one set bits without locks.
func TestBitsThatWereSetWithoutLocksAreSuspect(t *testing.T) {
	dir := t.TempDir()
	f := openTest(t, dir)
	fill(t, f, 1)
	clear(f.st.m[rulesOff:64])
	g := openTest(t, dir)
	if g.Has(1) || !g.Suspect(1) {
		t.Error("span 1 is not suspect")
	}
	must(t, hold(t, g, 1).Confirm(0))
	mustRead(t, openTest(t, dir), 1, true)
}

func TestSumsAreKeptWithTheirSpans(t *testing.T) {
	dir := t.TempDir()
	layout := testLayout
	layout.Sums = true
	open := func() *File {
		f, err := Open(dir, layout, lockFile(t, dir))
		must(t, err)
		t.Cleanup(func() { f.Close() })
		return f
	}
	agrees := func(f *File, i int, sum uint64, same, known bool) {
		t.Helper()
		if s, k := f.Agrees(i, sum); s != same || k != known {
			t.Errorf("span %d: same %v, known %v", i, s, k)
		}
	}
	f := open()
	agrees(f, 1, 0, false, false)
	fill(t, f, 1)
	agrees(f, 1, xxh3.Hash(content(1)), true, true)
	agrees(f, 1, 12345, false, true)
	agrees(open(), 1, xxh3.Hash(content(1)), true, true)
	must(t, hold(t, f, 2).Confirm(0))
	agrees(f, 2, 0, true, true)
	must(t, os.Remove(filepath.Join(dir, "sums.tar")))
	g := open()
	if g.Has(1) || !g.Suspect(1) {
		t.Error("a span without a checksum is not suspect")
	}
	agrees(g, 1, xxh3.Hash(content(1)), false, false)
}

// A bit is not set when its checksum cannot be written.
func TestNoBitWithoutItsSum(t *testing.T) {
	dir := t.TempDir()
	layout := testLayout
	layout.Sums = true
	f, err := Open(dir, layout, lockFile(t, dir))
	must(t, err)
	defer f.Close()
	f.sums.file.Close()
	if f.sums.file, err = os.Open("/dev/full"); err != nil {
		t.Skip(err)
	}
	h := hold(t, f, 1)
	must(t, h.Write(content(1), testSpan))
	if h.Confirm(1) == nil || f.Has(1) {
		t.Error("the span is present")
	}
}

// Files are the same pair only while nothing came between the steps of opening
// them: openers, replacers and removers in turn never mix two.
func TestOpenersAgainstReplacers(t *testing.T) {
	dir := t.TempDir()
	done := make(chan error, 2)
	work := func(fn func(l *flock.File) error) {
		l, err := flock.Open(filepath.Join(dir, "lock"))
		for n := 0; n < 300 && err == nil; n++ {
			err = fn(l)
		}
		done <- err
	}
	go work(func(l *flock.File) error { return Remove(dir, "tar", l) })
	go work(func(l *flock.File) error {
		f, err := Open(dir, testLayout, l)
		if err != nil {
			return err
		}
		defer f.Close()
		h, err := f.TryLock(1)
		if h == nil {
			return err
		}
		if err := h.Write(content(1), testSpan); err != nil {
			return err
		}
		return h.Confirm(0)
	})
	for left := 2; left > 0; {
		select {
		case err := <-done:
			must(t, err)
			left--
		default:
			f, err := Open(dir, testLayout, lockFile(t, dir))
			must(t, err)
			p := make([]byte, testSpan)
			if ok, err := f.ReadPresent(p, testSpan, 1, 1); err != nil || ok && !bytes.Equal(p, content(1)) {
				t.Fatalf("wrong bytes, %v", err)
			}
			f.Close()
		}
	}
}
