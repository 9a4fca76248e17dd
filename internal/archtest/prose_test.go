package archtest

import (
	"go/ast"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// notYetPlain are packages whose comments are yet to be brought into line. The list
// only shrinks.
var notYetPlain = []string{
	"fetch",
	"fetch/archive",
	"fetch/blobcache",
	"fetch/image",
	"fetch/login",
	"fetch/manifest",
	"fetch/registry",
	"fetch/registryv1",
	"fetch/tarfile",
	"fetch/v1image",
	"layers",
	"layers/bundle",
	"layers/inflate",
}

// bareSubject finds a sentence that speaks of a thing or a person without naming
// it: "Who asks gets an answer". Questions are none.
var bareSubject = regexp.MustCompile(`(?:^|[.;:!?]\s+|\n\n)((?:Who|Whoever|What|That)\s[^.?!]*[.!])`)

// A comment on a declaration begins with the name that is declared, and none of its
// sentences has a bare "who", "what" or "that" as its subject.
func TestCommentsAreInPlainEnglish(t *testing.T) {
	dirty := map[string]bool{}
	for _, f := range sources(t) {
		pending := slices.Contains(notYetPlain, f.pkg)
		for _, c := range comments(f) {
			why := c.fault()
			if why == "" {
				continue
			}
			dirty[f.pkg] = true
			if !pending {
				t.Errorf("%s:%d: comment on %s %s", f.path, f.line(c.node.Pos()), c.name, why)
			}
		}
	}
	for _, pkg := range notYetPlain {
		if !dirty[pkg] {
			t.Errorf("%s is in line now: take it from the list", pkg)
		}
	}
}

// comment is the comment on the declaration of name.
type comment struct {
	name string
	text string
	node ast.Node
}

func (c comment) fault() string {
	if strings.TrimSpace(c.text) == "" {
		return "" // a directive
	}
	first, _, _ := strings.Cut(c.text, "\n")
	first = strings.TrimSpace(first)
	if rest, article := strings.CutPrefix(first, "A "); article {
		first = rest
	} else if rest, article := strings.CutPrefix(first, "An "); article {
		first = rest
	}
	if c.name != "" && !regexp.MustCompile(`^`+regexp.QuoteMeta(c.name)+`\b`).MatchString(first) {
		return "does not begin with its name: " + first
	}
	if m := bareSubject.FindStringSubmatch(c.text); m != nil {
		return "does not say what it is about: " + m[1]
	}
	return ""
}

// comments are those on the functions, types, constants and variables at the top of
// f. One on a group speaks of the group and has no name; tests say what they show.
func comments(f *file) (list []comment) {
	for _, d := range f.ast.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Doc == nil {
				continue
			}
			name := d.Name.Name
			if f.test && regexp.MustCompile(`^(Test|Fuzz|Benchmark|Example)`).MatchString(name) {
				name = ""
			}
			list = append(list, comment{name, d.Doc.Text(), d})
		case *ast.GenDecl:
			if d.Doc != nil {
				list = append(list, comment{onlyName(d), d.Doc.Text(), d})
			}
		}
	}
	return list
}

// onlyName is the name that a declaration without parentheses declares, "" if it
// declares a group.
func onlyName(d *ast.GenDecl) string {
	if d.Lparen.IsValid() || len(d.Specs) != 1 {
		return ""
	}
	switch s := d.Specs[0].(type) {
	case *ast.TypeSpec:
		return s.Name.Name
	case *ast.ValueSpec:
		if len(s.Names) == 1 {
			return s.Names[0].Name
		}
	}
	return ""
}

func TestProseRulesBite(t *testing.T) {
	for _, c := range []struct {
		text string
		bad  bool
	}{
		{"thing counts. It never waits.", false},
		{"A thing counts.", false},
		{"thing counts. Who waits gets nothing.", true},
		{"What counts is a thing.", true},
		{"another counts.", true},
		{"thing says who waits, and what for.", false},
		{"thing counts.\n\nThat nothing waits is a rule.", true},
		{"thing counts. What for?", false},
	} {
		if why := (comment{"thing", c.text, nil}).fault(); (why != "") != c.bad {
			t.Errorf("%q: %q", c.text, why)
		}
	}
}
