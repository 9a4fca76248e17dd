package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/fetch"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/query"
)

type diffFlags struct {
	sessionFlags
	stat, times, null bool
	platforms         platformList
}

// platformList is --platform of diff: once for both sides, or one for each.
type platformList []string

func (p *platformList) String() string { return strings.Join(*p, ",") }
func (p *platformList) Type() string   { return "string" }
func (p *platformList) Set(s string) error {
	*p = append(*p, strings.Split(s, ",")...)
	return nil
}

var _ pflag.Value = (*platformList)(nil)

func diffCommand(a *app) *cobra.Command {
	var f diffFlags
	cmd := &cobra.Command{
		Use:   "diff [flags] REF1 REF2 [PATH]",
		Short: "Tell in what two images, or two platforms of one, differ",
		Long: `Print what was added (A), removed (D) and changed (C) from REF1 to REF2. What
both have from one layer is equal and not read; other files are read only if
their sizes are equal. Exit code: 0 the same, 1 different, more for trouble.`,
		Example: `  peelfs diff debian:12.1 debian:12.2 /etc
  peelfs diff --stat myapp:1 myapp:2
  peelfs diff --platform linux/amd64,linux/arm64 debian:12`,
		Args: takes(1, 3),
		RunE: func(cmd *cobra.Command, args []string) error { return diff(cmd.Context(), a, args, &f) },
	}
	cmd.Flags().BoolVar(&f.stat, "stat", false, "how much differs, by directory")
	cmd.Flags().BoolVar(&f.times, "times", false, "modification times count too")
	cmd.Flags().BoolVarP(&f.null, "null", "0", false, "lines end with a NUL, and names are exact")
	formatFlag(a.console, cmd.Flags())
	lookFlags(cmd, &f.sessionFlags)
	cmd.ValidArgsFunction = completeRefs(a, &f.sessionFlags)
	platform := cmd.Flags().Lookup("platform")
	platform.Value, platform.Usage = &f.platforms, "os/arch[/variant] of both images, or two of them: one for each"
	return cmd
}

// The exit codes of diff beside those that all commands have.
const (
	exitDiffers = 1
	exitTrouble = 2
)

func diff(ctx context.Context, a *app, args []string, f *diffFlags) error {
	differs := false
	err := withSession(a, &f.sessionFlags, func(s *session) error {
		var err error
		differs, err = compare(ctx, a.console, s, args, f)
		return err
	})
	switch {
	case err != nil && errkind.Of(err).ExitCode() <= exitDiffers && !isBrokenPipe(err):
		a.console.Complain(err)
		return &exitError{exitTrouble}
	case err != nil && !isBrokenPipe(err):
		return err
	case differs:
		return &exitError{exitDiffers}
	}
	return nil
}

func compare(ctx context.Context, c *output.Console, s *session, args []string, f *diffFlags) (differs bool, err error) {
	inJSON, err := c.AsJSON()
	if err != nil {
		return false, err
	}
	a, b, path, err := sides(ctx, s, args, f.platforms)
	if err != nil {
		return false, err
	}
	out := c.Screen()
	p := printer{Screen: out, flags: f, a: a, b: b, json: out.List(), root: path}
	tell := p.line
	switch {
	case f.stat:
		tell = p.count
	case inJSON:
		tell = p.object
	}
	comparison := query.Comparison{
		A: query.Side{View: a.view, Layers: a.identities()}, B: query.Side{View: b.view, Layers: b.identities()}, Times: f.times,
	}
	err = comparison.Diff(ctx, path, func(change query.Change) error {
		differs = true
		return tell(ctx, change)
	})
	switch {
	case err != nil:
	case f.stat:
		err = p.statistics(inJSON)
	case inJSON:
		err = p.json.Close()
	}
	return differs, errors.Join(err, out.Flush())
}

