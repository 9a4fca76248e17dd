package output

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/peelfs/peelfs/internal/errkind"
)

// screenOf is a screen of some width that writes to b.
func screenOf(b io.Writer, width int) *Screen {
	return &Screen{Writer: bufio.NewWriter(b), width: width, terminal: width > 0}
}

// A table is never wider than the screen, and never changes where it need not fit.
func TestTableFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cols := rapid.IntRange(1, 12).Draw(t, "columns")
		width := rapid.SampledFrom([]int{0, 20, 40, 50, 80, 200}).Draw(t, "width")
		right := rapid.SliceOfN(rapid.IntRange(0, cols-1), 0, cols).Draw(t, "right")
		rows := make([][]string, rapid.IntRange(1, 4).Draw(t, "rows"))
		for i := range rows {
			for range cols {
				rows[i] = append(rows[i], rapid.StringMatching(`[a-zé ]{0,30}`).Draw(t, "cell"))
			}
		}
		want := fmt.Sprint(rows)
		var out strings.Builder
		s := screenOf(&out, width)
		s.Table(rows, right...)
		s.Flush()
		if width == 0 && fmt.Sprint(rows) != want {
			t.Fatalf("%v became %v", want, rows)
		}
		for line := range strings.Lines(out.String()) {
			line = strings.TrimSuffix(line, "\n")
			if n := utf8.RuneCountInString(line); width > 0 && n > width {
				t.Fatalf("%d columns on a screen of %d: %q", n, width, line)
			}
		}
	})
}

func table(width int, rows [][]string, right ...int) string {
	var out strings.Builder
	s := screenOf(&out, width)
	s.Table(rows, right...)
	s.Flush()
	return out.String()
}

func TestTable(t *testing.T) {
	rows := func() [][]string {
		return [][]string{{"NAME", "SIZE", "WHAT"}, {"a", "10", "something that is long"}, {"b\x1b", "12345", ""}}
	}
	for _, c := range []struct {
		width int
		want  string
	}{
		{0, "NAME       SIZE   WHAT\na            10   something that is long\n\"b\\x1b\"   12345\n"},
		{30, "NAME     SIZE WHAT\na          10 something that …\n\"b\\x1b\" 12345\n"},
		{14, "NAME a\nSIZE 10\nWHAT somethin…\n\nNAME \"b\\x1b\"\nSIZE 12345\n"},
	} {
		if got := table(c.width, rows(), 1); got != c.want {
			t.Errorf("width %d:\n%s\nwant\n%s", c.width, got, c.want)
		}
	}
	if got := table(80, nil); got != "" {
		t.Errorf("nothing became %q", got)
	}
}

func TestGrid(t *testing.T) {
	var out strings.Builder
	s := screenOf(&out, 12)
	names := []string{"a", "bb", "ccc", "d", "e"}
	s.Grid(names, func(i int) string { return names[i] })
	s.Flush()
	if out.String() != "a    d\nbb   e\nccc\n" {
		t.Errorf("%q", out.String())
	}
}

func TestNames(t *testing.T) {
	var out strings.Builder
	s := screenOf(&out, 80)
	if got := s.Name("a\nb"); got != `"a\nb"` {
		t.Errorf("on a terminal: %s", got)
	}
	s.Exact()
	if got := s.Name("a\nb"); got != "a\nb" || s.Terminal() {
		t.Errorf("exact: %q", got)
	}
	if got := screenOf(&out, 0).Name("\x1b"); got != "\x1b" {
		t.Errorf("in a pipe: %q", got)
	}
}

// A document is printable when it reaches a terminal, and still the same JSON.
func TestDocumentOnATerminal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.String().Draw(t, "text") + rapid.SampledFrom([]string{"", "\x7f", "\u009b", "\u202e", "\U000e0001"}).Draw(t, "odd")
		var in bytes.Buffer
		enc := json.NewEncoder(&in)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(want); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		s := screenOf(&out, 80)
		if err := errors.Join(s.Document(in.Bytes()), s.Flush()); err != nil {
			t.Fatal(err)
		}
		if bytes.ContainsFunc(out.Bytes(), disturbs) {
			t.Fatalf("%q", out.String())
		}
		var got string
		if err := json.Unmarshal(out.Bytes(), &got); err != nil || got != want {
			t.Fatalf("%q became %q, %v", want, got, err)
		}
	})
}

