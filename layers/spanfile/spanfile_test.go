package spanfile

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/zeebo/xxh3"

	"github.com/peelfs/peelfs/internal/flock"
)

const (
	testSpan = 10000 // not a multiple of a page
	testLen  = 8
)

var testLayout = Layout{Space: "tar", Size: testLen * testSpan, Spans: testLen, Bounds: bounds}

func bounds(i int) (int64, int64) { return int64(i) * testSpan, testSpan }

func content(i int) []byte { return bytes.Repeat([]byte{byte(i + 1)}, testSpan) }

func lockFile(t *testing.T, dir string) *flock.File {
	t.Helper()
	l, err := flock.Open(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func openTest(t *testing.T, dir string) *File {
	t.Helper()
	f, err := Open(dir, testLayout, lockFile(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func fill(t *testing.T, f *File, i int) {
	t.Helper()
	h := hold(t, f, i)
	defer h.Release()
	off, _ := f.layout.Bounds(i)
	if err := h.Write(content(i), off); err != nil {
		t.Fatal(err)
	}
	if err := h.Confirm(xxh3.Hash(content(i))); err != nil {
		t.Fatal(err)
	}
}

func hold(t *testing.T, f *File, i int) *Held {
	t.Helper()
	h, err := f.TryLock(i)
	if err != nil || h == nil {
		t.Fatalf("lock of span %d: %v, %v", i, h, err)
	}
	return h
}

func mustRead(t *testing.T, f *File, i int, want bool) {
	t.Helper()
	p := make([]byte, testSpan)
	off, _ := bounds(i)
	ok, err := f.ReadPresent(p, off, i, i)
	if err != nil || ok != want {
		t.Fatalf("span %d: %v, %v; want %v", i, ok, err, want)
	}
	if ok && !bytes.Equal(p, content(i)) {
		t.Fatalf("span %d has wrong bytes", i)
	}
}

func TestWhatOneOpenerWritesAnotherReads(t *testing.T) {
	dir := t.TempDir()
	a, b := openTest(t, dir), openTest(t, dir)
	mustRead(t, a, 3, false)
	fill(t, a, 3)
	mustRead(t, b, 3, true)
	mustRead(t, b, 2, false)
	if b.Present() != 1 || b.Complete() {
		t.Fatalf("present %d", b.Present())
	}
	h := hold(t, b, 3)
	h.Drop()
	h.Release()
	mustRead(t, a, 3, false)
}

func TestEvictSparesWhatWasReadAndWhatIsBeingFilled(t *testing.T) {
	dir := t.TempDir()
	f := openTest(t, dir)
	for i := range testLen {
		fill(t, f, i)
	}
	evictor := openTest(t, dir)
	if freed := evictor.Evict(1<<40, false); freed != 0 {
		t.Fatalf("fresh spans count as used, yet %d bytes went", freed)
	}
	mustRead(t, f, 5, true)
	hold(t, openTest(t, dir), 2)
	if freed := evictor.Evict(1<<40, false); freed == 0 {
		t.Fatal("nothing freed")
	}
	for i := range testLen {
		mustRead(t, f, i, i == 5 || i == 2)
	}
	// The neighbours of a dropped span keep the pages that they share with it.
	fill(t, f, 4)
	mustRead(t, f, 4, true)
	mustRead(t, f, 5, true)
}

func TestBitsOfAnEarlierBootAreSuspect(t *testing.T) {
	dir := t.TempDir()
	f := openTest(t, dir)
	fill(t, f, 1)
	path := filepath.Join(dir, "present.tar")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[bootOff] ^= 0xff
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	g := openTest(t, dir)
	mustRead(t, g, 1, false)
	if !g.Suspect(1) || g.Suspect(0) {
		t.Fatal("exactly span 1 must be suspect")
	}
	if err := hold(t, g, 1).Confirm(0); err != nil {
		t.Fatal(err)
	}
	mustRead(t, g, 1, true)
	if g.Suspect(1) {
		t.Fatal("still suspect")
	}
}

func TestDamagedFilesAreReplacedByEmptyOnes(t *testing.T) {
	for name, damage := range map[string]func(dir string) error{
		"state cut":  func(d string) error { return os.Truncate(filepath.Join(d, "present.tar"), 5000) },
		"state gone": func(d string) error { return os.Remove(filepath.Join(d, "present.tar")) },
		"data cut":   func(d string) error { return os.Truncate(filepath.Join(d, "data.tar"), 100) },
		"magic broken": func(d string) error {
			return os.WriteFile(filepath.Join(d, "present.tar"), make([]byte, stateSize(testLen)), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			f := openTest(t, dir)
			fill(t, f, 1)
			if err := damage(dir); err != nil {
				t.Fatal(err)
			}
			g := openTest(t, dir)
			mustRead(t, g, 1, false)
			fill(t, g, 1)
			mustRead(t, g, 1, true)
		})
	}
}

func TestAdoptedFileIsComplete(t *testing.T) {
	dir := t.TempDir()
	tmp := filepath.Join(dir, "tmp")
	var all []byte
	for i := range testLen {
		all = append(all, content(i)...)
	}
	if err := os.WriteFile(tmp, all, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Adopt(dir, testLayout, tmp, lockFile(t, dir)); err != nil {
		t.Fatal(err)
	}
	f := openTest(t, dir)
	if !f.Complete() {
		t.Fatal("not complete")
	}
	mustRead(t, f, 7, true)
}

// Readers never see a punched span as zeros, whatever the evictor does.
func TestReadersAgainstEvictor(t *testing.T) {
	dir := t.TempDir()
	f := openTest(t, dir)
	evictor, filler := openTest(t, dir), openTest(t, dir)
	var readers sync.WaitGroup
	for range 4 {
		readers.Add(1)
		go func() {
			defer readers.Done()
			p := make([]byte, testSpan)
			for n := range 4000 {
				i := n % testLen
				off, _ := bounds(i)
				if ok, err := f.ReadPresent(p, off, i, i); err != nil || ok && !bytes.Equal(p, content(i)) {
					t.Errorf("span %d: %v, wrong bytes", i, err)
					return
				}
			}
		}()
	}
	done := make(chan struct{})
	go func() { readers.Wait(); close(done) }()
	for {
		select {
		case <-done:
			return
		default:
		}
		for i := range testLen {
			fill(t, filler, i)
		}
		evictor.Evict(1<<40, true)
	}
}

// A process that is killed between any two steps of dropping or showing a span
// must not make the file look fuller than it is.
func TestADeathHalfwayThroughADropShowsNoHoles(t *testing.T) {
	dir := t.TempDir()
	f := openTest(t, dir)
	for i := range testLen {
		fill(t, f, i)
	}
	f.st.clear(f.st.present, 3) // and the process died here
	g := openTest(t, dir)
	if g.Complete() || g.Present() != testLen-1 {
		t.Fatalf("%d spans", g.Present())
	}
	mustRead(t, g, 3, false)
	g.Evict(1, true)
	fill(t, g, 3)
	mustRead(t, g, 0, false) // dropped
	mustRead(t, f, 0, false)
}

// Chunks of small files lie a page apart and are shorter than one.
func TestEvictFreesPagesOfShortSpans(t *testing.T) {
	const n, short = 64, 300
	at := func(i int) (int64, int64) { return int64(i) * pageSize, short }
	dir := t.TempDir()
	f, err := Open(dir, Layout{Space: "packed", Size: (n-1)*pageSize + short, Spans: n, Bounds: at}, lockFile(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range n {
		h := hold(t, f, i)
		off, _ := at(i)
		if err := h.Write(content(i)[:short], off); err != nil {
			t.Fatal(err)
		}
		if err := h.Confirm(0); err != nil {
			t.Fatal(err)
		}
		h.Release()
	}
	full := f.Allocated()
	if freed := f.Evict(full/2, true); freed < full/2 || f.Allocated() != full-freed {
		t.Fatalf("freed %d of %d bytes", freed, full)
	}
	if p := f.Present(); p == 0 || p > n/2 {
		t.Fatalf("%d spans left", p)
	}
	if f.Evict(1<<40, true); f.Allocated() != 0 {
		t.Fatalf("%d bytes are still taken", f.Allocated())
	}
}

// Bytes that nobody shows, because their writer or their evictor died or the
// machine was rebooted, are the first to go.
func TestEvictFreesWhatIsNotPresent(t *testing.T) {
	dir := t.TempDir()
	f := openTest(t, dir)
	for i := range testLen {
		h := hold(t, f, i)
		off, _ := bounds(i)
		if err := h.Write(content(i), off); err != nil {
			t.Fatal(err)
		}
		h.Release()
	}
	f.st.set(f.st.suspect, 2)
	fill(t, f, 6)
	f.Evict(1<<40, false)
	mustRead(t, f, 6, true)
	if f.Suspect(2) {
		t.Error("the bytes of span 2 are gone, and it is suspect still")
	}
	if got := f.Allocated(); got > testSpan+2*pageSize {
		t.Errorf("%d bytes are still taken", got)
	}
}
