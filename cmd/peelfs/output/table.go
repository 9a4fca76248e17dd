package output

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// minCell is how narrow a column of words is made at most to fit a terminal.
const minCell = 4

// wide is what goes between columns, narrow what does where room is scarce.
const wide, narrow = "   ", " "

// Table writes rows of cells in columns; the first row is the heading. Columns
// named in right are numbers. On a terminal the widest columns give way, numbers
// only as far as no figure is lost; where that is not enough, each row becomes a
// block of lines. No line is wider than the terminal.
func (s *Screen) Table(rows [][]string, right ...int) {
	if len(rows) == 0 {
		return
	}
	widths, least := measure(rows, right)
	gap, ok := s.shrink(widths, least)
	if !ok {
		s.blocks(rows)
		return
	}
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

// measure makes all cells printable and returns how wide each column is, and how
// narrow it may become.
func measure(rows [][]string, right []int) (widths, least []int) {
	widths, least = make([]int, len(rows[0])), make([]int, len(rows[0]))
	for y, row := range rows {
		for x := range row {
			row[x] = Printable(row[x])
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
	return widths, least
}

// shrink makes columns fit the screen and returns what goes between them; ok is
// false if they cannot fit.
func (s *Screen) shrink(widths, least []int) (gap string, ok bool) {
	if s.width == 0 || span(widths, wide) <= s.width {
		return wide, true
	}
	if span(least, narrow) > s.width {
		return narrow, false
	}
	for span(widths, narrow) > s.width {
		widest := -1
		for i, w := range widths {
			if w > least[i] && (widest < 0 || w > widths[widest]) {
				widest = i
			}
		}
		widths[widest]--
	}
	return narrow, true
}

// span is how wide a line of columns is.
func span(widths []int, gap string) int {
	sum := len(gap) * (len(widths) - 1)
	for _, w := range widths {
		sum += w
	}
	return sum
}

// blocks writes each row as lines of a heading and a cell, with a blank line
// between rows.
func (s *Screen) blocks(rows [][]string) {
	widest := 0
	for _, heading := range rows[0] {
		widest = max(widest, utf8.RuneCountInString(heading))
	}
	for y, row := range rows[1:] {
		if y > 0 {
			s.WriteString("\n")
		}
		for x, cell := range row {
			if cell == "" {
				continue
			}
			heading := rows[0][x]
			pad := strings.Repeat(" ", widest-utf8.RuneCountInString(heading))
			s.WriteString(cut(heading+pad+narrow+cell, s.width) + "\n")
		}
	}
}

// cut is text, with its end left out where it is wider than width.
func cut(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	runes := []rune(text)
	return string(runes[:max(0, width-1)]) + "…"
}
