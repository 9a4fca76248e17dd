package output

import (
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestAgo(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for d, want := range map[time.Duration]string{
		time.Second: "just now", 90 * time.Second: "1 min ago", 119 * time.Minute: "119 min ago", 3 * time.Hour: "3 h ago", 72 * time.Hour: "3 days ago",
	} {
		if got := Ago(now.Add(-d), now); got != want {
			t.Errorf("%v: %s", d, got)
		}
	}
	if got := Ago(time.Time{}, now); got != "never" {
		t.Error(got)
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{"plain": "plain", "é x": "é x", "a\nb": `"a\nb"`, "\x1b[31m": `"\x1b[31m"`, "\xff": `"\xff"`} {
		if got := Printable(in); got != want {
			t.Errorf("%q: %s", in, got)
		}
	}
}

func TestShortDigest(t *testing.T) {
	for in, want := range map[string]string{
		"sha256:0123456789abcdef": "0123456789ab", "0123456789abcdef": "0123456789ab", "sha512:01": "01", "": "",
	} {
		if got := ShortDigest(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain é x":               "plain é x",
		"title \x1b]0;X\x07 end":  `title \x1b]0;X\a end`,
		"one\npeelfs: two":        "one\n  peelfs: two",
		"one\n  two":              "one\n  two",
		"back\rhint: fake":        `back\rhint: fake`,
		"\u202ereversed\u009b31m": `\u202ereversed\u009b31m`,
		"a\xffb":                  `a\xffb`,
	} {
		if got := Clean(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// Whatever a message is made of, a terminal gets lines of printable characters,
// and only the first of them begins at the margin.
func TestCleanNeverDisturbs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := string(rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "bytes")) + rapid.String().Draw(t, "text")
		out := Clean(in)
		for i, line := range strings.Split(out, "\n") {
			if i > 0 && line != "" && line[0] != ' ' {
				t.Fatalf("%q: line %d begins at the margin: %q", in, i, line)
			}
			for _, r := range line {
				if !unicode.IsPrint(r) || r == utf8.RuneError && !strings.ContainsRune(in, utf8.RuneError) {
					t.Fatalf("%q became %q", in, out)
				}
			}
		}
	})
}