func TestDocumentElsewhere(t *testing.T) {
	var out bytes.Buffer
	s := screenOf(&out, 0)
	if err := errors.Join(s.Document([]byte("\x1b\xff")), s.Flush()); err != nil || out.String() != "\x1b\xff" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestListIsAnArray(t *testing.T) {
	for n := range 3 {
		var out bytes.Buffer
		s := screenOf(&out, 0)
		list := s.List()
		for i := range n {
			if err := list.Add(map[string]any{"a": i, "b": []string{"<x>"}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(list.Close(), s.Flush()); err != nil {
			t.Fatal(err)
		}
		var got []map[string]any
		if err := json.Unmarshal(out.Bytes(), &got); err != nil || len(got) != n || list.Len() != n {
			t.Errorf("%d elements: %s, %v", n, out.String(), err)
		}
		var whole bytes.Buffer
		s = screenOf(&whole, 0)
		if got == nil {
			got = []map[string]any{}
		}
		s.JSON(got)
		s.Flush()
		if whole.String() != out.String() {
			t.Errorf("as a list:\n%s\nas a whole:\n%s", out.String(), whole.String())
		}
	}
}

func TestJSONLine(t *testing.T) {
	var out bytes.Buffer
	s := screenOf(&out, 0)
	if err := errors.Join(s.JSONLine(map[string]any{"a": []int{1, 2}}), s.Flush()); err != nil || out.String() != "{\"a\":[1,2]}\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
	if s.JSON(func() {}) == nil || s.JSONLine(func() {}) == nil || s.List().Add(func() {}) == nil {
		t.Error("a function became JSON")
	}
}

// consoleOf is a console with variables, and what it wrote.
func consoleOf(env map[string]string) (c *Console, out, diag *strings.Builder) {
	out, diag = &strings.Builder{}, &strings.Builder{}
	return New(out, diag, func(name string) string { return env[name] }), out, diag
}

func TestMessages(t *testing.T) {
	c, out, diag := consoleOf(nil)
	err := errkind.WithHint(errkind.New(errkind.NotFound, "no tag \x1b[31mx"), "there is \x07y")
	c.Complain(err)
	c.Warn("a %s", "b\nc")
	c.Say("goes on")
	want := "peelfs: no tag \\x1b[31mx\nhint: there is \\ay\nwarning: a b\n  c\ngoes on\n"
	if diag.String() != want || out.String() != "" {
		t.Errorf("%q, want %q", diag.String(), want)
	}
	diag.Reset()
	c.Quiet = true
	c.Warn("a")
	c.Say("b")
	c.Complain(errors.New("c"))
	if diag.String() != "peelfs: c\n" {
		t.Errorf("quiet: %q", diag.String())
	}
}

func TestColoursAsAsked(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want string
	}{
		{nil, "peelfs: x\n"},
		{map[string]string{"CLICOLOR_FORCE": "1"}, "\x1b[31mpeelfs:\x1b[0m x\n"},
		{map[string]string{"CLICOLOR_FORCE": "0"}, "peelfs: x\n"},
		{map[string]string{"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, "peelfs: x\n"},
	} {
		console, out, diag := consoleOf(c.env)
		console.Complain(errors.New("x"))
		if diag.String() != c.want {
			t.Errorf("%v: %q", c.env, diag.String())
		}
		s := console.Screen()
		s.WriteString(s.Paint(Red, "x") + s.Paint("", "y"))
		s.Flush()
		if painted := strings.Contains(out.String(), "\x1b[31mx\x1b[0m"); painted != strings.Contains(c.want, "\x1b") || !strings.HasSuffix(out.String(), "y") {
			t.Errorf("%v: %q", c.env, out.String())
		}
	}
}

func TestEmit(t *testing.T) {
	for format, want := range map[string]string{"": "table\n", "table": "table\n", "json": "[\n  1\n]\n"} {
		c, out, _ := consoleOf(nil)
		c.Format = format
		if err := c.Emit([]int{1}, func(s *Screen) { s.WriteString("table\n") }); err != nil || out.String() != want {
			t.Errorf("%q: %q, %v", format, out.String(), err)
		}
	}
	c, out, _ := consoleOf(nil)
	c.Format = "yaml"
	if err := c.Emit(1, func(*Screen) {}); !errkind.Is(err, errkind.Invalid) || out.String() != "" {
		t.Errorf("%v", err)
	}
	c.Format, c.Out = "table", failing{}
	if err := c.Emit(1, func(s *Screen) { s.WriteString("x") }); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a stream that takes nothing: %v", err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
