// Package progress shows work that is under way: as bars that are redrawn on a
// terminal, or as plain lines, one for each change of state, elsewhere.
//
// A Display is told the whole state each time and keeps nothing but what it
// last wrote, so that it never disagrees with what it shows. It writes to one
// writer, in whole lines.
package progress

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/peelfs/peelfs/internal/errkind"
)

// Mode is how progress is shown.
type Mode uint8

// The modes, as --progress spells them.
const (
	Auto  Mode = iota // Bar on a terminal, else Plain
	Bar               // redrawn in place
	Plain             // a line for each change of state
	None
)

// ParseMode reads the value of --progress; "" is Auto.
func ParseMode(s string) (Mode, error) {
	for i, name := range []string{"auto", "bar", "plain", "none"} {
		if s == name || s == "" {
			return Mode(i), nil
		}
	}
	return Auto, errkind.WithHint(errkind.New(errkind.Invalid, "progress %q is not known", s),
		"use auto, bar, plain or none")
}

// Task is one piece of the work.
type Task struct {
	Label string // what it is, the same each time
	State string // a word: waiting, downloading, complete
	Done  int64  // bytes
	Total int64  // bytes; 0 or less if unknown
	Busy  bool   // Done is moving: the bar is drawn
}

// Display shows tasks. It is not safe for concurrent use.
type Display struct {
	w     io.Writer
	mode  Mode
	width func() int
	drawn int               // lines of the last drawing, above the cursor
	said  map[string]string // Plain: the state last written, by label
}

// New returns a display on w. Auto becomes Bar if terminal is set. width is the
// terminal's, in columns, asked for at each drawing.
func New(w io.Writer, mode Mode, terminal bool, width func() int) *Display {
	if mode == Auto {
		mode = Plain
		if terminal {
			mode = Bar
		}
	}
	return &Display{w: w, mode: mode, width: width, said: map[string]string{}}
}

// Mode is the mode in use, never Auto.
func (d *Display) Mode() Mode { return d.mode }

// Show draws the tasks anew, or says what has changed.
func (d *Display) Show(tasks []Task) {
	switch d.mode {
	case Bar:
		d.redraw(tasks)
	case Plain:
		d.say(tasks)
	}
}

// Clear removes the bars, so that something else can be written. The next Show
// draws them again.
func (d *Display) Clear() {
	if d.drawn > 0 {
		fmt.Fprintf(d.w, "\x1b[%dA\x1b[J", d.drawn)
		d.drawn = 0
	}
}

// redraw writes all lines in one go: up to the first, each cleared to its end.
func (d *Display) redraw(tasks []Task) {
	var b strings.Builder
	if d.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", d.drawn)
	}
	width := max(d.width(), 20)
	for _, t := range tasks {
		b.WriteString(fit(t.line(width), width-1) + "\x1b[K\n")
	}
	if d.drawn > len(tasks) {
		b.WriteString("\x1b[J")
	}
	d.drawn = len(tasks)
	io.WriteString(d.w, b.String())
}

func (d *Display) say(tasks []Task) {
	for _, t := range tasks {
		if d.said[t.Label] == t.State {
			continue
		}
		d.said[t.Label] = t.State
		fmt.Fprintf(d.w, "%s: %s%s\n", t.Label, t.State, t.amount(" "))
	}
}

const maxBar = 30

// line is a task in at most about width columns: label, bar, state and amount.
func (t Task) line(width int) string {
	text := fmt.Sprintf(" %s%s", t.State, t.amount("  "))
	room := width - utf8.RuneCountInString(t.Label) - utf8.RuneCountInString(text) - 5
	if !t.Busy || t.Total <= 0 || room < 5 {
		return t.Label + " " + text
	}
	n := min(room, maxBar)
	full := int(min(t.Done, t.Total) * int64(n) / t.Total)
	return t.Label + "  [" + strings.Repeat("=", full) + strings.Repeat(" ", n-full) + "]" + text
}

func (t Task) amount(space string) string {
	switch {
	case t.Busy && t.Total > 0:
		return space + Size(t.Done) + "/" + Size(t.Total)
	case t.Busy:
		return space + Size(t.Done)
	case t.Total > 0:
		return space + Size(t.Total)
	}
	return ""
}

func fit(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:width])
}

// Size is a number of bytes as people read it: 999 B, 1.2 kB, 34 MB. A negative
// one is unknown.
func Size(n int64) string {
	if n < 0 {
		return "?"
	}
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/1000, 0
	for value >= 999.5 && unit < 4 {
		value, unit = value/1000, unit+1
	}
	if value < 9.95 {
		return fmt.Sprintf("%.1f %cB", value, "kMGTP"[unit])
	}
	return fmt.Sprintf("%.0f %cB", value, "kMGTP"[unit])
}
