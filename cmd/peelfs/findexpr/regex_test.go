package findexpr

import (
	"fmt"
	"math/rand"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/peelfs/peelfs/internal/errkind"
)

func TestExpressions(t *testing.T) {
	for _, c := range []struct {
		dialect, text string
		yes, no       []string
	}{
		{"emacs", `.*\.so\(\.[0-9]+\)*`, []string{"/lib/a.so", "/lib/a.so.1.2"}, []string{"/lib/a.sox", "lib.so.x"}},
		{"emacs", `.*/\(bin\|sbin\)/.*`, []string{"/usr/bin/a", "/sbin/b"}, []string{"/usr/lib/a"}},
		{"emacs", `a(b)`, []string{"a(b)"}, []string{"ab"}},
		{"emacs", `a+?`, []string{"a", "aa", ""}, []string{"b"}},
		{"emacs", `a{2}`, []string{"a{2}"}, []string{"aa"}},
		{"emacs", `*a`, []string{"*a"}, []string{"a"}},
		{"emacs", `a$b^c`, []string{"a$b^c"}, nil},
		{"posix-extended", `/(usr/)?bin/[[:alpha:]]{1,3}`, []string{"/bin/abc", "/usr/bin/x"}, []string{"/bin/abcd", "/bin/1"}},
		{"posix-extended", `a\(b\)`, []string{"a(b)"}, []string{"ab"}},
		{"posix-extended", `[]\]x`, []string{"]x", `\x`}, []string{"x"}},
		{"posix-basic", `a\{2\}`, []string{"aa"}, []string{"a", "aaa"}},
		{"posix-basic", `a+`, []string{"a+"}, []string{"aa"}},
		{"sed", `\(ab\)*`, []string{"", "abab"}, []string{"a"}},
		{"awk", `a|b`, []string{"a", "b"}, []string{"ab"}},
		{"emacs", `a.b`, []string{"a\nb", "a\xffb"}, []string{"ab"}},
	} {
		re, err := dialects[c.dialect].expression(c.text, false)
		if err != nil {
			t.Errorf("%s %s: %v", c.dialect, c.text, err)
			continue
		}
		for _, s := range c.yes {
			if !re.MatchString(s) {
				t.Errorf("%s %s does not fit %q (%s)", c.dialect, c.text, s, re)
			}
		}
		for _, s := range c.no {
			if re.MatchString(s) {
				t.Errorf("%s %s fits %q (%s)", c.dialect, c.text, s, re)
			}
		}
	}
	if re, err := dialects["emacs"].expression("AB", true); err != nil || !re.MatchString("ab") {
		t.Errorf("whatever the case: %v", err)
	}
}

func TestBadExpressions(t *testing.T) {
	for text, kind := range map[string]errkind.Kind{
		`[a`: errkind.Invalid, `a\`: errkind.Invalid, `\(a`: errkind.Invalid, `\(a\)\1`: errkind.Unsupported, `[z-a]`: errkind.Invalid,
	} {
		if _, err := dialects["emacs"].expression(text, false); !errkind.Is(err, kind) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Random expressions find the same paths as find(1), in each dialect.
func TestExpressionsAgainstFind(t *testing.T) {
	find, err := exec.LookPath("find")
	if err != nil {
		t.Skip("no find(1) here")
	}
	rng := rand.New(rand.NewSource(7))
	dir, names := someNames(t, rng)
	atoms := map[string][]string{
		"emacs":          {"a", "b", ".", "[a-z]", "[^a]", "[[:digit:]]", `\(a\|b\)`, `\.`, "é", "{", "("},
		"posix-extended": {"a", "b", ".", "[a-z]", "[^a]", "[[:digit:]]", "(a|b)", `\.`, "é", `\(`},
		"posix-basic":    {"a", "b", ".", "[a-z]", "[^a]", "[[:digit:]]", `\(a\|b\)`, `\.`, "é", "(", "+"},
	}
	repeats := map[string][]string{
		"emacs": {"", "", "*", "+", "?"}, "posix-extended": {"", "", "*", "+", "?", "{1,2}", "{2}"}, "posix-basic": {"", "", "*", `\+`, `\?`, `\{1,2\}`},
	}
	for name := range atoms {
		for range 8 {
			var texts []string
			for range 60 {
				var b strings.Builder
				for range 1 + rng.Intn(4) {
					b.WriteString(atoms[name][rng.Intn(len(atoms[name]))] + repeats[name][rng.Intn(len(repeats[name]))])
				}
				texts = append(texts, b.String())
			}
			args := []string{dir, "-mindepth", "1", "-regextype", name, "("}
			for i, text := range texts {
				if i > 0 {
					args = append(args, ",")
				}
				args = append(args, "-regex", dir+"/"+text, "-printf", fmt.Sprintf(`%d %%f\0`, i))
			}
			for i, want := range runFind(t, find, "C.UTF-8", append(args, ")"), len(texts)) {
				re, err := dialects[name].expression("/"+texts[i], false)
				if err != nil {
					t.Errorf("%s %s: %v", name, texts[i], err)
					continue
				}
				got := slices.DeleteFunc(slices.Clone(names), func(n string) bool {
					return !re.MatchString("/"+n) || strings.Contains(n, "\xff") // "." of find(1) is no broken byte
				})
				want = slices.DeleteFunc(want, func(n string) bool { return strings.Contains(n, "\xff") })
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Errorf("%s %q (%s) finds %q, and find(1) %q", name, texts[i], re, got, want)
				}
			}
		}
	}
}
