package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/query"
)

// findFlags are the tests as they were written; "" asks for nothing.
type findFlags struct {
	sessionFlags
	name, iname, path, kind, size, perm, newer, layer string
	uid, gid                                          int64
	maxDepth                                          int
	null, long                                        bool
}

// oneDash marks commands whose long flags may have one dash, as those of find(1).
const oneDash = "one dash"

func findCommand(a *app) *cobra.Command {
	f := findFlags{}
	cmd := &cobra.Command{
		Use:   "find [flags] REF[:PATH]...",
		Short: "Find files of an image by name, type, size, mode, time or layer",
		Long: `Print the paths of all that passes every test, in the order of their bytes.
Tests are those of find(1), with one dash or two.`,
		Example: `  peelfs find debian:bookworm -perm /u+s,g+s        set-id programs
  peelfs find debian:bookworm:/usr -type f -size +1M -long
  peelfs find myapp:2 -layer 3 -newer /etc/os-release -print0 | xargs -0 ...`,
		Annotations: map[string]string{oneDash: "true"},
		Args:        wrong(cobra.MinimumNArgs(1)),
		RunE: inSession(a, &f.sessionFlags, func(ctx context.Context, c *output.Console, s *session, args []string) error {
			return find(ctx, c, s, args, f)
		}),
	}
	f.defineTests(cmd.Flags())
	formatFlag(a.console, cmd.Flags())
	lookFlags(cmd, &f.sessionFlags)
	cmd.ValidArgsFunction = completeRefs(a, &f.sessionFlags)
	return cmd
}

func (f *findFlags) defineTests(flags *pflag.FlagSet) {
	flags.StringVar(&f.name, "name", "", "the name fits a pattern; -iname whatever the case")
	flags.StringVar(&f.iname, "iname", "", "")
	flags.Lookup("iname").Hidden = true
	flags.StringVar(&f.path, "path", "", "the path fits one; * matches slashes too")
	flags.StringVar(&f.kind, "type", "", "f, d, l, c, b, p, or several: f,l")
	flags.StringVar(&f.size, "size", "", "+10M larger, -4k smaller; c k M G, or 512 bytes")
	flags.StringVar(&f.perm, "perm", "", "644 exactly, -4000 all bits, /u+s,g+s any bit")
	flags.StringVar(&f.newer, "newer", "", "modified after a file of the image, or a date")
	flags.Int64Var(&f.uid, "uid", -1, "the owner's number; -gid the group's")
	flags.Int64Var(&f.gid, "gid", -1, "")
	flags.Lookup("gid").Hidden = true
	flags.StringVar(&f.layer, "layer", "", "in this layer: its number from 0, or its digest")
	flags.IntVar(&f.maxDepth, "maxdepth", -1, "no deeper than this below PATH")
	flags.BoolVarP(&f.null, "print0", "0", false, "paths end with a NUL, and are exact")
	flags.BoolVarP(&f.long, "long", "l", false, "mode, owner, size and time too")
}

func find(ctx context.Context, c *output.Console, s *session, args []string, f findFlags) error {
	inJSON, err := c.AsJSON()
	if err != nil {
		return err
	}
	out := c.Screen()
	if f.null {
		out.Exact()
	}
	list := out.List()
	look := newLooker(s)
	err = eachOf(ctx, c, args, func(arg string) error {
		defer out.Flush()
		st, from, err := look.at(ctx, arg, false)
		if err != nil {
			return err
		}
		filters, err := f.filters(ctx, st)
		if err != nil {
			return err
		}
		found := func(e query.Entry) error { return f.print(out, e) }
		if inJSON {
			found = func(e query.Entry) error {
				item, err := entryOf(ctx, st.view, e)
				if err != nil {
					return err
				}
				return list.Add(item)
			}
		}
		return f.search(ctx, st, from, query.All(filters), found)
	})
	if inJSON && (err == nil || list.Len() > 0) {
		err = errors.Join(err, list.Close())
	}
	return errors.Join(err, out.Flush())
}

func (f findFlags) search(ctx context.Context, st *stack, from query.Entry, test query.Filter, found query.Visit) error {
	return query.Walk(ctx, st.view, from, func(e query.Entry) error {
		if test(e) {
			if err := found(e); err != nil {
				return err
			}
		}
		if e.IsDir() && e.Depth == f.maxDepth {
			return fs.SkipDir
		}
		return nil
	})
}

// filters are the tests that were asked for.
func (f findFlags) filters(ctx context.Context, st *stack) (all []query.Filter, err error) {
	add := func(text string, parse func(string) (query.Filter, error)) {
		if text == "" || err != nil {
			return
		}
		filter, parseErr := parse(text)
		all, err = append(all, filter), parseErr
	}
	add(f.kind, query.Type)
	add(f.name, func(s string) (query.Filter, error) { return query.Name(s, false) })
	add(f.iname, func(s string) (query.Filter, error) { return query.Name(s, true) })
	add(f.path, query.Path)
	add(f.size, query.Size)
	add(f.perm, query.Perm)
	add(f.newer, func(s string) (query.Filter, error) { return newer(ctx, st, s) })
	add(f.layer, func(s string) (query.Filter, error) {
		n, err := st.layerNumber(s)
		return query.InLayer(st.view, n), err
	})
	for _, id := range []struct {
		n      int64
		filter func(uint32) query.Filter
	}{{f.uid, query.Owner}, {f.gid, query.Group}} {
		if id.n < -1 || id.n > 1<<32-1 {
			return nil, errkind.New(errkind.Invalid, "%d is nobody's number", id.n)
		}
		if id.n >= 0 {
			all = append(all, id.filter(uint32(id.n)))
		}
	}
	return all, err
}

// newer reads the time that files must be newer than: that of a file of the
// image, or one that is written out.
func newer(ctx context.Context, st *stack, text string) (query.Filter, error) {
	if strings.HasPrefix(text, "/") {
		e, err := query.Find(ctx, st.view, text, true)
		return query.Newer(e.Attr.Sec, e.Attr.Nsec), err
	}
	t, err := query.ParseTime(text)
	return query.Newer(t.Unix(), uint32(t.Nanosecond())), err
}

func (f findFlags) print(out *output.Screen, e query.Entry) error {
	if f.long {
		a := e.Attr
		fmt.Fprintf(out, "%s %5d %5d %10s %s ", permissions(a), a.UID, a.GID, amount(a, sizes(false)), day(a))
	}
	end := "\n"
	if f.null {
		end = "\x00"
	}
	_, err := out.WriteString(paint(out, e, out.Name(e.Path())) + end)
	return err
}

// withTwoDashes gives the long flags of commands that follow find(1) the two
// dashes that the others have.
func withTwoDashes(root *cobra.Command, args []string) []string {
	cmd, _, err := root.Find(args)
	if err != nil || cmd.Annotations[oneDash] == "" {
		return args
	}
	out := slices.Clone(args)
	for i, arg := range out {
		if arg == "--" {
			break
		}
		name, dashed := strings.CutPrefix(arg, "-")
		name, _, _ = strings.Cut(name, "=")
		if dashed && len(name) > 1 && cmd.Flags().Lookup(name) != nil {
			out[i] = "-" + arg
		}
	}
	return out
}
