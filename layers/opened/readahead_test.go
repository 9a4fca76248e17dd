package opened

import "testing"

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
