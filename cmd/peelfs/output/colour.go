package output

import "io"

// Colour is what a terminal paints text with: the parameters of the escape
// sequence SGR. "" leaves the text as it is.
type Colour string

// The colours in use.
const (
	Red        Colour = "31"
	Green      Colour = "32"
	Yellow     Colour = "33"
	Blue       Colour = "34"
	Cyan       Colour = "36"
	WhiteOnRed Colour = "37;41"
)

// palette says whether a stream is painted.
type palette bool

// palette is that of a stream: colours on terminals whose user wants them, or
// wherever CLICOLOR_FORCE asks for them; never with NO_COLOR.
func (c *Console) palette(w io.Writer) palette {
	forced := c.env("CLICOLOR_FORCE") != "" && c.env("CLICOLOR_FORCE") != "0"
	return palette(c.env("NO_COLOR") == "" && (forced || IsTerminal(w) && c.env("TERM") != "dumb"))
}

// Paint is text in a colour, or as it is where nothing is painted.
func (p palette) Paint(colour Colour, text string) string {
	if !p || colour == "" {
		return text
	}
	return "\x1b[" + string(colour) + "m" + text + "\x1b[0m"
}
