package output

import (
	"bufio"
	"strings"
	"unicode/utf8"
)

// Screen is where a command's result goes: a terminal of some width, or something
// that wants names as they are. It is buffered; Flush writes the rest. It is for
// one goroutine.
type Screen struct {
	*bufio.Writer
	palette
	terminal bool
	width    int // columns; 0 if nothing has to fit
}

// Screen returns a screen on stdout.
func (c *Console) Screen() *Screen {
	s := &Screen{Writer: bufio.NewWriter(c.Out), terminal: IsTerminal(c.Out), palette: c.palette(c.Out)}
	if s.terminal {
		s.width = Columns(c.Out)
	}
	return s
}

// Terminal says whether names are written for a person at a terminal.
func (s *Screen) Terminal() bool { return s.terminal }

// Exact makes the screen write names byte by byte, on a terminal too.
func (s *Screen) Exact() { s.terminal = false }

// Whole makes the screen cut nothing to the width of the terminal.
func (s *Screen) Whole() { s.width = 0 }

// Home begins the screen of a terminal anew; elsewhere it does nothing.
func (s *Screen) Home() {
	if s.terminal {
		s.WriteString("\x1b[H\x1b[2J") // to the top, and clear
	}
}

// Name is a name as the screen shows it: quoted if it would disturb a terminal.
func (s *Screen) Name(name string) string {
	if s.terminal {
		return Printable(name)
	}
	return name
}

// Document writes a text as it is; on a terminal, characters that would disturb
// it are written as JSON escapes them.
func (s *Screen) Document(text []byte) error {
	if s.terminal {
		text = escapeControls(text)
	}
	_, err := s.Write(text)
	return err
}

// Grid writes names in columns, downwards, as wide as the screen. paint is called
// for each name by its place in names.
func (s *Screen) Grid(names []string, paint func(i int) string) {
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
