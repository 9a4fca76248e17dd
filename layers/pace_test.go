package layers

import (
	"testing"
	"time"
)

// distant makes the store believe that its source is 40 ms away at 25 MB/s.
func distant(s *Store) { s.pace.note(40*time.Millisecond, 40*time.Millisecond, 1<<20) }

func TestReadAheadFollowsHowALayerIsRead(t *testing.T) {
	none, all := func(int) bool { return false }, func(int) bool { return true }
	near := readAhead{}
	if w := near.see(5, 0, all); w != 0 {
		t.Errorf("a near source: %d bytes at once", w)
	}
	near.next = 6
	if a, b := near.see(6, 0, all), near.see(6, 0, all); a != minAhead || b != 2*minAhead {
		t.Errorf("sequential: %d, then %d", a, b)
	}
	if w := near.see(90, 0, all); w != 0 {
		t.Errorf("a jump: %d", w)
	}

	const worth = 1 << 20
	far := readAhead{}
	if w := far.see(5, worth, none); w != worth {
		t.Errorf("a first look: %d", w)
	}
	far.guessed = []int{6, 7, 8, 9}
	if w := far.see(50, worth, func(i int) bool { return i == 7 }); w != 2*worth {
		t.Errorf("a right guess: %d", w)
	}
	for range 30 {
		far.see(70, worth, none)
	}
	if far.guessed = nil; far.see(20, worth, none) != 0 {
		t.Errorf("wrong guesses go on: %d", far.window)
	}
	for far.next = 21; far.window < maxAhead; {
		far.see(21, worth, none)
	}
	if w := far.see(21, worth, none); w != maxAhead {
		t.Errorf("the bound: %d", w)
	}
}

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
	l.pay(t.Context(), a, time.Hour)
	if b.requests.Load() != 0 {
		t.Fatal("a near source's layer is fetched whole")
	}
	distant(s)
	l.pay(t.Context(), a, time.Hour)
	l.crew.Wait()
	if !a.data.Complete() {
		t.Fatalf("not complete: %v", a.data)
	}
	before := b.requests.Load()
	mustHave(t, l, files)
	if b.requests.Load() != before {
		t.Error("something was fetched twice")
	}
}
