package archtest

import (
	"go/ast"
	"regexp"
	"strings"
	"testing"
)

const (
	maxFile     = 600 // lines
	maxFunction = 80  // lines, tables aside
)

func TestFilesAreShort(t *testing.T) {
	for _, f := range sources(t) {
		if n := strings.Count(f.text, "\n"); n > maxFile {
			t.Errorf("%s has %d lines, more than %d", f.path, n, maxFile)
		}
	}
}

// longOnPurpose are functions that are worse when they are cut.
var longOnPurpose = map[string]string{
	"layers/inflate.fast": "one loop over variables that must stay in registers",
}

func TestFunctionsAreShort(t *testing.T) {
	for _, f := range sources(t) {
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			n := functionLines(f, fn)
			if n > maxFunction && longOnPurpose[f.pkg+"."+fn.Name.Name] == "" {
				t.Errorf("%s:%d: %s has %d lines, more than %d", f.path, f.line(fn.Pos()), fn.Name, n, maxFunction)
			}
		}
	}
}

// functionLines counts the lines of fn without its tables: the outermost slice
// and map literals in it.
func functionLines(f *file, fn *ast.FuncDecl) int {
	n := f.line(fn.End()) - f.line(fn.Pos()) + 1
	ast.Inspect(fn.Body, func(node ast.Node) bool {
		lit, ok := node.(*ast.CompositeLit)
		if !ok {
			return true
		}
		switch lit.Type.(type) {
		case *ast.ArrayType, *ast.MapType:
			n -= f.line(lit.End()) - f.line(lit.Pos())
			return false
		}
		return true
	})
	return n
}

// unfinished is written in pieces, so that this file does not break its own rule.
var unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b|\.\./sha` + `red\b`)

func TestNothingIsLeftForLater(t *testing.T) {
	paths := append(find(t, ".go"), find(t, ".md")...)
	for _, path := range append(paths, "Makefile") {
		for i, line := range strings.Split(read(t, path), "\n") {
			if word := unfinished.FindString(strings.ReplaceAll(line, "context."+"TO"+"DO", "")); word != "" {
				t.Errorf("%s:%d: says %s", path, i+1, word)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	comments := map[string]string{}
	for _, f := range sources(t) {
		if _, seen := comments[f.pkg]; !seen {
			comments[f.pkg] = ""
		}
		if f.ast.Doc != nil && !f.test {
			comments[f.pkg] += f.ast.Doc.Text()
		}
	}
	for pkg, text := range comments {
		name := pkg[strings.LastIndex(pkg, "/")+1:]
		if !strings.HasPrefix(text, "Package "+name+" ") && !strings.HasPrefix(text, "Command "+name+" ") {
			t.Errorf("%s has no package comment that begins with its name", pkg)
		}
	}
}

// Calls that have one right place, or none. A driver may do as it likes.
func TestForbiddenCalls(t *testing.T) {
	for _, f := range sources(t) {
		if underAny(f.pkg, drivers) {
			continue
		}
		for _, rule := range []struct {
			path, name string
			in         func(*file) bool
			why        string
		}{
			{"github.com/hanwen/go-fuse/v2/fuse", "ToStatus", always, "it turns wrapped errors into ENOSYS, which the kernel remembers"},
			{"github.com/hanwen/go-fuse/v2/fs", "ToErrno", always, "it turns wrapped errors into ENOSYS, which the kernel remembers"},
			{"context", "Background", belowCmd, "contexts come from the caller"},
			{"context", "TO" + "DO", always, "contexts come from the caller"},
			{"time", "Sleep", inTests, "a sleep is not synchronisation"},
			{"os", "Exit", belowCmd, "only a command ends the process"},
			{"log", "Fatal", always, "errors are returned"},
			{"fmt", "Println", belowCmd, "stdout belongs to the command"},
			{"fmt", "Printf", belowCmd, "stdout belongs to the command"},
		} {
			calls(f, rule.path, func(sel *ast.SelectorExpr) {
				if sel.Sel.Name == rule.name && rule.in(f) {
					t.Errorf("%s:%d: %s.%s: %s", f.path, f.line(sel.Pos()), rule.path, rule.name, rule.why)
				}
			})
		}
	}
}

func always(*file) bool     { return true }
func inTests(f *file) bool  { return f.test }
func belowCmd(f *file) bool { return !f.test && !under(f.pkg, "cmd") && !underAny(f.pkg, testOnly) }

// A struct keeps a context only if it stands for one call, as the body of an
// answer does, and then the field says of which: "// of this one request".
func TestNoContextInStructs(t *testing.T) {
	for _, f := range sources(t) {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			s, ok := n.(*ast.StructType)
			if !ok || f.test {
				return true
			}
			for _, field := range s.Fields.List {
				if sel, ok := field.Type.(*ast.SelectorExpr); ok && sel.Sel.Name == "Context" && field.Comment == nil {
					t.Errorf("%s:%d: a context kept in a struct", f.path, f.line(field.Pos()))
				}
			}
			return true
		})
	}
}

// Package-level variables are tables, sentinels and pools of spare memory. State
// that changes otherwise has an owner.
func TestNoPackageState(t *testing.T) {
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		for _, d := range f.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.Name == "init" && d.Recv == nil {
					t.Errorf("%s:%d: func init", f.path, f.line(d.Pos()))
				}
			case *ast.GenDecl:
				checkVars(t, f, d)
			}
		}
	}
}

func checkVars(t *testing.T, f *file, d *ast.GenDecl) {
	for _, spec := range d.Specs {
		v, ok := spec.(*ast.ValueSpec)
		if !ok {
			continue
		}
		if sel, ok := v.Type.(*ast.SelectorExpr); ok {
			if id, ok := sel.X.(*ast.Ident); ok && (id.Name == "sync" && sel.Sel.Name != "Pool" || id.Name == "atomic") {
				t.Errorf("%s:%d: package-level %s.%s", f.path, f.line(v.Pos()), id.Name, sel.Sel.Name)
			}
		}
	}
}

var matchesText = regexp.MustCompile(`(Contains|HasPrefix|HasSuffix|EqualFold|MatchString)\([A-Za-z]*[eE]rr\.Error\(\)|[eE]rr\.Error\(\) [!=]=`)

// Errors are told apart by kind, never by their words. Tests may look at words.
func TestErrorsAreNotMatchedByText(t *testing.T) {
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		for i, line := range strings.Split(f.text, "\n") {
			if matchesText.MatchString(line) {
				t.Errorf("%s:%d: tells errors apart by their text", f.path, i+1)
			}
		}
	}
}
