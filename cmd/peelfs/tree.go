package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/query"
	"github.com/peelfs/peelfs/layers/view"
)

type treeFlags struct {
	sessionFlags
	all, dirs, size bool
	depth           int
}

func treeCommand(a *app) *cobra.Command {
	var f treeFlags
	cmd := &cobra.Command{
		Use:   "tree [flags] REF[:PATH]",
		Short: "Draw what is below a directory of an image",
		Example: `  peelfs tree -L 2 debian:bookworm:/etc/apt
  peelfs tree -d alpine`,
		Args: takes(1, 1),
		RunE: inSession(a, &f.sessionFlags, func(ctx context.Context, c *output.Console, s *session, args []string) error {
			return tree(ctx, c, s, args[0], f)
		}),
	}
	cmd.Flags().BoolVarP(&f.all, "all", "a", false, "names that begin with a dot too")
	cmd.Flags().BoolVarP(&f.dirs, "directories", "d", false, "directories only")
	cmd.Flags().IntVarP(&f.depth, "level", "L", 0, "no deeper than this (default: all)")
	cmd.Flags().BoolVarP(&f.size, "size", "s", false, "sizes of files too")
	formatFlag(a.console, cmd.Flags())
	lookFlags(cmd, &f.sessionFlags)
	cmd.ValidArgsFunction = completeRefs(a, &f.sessionFlags)
	return cmd
}

func tree(ctx context.Context, c *output.Console, s *session, arg string, f treeFlags) error {
	inJSON, err := c.AsJSON()
	if err != nil {
		return err
	}
	if f.depth < 0 {
		return errLevel(f.depth)
	}
	st, from, err := newLooker(s).at(ctx, arg, true)
	if err != nil {
		return err
	}
	out := c.Screen()
	w := query.Walker{View: st.view, Show: f.shows}
	within := func(e query.Entry) error {
		if f.depth > 0 && e.Depth == f.depth {
			return fs.SkipDir
		}
		return nil
	}
	if inJSON {
		err = listJSON(ctx, w, from, out, within)
	} else {
		err = (&drawing{Screen: out, view: st.view, flags: f}).draw(ctx, w, from, within)
	}
	return errors.Join(err, out.Flush())
}

func (f treeFlags) shows(e query.Entry) bool {
	return (f.all || e.Name()[0] != '.') && (!f.dirs || e.IsDir())
}

// listJSON writes the entries of a walk; then says whether to go on below.
func listJSON(ctx context.Context, w query.Walker, from query.Entry, out *output.Screen, then func(query.Entry) error) error {
	list := out.List()
	err := w.Walk(ctx, from, func(e query.Entry) error {
		item, err := entryOf(ctx, w.View, e)
		if err == nil {
			err = list.Add(item)
		}
		if err != nil {
			return err
		}
		return unlessLeaf(e, then(e))
	})
	return errors.Join(err, list.Close())
}

// unlessLeaf is the error to return for e: only directories can be skipped.
func unlessLeaf(e query.Entry, err error) error {
	if errors.Is(err, fs.SkipDir) && !e.IsDir() {
		return nil
	}
	return err
}

// drawing draws a tree line by line.
type drawing struct {
	*output.Screen
	view        *view.View
	flags       treeFlags
	last        []bool // for each directory on the way: nothing comes after it
	dirs, files int
}

func (d *drawing) draw(ctx context.Context, w query.Walker, from query.Entry, within func(query.Entry) error) error {
	err := w.Walk(ctx, from, func(e query.Entry) error {
		if err := d.line(ctx, e); err != nil {
			return err
		}
		return unlessLeaf(e, within(e))
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(d, "\n%s, %s\n", plural(d.dirs, "directory", "directories"), plural(d.files, "file", "files"))
	return err
}

func (d *drawing) line(ctx context.Context, e query.Entry) error {
	shown := e.Name()
	switch {
	case e.Depth == 0:
		shown = e.Path()
	case e.IsDir():
		d.dirs++
	default:
		d.files++
	}
	d.indent(e)
	if d.flags.size && e.Attr.Kind == index.File {
		fmt.Fprintf(d, "[%s] ", sizes(true)(e.Attr.Size))
	}
	d.WriteString(paint(d.Screen, e, d.Name(shown)))
	if e.Attr.Kind == index.Symlink {
		target, err := d.view.Readlink(ctx, e.Attr.Ino)
		if err != nil {
			return err
		}
		d.WriteString(" -> " + d.Name(string(target)))
	}
	_, err := d.WriteString("\n")
	return err
}

func (d *drawing) indent(e query.Entry) {
	if e.Depth == 0 {
		return
	}
	d.last = append(d.last[:e.Depth-1], e.Last)
	for _, last := range d.last[:e.Depth-1] {
		if last {
			d.WriteString("    ")
		} else {
			d.WriteString("│   ")
		}
	}
	if e.Last {
		d.WriteString("└── ")
	} else {
		d.WriteString("├── ")
	}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func errLevel(n int) error {
	return errkind.New(errkind.Invalid, "--level=%d: there is no such depth", n)
}