// sides opens both images.
func sides(ctx context.Context, s *session, args []string, platforms platformList) (a, b *stack, path string, err error) {
	path = "/"
	if last := args[len(args)-1]; strings.HasPrefix(last, "/") {
		path, args = last, args[:len(args)-1]
	}
	if len(platforms) > 2 {
		return nil, nil, "", errkind.New(errkind.Invalid, "more than two platforms")
	}
	switch {
	case len(args) == 1 && len(platforms) == 2:
		args = append(args, args[0])
	case len(args) != 2:
		return nil, nil, "", errkind.WithHint(errkind.New(errkind.Invalid, "two images are needed, or one and two platforms"),
			"usage: peelfs diff [flags] REF1 REF2 [PATH]")
	}
	var stacks [2]*stack
	for i, ref := range args {
		if len(platforms) > 0 {
			if s.platform, err = fetch.ParsePlatform(platforms[min(i, len(platforms)-1)]); err != nil {
				return nil, nil, "", err
			}
		}
		if stacks[i], err = s.openView(ctx, ref); err != nil {
			return nil, nil, "", err
		}
	}
	return stacks[0], stacks[1], path, nil
}

// difference has the keys of `peelfs diff --format json`.
type difference struct {
	Change    string         `json:"change"` // added, removed, changed
	Path      string         `json:"path"`
	PathBytes string         `json:"pathBase64,omitempty"`
	Aspects   []query.Aspect `json:"aspects,omitempty"`
	Old       *entry         `json:"old,omitempty"`
	New       *entry         `json:"new,omitempty"`
}

// printer tells differences.
type printer struct {
	*output.Screen
	flags *diffFlags
	a, b  *stack
	json  *output.List
	root  string
	stats diffStats
}

func (p *printer) object(ctx context.Context, c query.Change) error {
	d := difference{Change: changeWord(c), Aspects: c.Aspects}
	d.Path, d.PathBytes = text(c.Path())
	for _, side := range []struct {
		from *query.Entry
		st   *stack
		to   **entry
	}{{c.Old, p.a, &d.Old}, {c.New, p.b, &d.New}} {
		if side.from == nil {
			continue
		}
		e, err := entryOf(ctx, side.st.view, *side.from)
		if err != nil {
			return err
		}
		*side.to = &e
	}
	return p.json.Add(d)
}

func changeWord(c query.Change) string {
	switch {
	case c.Old == nil:
		return "added"
	case c.New == nil:
		return "removed"
	}
	return "changed"
}

// line is a change as people read it.
func (p *printer) line(ctx context.Context, c query.Change) error {
	letter, colour := "C", output.Yellow
	switch {
	case c.Old == nil:
		letter, colour = "A", output.Green
	case c.New == nil:
		letter, colour = "D", output.Red
	}
	details, err := p.details(ctx, c)
	if err != nil {
		return err
	}
	if p.flags.null {
		_, err = p.WriteString(letter + " " + c.Path() + "\x00")
		return err
	}
	_, err = p.WriteString(p.Paint(colour, letter+" "+p.Name(c.Path())) + details + "\n")
	return err
}

// details are what changed, and from what to what where that is short.
func (p *printer) details(ctx context.Context, c query.Change) (string, error) {
	var parts []string
	for _, aspect := range c.Aspects {
		old, now := "", ""
		a, b := c.Old.Attr, c.New.Attr
		switch aspect {
		case query.Kind:
			old, now = a.Kind.String(), b.Kind.String()
		case query.Content:
			if a.Size != b.Size {
				old, now = sizes(true)(a.Size), sizes(true)(b.Size)
			}
		case query.Mode:
			old, now = fmt.Sprintf("%04o", a.Mode), fmt.Sprintf("%04o", b.Mode)
		case query.Owners:
			old, now = fmt.Sprintf("%d:%d", a.UID, a.GID), fmt.Sprintf("%d:%d", b.UID, b.GID)
		case query.Times:
			old, now = timestamp(a), timestamp(b)
		case query.Device:
			old, now = amount(a, nil), amount(b, nil)
		case query.Target:
			ta, err := p.a.view.Readlink(ctx, a.Ino)
			if err != nil {
				return "", err
			}
			tb, err := p.b.view.Readlink(ctx, b.Ino)
			if err != nil {
				return "", err
			}
			old, now = p.Name(string(ta)), p.Name(string(tb))
		}
		part := string(aspect)
		if old != now {
			part += " " + old + " -> " + now
		}
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		return "", nil
	}
	return "  " + strings.Join(parts, ", "), nil
}

// bytesOf is how much an entry weighs.
func bytesOf(e *query.Entry) int64 {
	if e == nil || e.Attr.Kind != index.File {
		return 0
	}
	return e.Attr.Size
}
