// Package output is how commands speak: results to stdout, as tables, lines or
// JSON; messages to stderr; colours and widths as the terminals at hand have them.
//
// Invariant: text that came from outside, be it a name in an image or the answer
// of a registry, reaches a terminal only with its control characters made visible.
// Messages are cleaned here, whatever they were made of; so are the cells of
// tables. Commands that write names themselves use Screen.Name.
package output

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"

	"github.com/peelfs/peelfs/internal/errkind"
)

// Console is the two streams of a command and how its user wants to read them.
// Its fields are set while flags are read and not changed afterwards.
type Console struct {
	Out, Err io.Writer
	Format   string // of results: table, or json; "" is table
	Quiet    bool   // neither warnings nor messages about what goes on
	env      func(string) string

	bars struct { // what is drawn on stderr and must go before something is written there
		sync.Mutex
		clear func()
	}
}

// New returns the console that writes to out and err. env gives the variables
// that say whether colours are wanted: NO_COLOR, CLICOLOR_FORCE and TERM.
func New(out, err io.Writer, env func(string) string) *Console {
	return &Console{Out: out, Err: err, env: env}
}

// IsTerminal says whether w writes to a terminal.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Columns is the width of the terminal behind w, 80 if there is none.
func Columns(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return 80
}

// AsJSON says whether the result is wanted as JSON. An unknown format is an error
// of kind Invalid.
func (c *Console) AsJSON() (bool, error) {
	switch c.Format {
	case "", "table":
		return false, nil
	case "json":
		return true, nil
	}
	return false, errkind.WithHint(errkind.New(errkind.Invalid, "format %q is not known", c.Format), "use table or json")
}

// Emit writes a result: v as JSON if that is wanted, else what table writes.
// An error of stdout is returned once, after everything was written.
func (c *Console) Emit(v any, table func(*Screen)) error {
	inJSON, err := c.AsJSON()
	if err != nil {
		return err
	}
	out := c.Screen()
	if !inJSON {
		table(out)
	} else if err := out.JSON(v); err != nil {
		return err
	}
	return out.Flush()
}

// Complain writes an error for people: what failed, and what to do about it if
// that is known. It is written even if the console is quiet.
func (c *Console) Complain(err error) {
	c.message(Red, "peelfs:", err.Error())
	if hint := errkind.Hint(err); hint != "" {
		c.message(Cyan, "hint:", hint)
	}
}

// Warn writes what is not as it should be, though the command goes on.
func (c *Console) Warn(format string, args ...any) {
	if !c.Quiet {
		c.message(Yellow, "warning:", fmt.Sprintf(format, args...))
	}
}

// Say writes what goes on.
func (c *Console) Say(format string, args ...any) {
	if !c.Quiet {
		c.message("", "", fmt.Sprintf(format, args...))
	}
}

// message writes one cleaned message to stderr, behind a coloured label.
func (c *Console) message(colour Colour, label, text string) {
	text = Clean(strings.TrimRight(text, "\n"))
	if label != "" {
		text = c.palette(c.Err).Paint(colour, label) + " " + text
	}
	io.WriteString(c, text+"\n")
}

// Write writes whole lines to stderr. Bars that are drawn there are taken away first.
// It is safe for concurrent use.
func (c *Console) Write(p []byte) (int, error) {
	c.bars.Lock()
	defer c.bars.Unlock()
	if c.bars.clear != nil {
		c.bars.clear()
	}
	return c.Err.Write(p)
}

// Draw runs draw, which writes bars to stderr, while nothing else is written there.
// clear takes them away; nil if they are to stay.
func (c *Console) Draw(draw, clear func()) {
	c.bars.Lock()
	defer c.bars.Unlock()
	draw()
	c.bars.clear = clear
}
