package progress

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/peelfs/peelfs/internal/errkind"
)

func width(n int) func() int { return func() int { return n } }

func TestPlainSaysEachStateOnce(t *testing.T) {
	var b strings.Builder
	d := New(&b, Auto, false, width(80))
	for _, tasks := range [][]Task{
		{{Label: "one", State: "waiting"}, {Label: "two", State: "downloading", Total: 2000, Busy: true}},
		{{Label: "one", State: "waiting"}, {Label: "two", State: "downloading", Done: 1000, Total: 2000, Busy: true}},
		{{Label: "one", State: "complete", Total: 10}, {Label: "two", State: "complete", Total: 2000}},
	} {
		d.Show(tasks)
	}
	d.Clear()
	want := "one: waiting\ntwo: downloading 0 B/2.0 kB\none: complete 10 B\ntwo: complete 2.0 kB\n"
	if b.String() != want {
		t.Errorf("%q", b.String())
	}
}

func TestBarIsRedrawnInPlace(t *testing.T) {
	var b strings.Builder
	d := New(&b, Auto, true, width(60))
	d.Show([]Task{{Label: "one", State: "x", Done: 50, Total: 100, Busy: true}, {Label: "two", State: "waiting"}})
	first := b.String()
	if !strings.Contains(first, "[===============               ]") || strings.Count(first, "\n") != 2 {
		t.Errorf("%q", first)
	}
	b.Reset()
	d.Show([]Task{{Label: "one", State: "complete"}})
	if !strings.HasPrefix(b.String(), "\x1b[2A") || !strings.HasSuffix(b.String(), "\x1b[J") {
		t.Errorf("%q", b.String())
	}
	b.Reset()
	d.Clear()
	if b.String() != "\x1b[1A\x1b[J" {
		t.Errorf("%q", b.String())
	}
	d.Clear()
	if b.String() != "\x1b[1A\x1b[J" {
		t.Errorf("cleared twice: %q", b.String())
	}
}

func TestNoneIsSilent(t *testing.T) {
	var b strings.Builder
	d := New(&b, None, true, width(60))
	d.Show([]Task{{Label: "one"}})
	d.Clear()
	if b.Len() != 0 {
		t.Errorf("%q", b.String())
	}
}

// No line is wider than the terminal: a wrapped one would not be redrawn.
func TestLinesFit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := rapid.IntRange(20, 200).Draw(t, "width")
		var b strings.Builder
		New(&b, Bar, true, width(w)).Show([]Task{{
			Label: rapid.StringMatching(`[a-zé ]{0,80}`).Draw(t, "label"), State: rapid.StringMatching(`[a-z]{0,40}`).Draw(t, "state"),
			Done: rapid.Int64Min(0).Draw(t, "done"), Total: rapid.Int64Range(-1, 1<<50).Draw(t, "total"), Busy: rapid.Bool().Draw(t, "busy"),
		}})
		line := strings.TrimSuffix(b.String(), "\x1b[K\n")
		if n := utf8.RuneCountInString(line); n >= w {
			t.Fatalf("%d columns of %d: %q", n, w, line)
		}
	})
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		-1: "?", 0: "0 B", 999: "999 B", 1000: "1.0 kB", 9949: "9.9 kB", 9950: "10 kB", 999499: "999 kB", 999500: "1.0 MB",
		12345678: "12 MB", 1 << 60: "1153 PB",
	} {
		if got := Size(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestParseMode(t *testing.T) {
	for s, want := range map[string]Mode{"": Auto, "auto": Auto, "bar": Bar, "plain": Plain, "none": None} {
		if got, err := ParseMode(s); err != nil || got != want {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	if _, err := ParseMode("loud"); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("%v", err)
	}
}
