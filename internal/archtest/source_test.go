package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// module is the import path before every package of the project.
const module = "github.com/peelfs/peelfs/"

// root is the top of the checkout, seen from this folder.
const root = "../.."

// A file is one Go source file of the project.
type file struct {
	path string // from the top of the checkout, with slashes
	pkg  string // the folder that holds it: "layers/index"
	test bool
	ast  *ast.File
	fset *token.FileSet
	text string
}

// line is where pos lies in f.
func (f *file) line(pos token.Pos) int { return f.fset.Position(pos).Line }

// sources parses every Go file of the project.
func sources(t *testing.T) []*file {
	t.Helper()
	var files []*file
	for _, path := range find(t, ".go") {
		files = append(files, parse(t, path))
	}
	if len(files) < 10 {
		t.Fatalf("found %d Go files: looking in the wrong place", len(files))
	}
	return files
}

func parse(t *testing.T, path string) *file {
	t.Helper()
	text := read(t, path)
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, path, text, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return &file{
		path: path,
		pkg:  filepath.ToSlash(filepath.Dir(path)),
		test: strings.HasSuffix(path, "_test.go"),
		ast:  tree,
		fset: fset,
		text: text,
	}
}

// find lists the project's files whose names end in suffix, hidden folders,
// build output and test data left out.
func find(t *testing.T, suffix string) []string {
	t.Helper()
	var found []string
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := strings.HasPrefix(d.Name(), ".") && path != "."
		if d.IsDir() && (hidden || d.Name() == "testdata" || path == "bin") {
			return fs.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(path, suffix) {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// calls yields every selector pkg.Name in f where pkg is the name under which
// importPath is imported.
func calls(f *file, importPath string, visit func(sel *ast.SelectorExpr)) {
	local := localName(f, importPath)
	if local == "" {
		return
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if id, ok := sel.X.(*ast.Ident); ok && id.Name == local {
			visit(sel)
		}
		return true
	})
}

// localName is the name that f knows importPath by, or "".
func localName(f *file, importPath string) string {
	for _, spec := range f.ast.Imports {
		if strings.Trim(spec.Path.Value, `"`) != importPath {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return importPath[strings.LastIndex(importPath, "/")+1:]
	}
	return ""
}
