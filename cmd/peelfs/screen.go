package main

import (
	"bufio"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/peelfs/peelfs/cmd/peelfs/progress"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/query"
)

// screen is where a command's result goes: a terminal of some width, or
// something that wants names as they are. It is buffered; close writes the rest.
type screen struct {
	*bufio.Writer
	terminal bool
	colours  bool
	width    int // columns; 0 if nothing has to fit
}

func (a *app) screen() *screen {
	s := &screen{Writer: bufio.NewWriter(a.out), terminal: isTerminal(a.out)}
	if s.terminal {
		s.width = columns(a.out)
	}
	forced := a.env("CLICOLOR_FORCE") != "" && a.env("CLICOLOR_FORCE") != "0"
	s.colours = a.env("NO_COLOR") == "" && (forced || s.terminal && a.env("TERM") != "dumb")
	return s
}

// name is a name as the screen shows it: quoted if it would disturb a terminal.
func (s *screen) name(name string) string {
	if s.terminal {
		return printable(name)
	}
	return name
}

// paint colours what the entry is, as ls does.
func (s *screen) paint(e query.Entry, shown string) string {
	code := ""
	switch a := e.Attr; {
	case a.Kind == index.Dir:
		code = "34"
	case a.Kind == index.Symlink:
		code = cyan
	case a.Kind == index.File && a.Mode&0o6000 != 0:
		code = "37;41"
	case a.Kind == index.File && a.Mode&0o111 != 0:
		code = "32"
	case a.Kind != index.File:
		code = yellow
	}
	return s.colour(code, shown)
}

func (s *screen) colour(code, text string) string {
	if !s.colours || code == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// minCell is how narrow a column of words is made at most to fit a terminal.
const minCell = 4

// table aligns rows of cells, the first of which is the heading. Columns named
// in right are numbers. On a terminal the widest columns give way, numbers only
// as far as no figure is lost.
func (s *screen) table(rows [][]string, right ...int) {
	if len(rows) == 0 {
		return
	}
	widths, least := make([]int, len(rows[0])), make([]int, len(rows[0]))
	for y, row := range rows {
		for x := range row {
			row[x] = printable(row[x])
			n := utf8.RuneCountInString(row[x])
			widths[x] = max(widths[x], n)
			if y > 0 && slices.Contains(right, x) {
				least[x] = max(least[x], n)
			}
		}
	}
	for x := range least {
		least[x] = min(widths[x], max(least[x], minCell))
	}
	gap := s.shrink(widths, least)
	for _, row := range rows {
		line := ""
		for x, cell := range row {
			cell = cut(cell, widths[x])
			pad := strings.Repeat(" ", widths[x]-utf8.RuneCountInString(cell))
			if slices.Contains(right, x) {
				line += pad + cell + gap
			} else {
				line += cell + pad + gap
			}
		}
		s.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

// shrink makes columns fit the screen, if they can, and returns what goes
// between them.
func (s *screen) shrink(widths, least []int) (gap string) {
	gap = "   "
	total := func() int {
		sum := len(gap) * (len(widths) - 1)
		for _, w := range widths {
			sum += w
		}
		return sum
	}
	if s.width == 0 || total() <= s.width {
		return gap
	}
	gap = " "
	for total() > s.width {
		widest := -1
		for i, w := range widths {
			if w > least[i] && (widest < 0 || w > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	return gap
}

// cut is text, with its end left out where it is wider than width.
func cut(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	runes := []rune(text)
	return string(runes[:max(0, width-1)]) + "…"
}

// grid writes names in columns, downwards, as wide as the screen.
func (s *screen) grid(names []string, paint func(i int) string) {
	widest := 0
	for _, n := range names {
		widest = max(widest, utf8.RuneCountInString(n))
	}
	across := max(1, (s.width+2)/(widest+2))
	down := (len(names) + across - 1) / across
	for y := range down {
		for i := y; i < len(names); i += down {
			s.WriteString(paint(i))
			if i+down < len(names) {
				s.WriteString(strings.Repeat(" ", widest+2-utf8.RuneCountInString(names[i])))
			}
		}
		s.WriteString("\n")
	}
}

// sizes is how numbers of bytes are written: for people or exactly.
func sizes(human bool) func(int64) string {
	if human {
		return progress.Size
	}
	return func(n int64) string { return strconv.FormatInt(n, 10) }
}

// jsonList writes an array one element after the other, so that it need not be in
// memory.
type jsonList struct {
	w io.Writer
	n int
}

func (l *jsonList) add(v any) error {
	data, err := marshal(v)
	if err != nil {
		return err
	}
	before := ",\n  "
	if l.n == 0 {
		before = "[\n  "
	}
	l.n++
	_, err = io.WriteString(l.w, before+data)
	return err
}

func (l *jsonList) close() error {
	end := "\n]\n"
	if l.n == 0 {
		end = "[]\n"
	}
	_, err := io.WriteString(l.w, end)
	return err
}

// marshal is v as it stands in an indented list.
func marshal(v any) (string, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("  ", "  ")
	err := enc.Encode(v)
	return strings.TrimRight(b.String(), "\n"), err
}
