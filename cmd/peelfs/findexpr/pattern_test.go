package findexpr

import (
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
)

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern string
		yes, no []string
	}{
		{"*", []string{"", "a", ".a", "a/b"}, nil},
		{"?", []string{"a", "/", "é"}, []string{"", "ab", "éa"}},
		{"a*b*c", []string{"abc", "axxbyyc", "abbcc"}, []string{"ab", "acb"}},
		{"[!a]", []string{"b", "!", "é"}, []string{"a", "", "bb"}},
		{"[^a]", []string{"b"}, []string{"a"}},
		{"[]a]", []string{"]", "a"}, []string{"b", "]a"}},
		{"[!]a]", []string{"b"}, []string{"]", "a"}},
		{"[a-]", []string{"a", "-"}, []string{"b"}},
		{"[-a]", []string{"a", "-"}, []string{"b"}},
		{"[a-c]x", []string{"ax", "bx"}, []string{"dx", "-x"}},
		{"[[:upper:]]", []string{"A", "É"}, []string{"a", "1"}},
		{"[[:digit:]x]", []string{"1", "x"}, []string{":", "["}},
		{"[[:nonsense:]]", nil, []string{"n", "[", ":"}},
		{"[", []string{"["}, []string{"", "a"}},
		{"a[b", []string{"a[b"}, []string{"ab"}},
		{`\*`, []string{"*"}, []string{"a", `\*`}},
		{`[\]]`, []string{"]"}, []string{`\`}},
		{"[9-", nil, []string{"[9-", "9"}},
		{`a\`, nil, []string{"a", `a\`}},
		{"[z-a]", nil, []string{"a", "z", "m"}},
		{"[[.a.]]", []string{"a"}, []string{"."}},
	} {
		p := compile(c.pattern, true, false)
		for _, s := range c.yes {
			if !p.match(s) {
				t.Errorf("%s does not match %q", c.pattern, s)
			}
		}
		for _, s := range c.no {
			if p.match(s) {
				t.Errorf("%s matches %q", c.pattern, s)
			}
		}
	}
}

func TestCharactersOrBytes(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		chars, want   bool
	}{
		{"?", "é", true, true}, {"?", "é", false, false}, {"??", "é", false, true}, {"??", "é", true, true},
		{"?", "\xff", true, true}, {"?", "\xff", false, true}, {"[[:alpha:]]", "é", false, false}, {"[[:alpha:]]", "é", true, true},
	} {
		if got := compile(c.pattern, c.chars, false).match(c.name); got != c.want {
			t.Errorf("%s, %q, characters %v: %v", c.pattern, c.name, c.chars, got)
		}
	}
	for _, c := range []struct {
		env  map[string]string
		want bool
	}{
		{nil, false},
		{map[string]string{"LANG": "en_US.UTF-8"}, true},
		{map[string]string{"LANG": "en_US.UTF-8", "LC_ALL": "C"}, false},
		{map[string]string{"LANG": "C", "LC_CTYPE": "C.utf8"}, true},
		{map[string]string{"LANG": "de_DE.ISO-8859-1"}, false},
	} {
		if got := Characters(func(name string) string { return c.env[name] }); got != c.want {
			t.Errorf("%v: %v", c.env, got)
		}
	}
}

// The text that a star stands for is found without trying every way to part it.
func TestManyStars(t *testing.T) {
	p := compile(strings.Repeat("*a", 200)+"b", true, false)
	if p.match(strings.Repeat("a", 20_000)) {
		t.Error("it ends with no b")
	}
}

// rounds is how many random patterns are held against find(1) in each locale.
const rounds = 6000

// Random patterns find the same names as find(1), in a locale of bytes and in one
// of characters.
func TestPatternsAgainstFind(t *testing.T) {
	find, err := exec.LookPath("find")
	if err != nil {
		t.Skip("no find(1) here")
	}
	rng := rand.New(rand.NewSource(20261130))
	dir, names := someNames(t, rng)
	for _, locale := range []string{"C", "C.UTF-8"} {
		for _, fold := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s fold %v", locale, fold), func(t *testing.T) {
				patterns := make([]string, rounds/2)
				for i := range patterns {
					patterns[i] = somePattern(rng, names)
				}
				chars := Characters(func(name string) string { return map[string]string{"LC_ALL": locale}[name] })
				for group := range slices.Chunk(patterns, 250) {
					for i, want := range askFind(t, find, dir, locale, fold, group) {
						p := compile(group[i], chars, fold)
						got := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !p.match(n) })
						slices.Sort(want)
						if !slices.Equal(got, want) {
							t.Errorf("%q finds %q, and find(1) %q", group[i], got, want)
						}
					}
				}
			})
		}
	}
}

const alphabet = "abzABZ019!^-[]\\.:=*? é中ß\xff"

func someNames(t *testing.T, rng *rand.Rand) (dir string, names []string) {
	dir = t.TempDir()
	seen := map[string]bool{}
	for len(seen) < 120 {
		name := word(rng, 1+rng.Intn(3))
		if name == "." || name == ".." || seen[name] {
			continue
		}
		seen[name] = true
		names = append(names, name)
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(names)
	return dir, names
}

func word(rng *rand.Rand, n int) string {
	letters := []rune(alphabet)
	var b strings.Builder
	for range n {
		if r := letters[rng.Intn(len(letters))]; r == unicode.ReplacementChar {
			b.WriteByte(0xff)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// somePattern is made of pieces, or of a name in which something has changed.
func somePattern(rng *rand.Rand, names []string) string {
	pieces := []string{"*", "?", "[!a]", "[^a-z]", "[]a]", "[!]b]", "[a-z]", "[A-Z]", "[z-a]", "[0-9]", "[-a]", "[a-]", "[[:alpha:]]", "[[:upper:]]", "[[:lower:]]",
		"[![:digit:]]", "[[:punct:]]", "[[:space:][:digit:]]", "[é中]", "[ß-é]", `\*`, `\?`, `\[`, `[\]]`, "[a\\-z]", "[", "]", "a[b", "[!", "[[:foo:]]", "[[:alnum:]_]", "[[.a.]]", "[[=b=]-z]"}
	var b strings.Builder
	// The collation of glibc's C.UTF-8 ends at U+00FF: a range beyond has nothing in it.
	for b.Len() == 0 || strings.Contains(b.String(), "-中") || strings.Contains(b.String(), "中-") {
		b.Reset()
		somePieces(&b, rng, names, pieces)
	}
	return b.String()
}

func somePieces(b *strings.Builder, rng *rand.Rand, names, pieces []string) {
	for range 1 + rng.Intn(3) {
		switch rng.Intn(4) {
		case 0:
			b.WriteString(word(rng, 1))
		case 1:
			name := names[rng.Intn(len(names))]
			b.WriteString(name[:rng.Intn(len(name)+1)])
		case 2:
			b.WriteString("[" + word(rng, 1+rng.Intn(4)) + "]")
		default:
			b.WriteString(pieces[rng.Intn(len(pieces))])
		}
	}
}

// askFind runs find(1) once for many patterns: each of them prints its number and a
// name, and then says no, so that the next one is asked.
func askFind(t *testing.T, find, dir, locale string, fold bool, patterns []string) [][]string {
	t.Helper()
	test := "-name"
	if fold {
		test = "-iname"
	}
	args := []string{dir, "-mindepth", "1", "("}
	for i, p := range patterns {
		if i > 0 {
			args = append(args, ",")
		}
		args = append(args, test, p, "-printf", fmt.Sprintf(`%d %%f\0`, i))
	}
	return runFind(t, find, locale, append(args, ")"), len(patterns))
}

// runFind runs find(1) and sorts what it prints, "number name", by the number.
func runFind(t *testing.T, find, locale string, args []string, n int) [][]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), find, args...)
	cmd.Env = []string{"LC_ALL=" + locale}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	found := make([][]string, n)
	for line := range bytes.SplitSeq(bytes.TrimSuffix(out, []byte{0}), []byte{0}) {
		var i int
		number, name, _ := strings.Cut(string(line), " ")
		if _, err := fmt.Sscan(number, &i); err == nil {
			found[i] = append(found[i], name)
		}
	}
	return found
}
