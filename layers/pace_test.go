package layers

import (
	"testing"
	"time"
)

// distant makes the store believe that its source is 40 ms away at 25 MB/s.
func distant(s *Store) { s.shared.Pace.Note(40*time.Millisecond, 40*time.Millisecond, 1<<20) }

func TestALayerThatIsWaitedForLongEnoughIsFetchedWhole(t *testing.T) {
	tar, files := bigTar()
	dir := t.TempDir()
	s := openTestStore(t, dir, Options{IndexOnly: true})
	src, _ := sourceOf(tar, gz(tar))
	if _, err := s.Layer(src).Index(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = openTestStore(t, dir, Options{})
	src, b := sourceOf(tar, gz(tar))
	l := s.Layer(src)
	a, err := l.acquire(t.Context())
	must(t, err)
	a.NoteWait(t.Context(), time.Hour)
	if b.requests.Load() != 0 {
		t.Fatal("a near source's layer is fetched whole")
	}
	distant(s)
	a.NoteWait(t.Context(), time.Hour)
	l.crew.Wait()
	if !a.Data.Complete() {
		t.Fatalf("not complete: %v", a.Data)
	}
	before := b.requests.Load()
	mustHave(t, l, files)
	if b.requests.Load() != before {
		t.Error("something was fetched twice")
	}
}
