package main

import (
	"github.com/peelfs/peelfs/cmd/peelfs/output"

	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/query"
)

type lsFlags struct {
	sessionFlags
	long, all, recursive, directory, human, single, null bool
}

func lsCommand(a *app) *cobra.Command {
	var f lsFlags
	cmd := &cobra.Command{
		Use:   "ls [flags] REF[:PATH]...",
		Short: "List a directory of an image",
		Long: `List a directory of an image without a mount. Layers are fetched as far as the
listing needs them. PATH begins with a slash; without one the root is listed.`,
		Example: `  peelfs ls debian:bookworm:/etc
  peelfs ls -lhR debian:bookworm:/usr/bin
  peelfs ls -l --format json oci:./layout:1:/usr/bin`,
		Args: orHelp(takes(1, -1)),
		RunE: inSession(a, &f.sessionFlags, func(ctx context.Context, c *output.Console, s *session, args []string) error {
			return ls(ctx, c, s, args, f)
		}),
	}
	cmd.Flags().BoolVarP(&f.long, "long", "l", false, "mode, links, owner, size and time too")
	cmd.Flags().BoolVarP(&f.all, "all", "a", false, "names that begin with a dot too")
	cmd.Flags().BoolVarP(&f.recursive, "recursive", "R", false, "directories below too")
	cmd.Flags().BoolVarP(&f.directory, "directory", "d", false, "a directory itself, not what is in it")
	cmd.Flags().BoolVarP(&f.human, "human-readable", "h", false, "sizes as 1.2 kB")
	cmd.Flags().BoolVarP(&f.single, "one", "1", false, "one name on a line, on terminals too")
	cmd.Flags().BoolVarP(&f.null, "null", "0", false, "names end with a NUL, and are exact")
	formatFlag(a.console, cmd.Flags())
	lookFlags(cmd, &f.sessionFlags)
	cmd.ValidArgsFunction = completeRefs(a, &f.sessionFlags)
	return cmd
}

func ls(ctx context.Context, c *output.Console, s *session, args []string, f lsFlags) error {
	inJSON, err := c.AsJSON()
	if err != nil {
		return err
	}
	l := lister{Screen: c.Screen(), flags: f, headings: len(args) > 1 || f.recursive}
	if inJSON {
		l.json = l.Screen.List()
	}
	if f.null {
		l.Exact()
		l.headings = false
	}
	look := newLooker(s)
	err = eachOf(ctx, c, args, func(arg string) error {
		defer l.Flush() // what was listed comes before what went wrong with the next
		st, e, err := look.at(ctx, arg, !f.long && !f.directory)
		if err != nil {
			return err
		}
		l.walker = query.Walker{View: st.view}
		if !f.all {
			l.walker.Show = func(e query.Entry) bool { return e.Name()[0] != '.' }
		}
		return l.list(ctx, arg, e)
	})
	if inJSON && (err == nil || l.json.Len() > 0) {
		err = errors.Join(err, l.json.Close())
	}
	return errors.Join(err, l.Flush())
}

// lister lists one argument after the other.
type lister struct {
	*output.Screen
	flags    lsFlags
	walker   query.Walker
	json     *output.List // nil for people
	headings bool
	blank    bool // something came before
}

func (l *lister) list(ctx context.Context, arg string, e query.Entry) error {
	if !e.IsDir() || l.flags.directory {
		return l.entries(ctx, func(visit query.Visit) error { return visit(e) }, query.Entry.Path)
	}
	heading := arg
	if l.flags.recursive {
		heading = e.Path()
	}
	if err := l.dir(ctx, heading, e); err != nil || !l.flags.recursive {
		return err
	}
	return l.walker.Walk(ctx, e, func(sub query.Entry) error {
		if sub.Depth == 0 || !sub.IsDir() {
			return nil
		}
		return l.dir(ctx, sub.Path(), sub)
	})
}

// dir lists one directory.
func (l *lister) dir(ctx context.Context, heading string, e query.Entry) error {
	if l.headings && l.json == nil {
		if l.blank {
			l.WriteString("\n")
		}
		fmt.Fprintf(l, "%s:\n", l.Name(heading))
	}
	l.blank = true
	name := query.Entry.Name
	if l.flags.null && l.flags.recursive {
		name = query.Entry.Path
	}
	return l.entries(ctx, func(visit query.Visit) error { return l.walker.Children(ctx, e, visit) }, name)
}

// entries writes what each yields, maybe in two goes: what it yields is the same
// each time, and cheaper to ask for again than to keep.
func (l *lister) entries(ctx context.Context, each func(query.Visit) error, name func(query.Entry) string) error {
	switch {
	case l.json != nil:
		return each(func(e query.Entry) error {
			out, err := entryOf(ctx, l.walker.View, e)
			if err != nil {
				return err
			}
			return l.json.Add(out)
		})
	case l.flags.long:
		return l.long(ctx, each, name)
	case l.Terminal() && !l.flags.single:
		return l.columns(each, name)
	}
	return each(func(e query.Entry) error {
		_, err := l.WriteString(paint(l.Screen, e, l.Name(name(e))) + l.end())
		return err
	})
}

func (l *lister) columns(each func(query.Visit) error, name func(query.Entry) string) error {
	var names []string
	var painted []string
	err := each(func(e query.Entry) error {
		shown := l.Name(name(e))
		names, painted = append(names, shown), append(painted, paint(l.Screen, e, shown))
		return nil
	})
	l.Grid(names, func(i int) string { return painted[i] })
	return err
}

// long writes what ls -l has. The first go finds how wide the columns are.
func (l *lister) long(ctx context.Context, each func(query.Visit) error, name func(query.Entry) string) error {
	size := sizes(l.flags.human)
	var links, uid, gid, bytes int
	err := each(func(e query.Entry) error {
		a := e.Attr
		links, uid = max(links, len(fmt.Sprint(a.Nlink))), max(uid, len(fmt.Sprint(a.UID)))
		gid, bytes = max(gid, len(fmt.Sprint(a.GID))), max(bytes, len(amount(a, size)))
		return nil
	})
	if err != nil {
		return err
	}
	return each(func(e query.Entry) error {
		a := e.Attr
		fmt.Fprintf(l, "%s %*d %*d %*d %*s %s %s", permissions(a), links, a.Nlink, uid, a.UID, gid, a.GID, bytes, amount(a, size),
			day(a), paint(l.Screen, e, l.Name(name(e))))
		if a.Kind == index.Symlink {
			target, err := l.walker.View.Readlink(ctx, a.Ino)
			if err != nil {
				return err
			}
			fmt.Fprintf(l, " -> %s", l.Name(string(target)))
		}
		_, err := l.WriteString(l.end())
		return err
	})
}

// end is what ends a name.
func (l *lister) end() string {
	if l.flags.null {
		return "\x00"
	}
	return "\n"
}
