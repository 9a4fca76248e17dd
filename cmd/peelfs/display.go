package main

import (
	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/cmd/peelfs/progress"
)

// bars shows progress on stderr, out of the way of messages.
type bars struct {
	console *output.Console
	display *progress.Display
}

// newBars shows progress in the mode that --progress names.
func newBars(c *output.Console, name string) (*bars, error) {
	mode, err := progress.ParseMode(name)
	if c.Quiet {
		mode = progress.None
	}
	d := progress.New(c.Err, mode, output.IsTerminal(c.Err), func() int { return output.Columns(c.Err) })
	return &bars{c, d}, err
}

// show draws the tasks anew.
func (b *bars) show(tasks []progress.Task) {
	b.console.Draw(func() { b.display.Show(tasks) }, b.display.Clear)
}

// last draws the tasks a last time: they stay.
func (b *bars) last(tasks []progress.Task) {
	b.console.Draw(func() { b.display.Show(tasks) }, nil)
}

// end takes the bars away.
func (b *bars) end() { b.console.Draw(b.display.Clear, nil) }
