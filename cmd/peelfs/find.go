package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/peelfs/peelfs/cmd/peelfs/findexpr"
	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/query"
)

type findFlags struct {
	sessionFlags
	words      []string // of the expression
	null, long bool
}

func findCommand(a *app) *cobra.Command {
	var f findFlags
	cmd := &cobra.Command{
		Use:   "find [flags] REF[:PATH]... [EXPRESSION]",
		Short: "Find files of an image by name, type, size, mode, time or layer",
		Long: `Print the paths of all that an expression of find(1) holds for, in the order of
their bytes. Tests: -name -path -regex -lname (-iname ... whatever the case),
-type -size -perm -empty -user -group -uid -gid -links -mtime -mmin,
-newer FILE|DATE, and -layer N: what this layer decides. ( ) ! -a -o and , join
them; -mindepth, -maxdepth, -prune, -quit bound the walk; -printf, -print0, -ls
print. Users and groups are the image's, times are UTC.`,
		Example: `  peelfs find debian:bookworm -perm /u+s,g+s        set-id programs
  peelfs find debian:bookworm:/usr -type f -size +1M -ls
  peelfs find myapp:2 -layer 3 ! -name '*.py' -printf '%s %p\n'`,
		Args: takes(1, -1),
		RunE: inSession(a, &f.sessionFlags, func(ctx context.Context, c *output.Console, s *session, args []string) error {
			return find(ctx, c, s, args, findexpr.Characters(a.env), f)
		}),
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.words, expressionFlag, nil, "")
	flags.Lookup(expressionFlag).Hidden = true
	flags.BoolVarP(&f.null, "null", "0", false, "paths end with a NUL, and are exact")
	flags.BoolVarP(&f.long, "long", "l", false, "mode, owner, size and time too")
	formatFlag(a.console, flags)
	lookFlags(cmd, &f.sessionFlags)
	cmd.ValidArgsFunction = completeRefs(a, &f.sessionFlags)
	return cmd
}

// expressionFlag brings the words of an expression past the parser of flags, which
// would not know them.
const expressionFlag = "expression-word"

// findArguments makes, of a command line of find, one whose flags all have two
// dashes and whose expression is in flags. Others stay as they are.
func findArguments(root *cobra.Command, args []string) []string {
	cmd, _, err := root.Find(args)
	if err != nil || cmd.Name() != "find" || len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		return args
	}
	words, rest := findexpr.Split(args, func(arg string) bool { return wantsValue(cmd, arg) })
	out := make([]string, 0, len(args)+len(words))
	ended := false
	for _, arg := range rest {
		if arg == "--" && !ended {
			ended = true
			out = append(out, flagged(words)...)
			words = nil
		}
		if name, one := oneDash(arg); one && !ended && findFlag(cmd, name) != nil {
			arg = "-" + arg
		}
		out = append(out, arg)
	}
	return append(out, flagged(words)...)
}

func flagged(words []string) (flags []string) {
	for _, w := range words {
		flags = append(flags, "--"+expressionFlag+"="+w)
	}
	return flags
}

// oneDash is the name of a flag of several letters that has one dash.
func oneDash(arg string) (name string, ok bool) {
	name, ok = strings.CutPrefix(arg, "-")
	name, _, _ = strings.Cut(name, "=")
	return name, ok && len(name) > 1 && name[0] != '-'
}

func findFlag(cmd *cobra.Command, name string) *pflag.Flag {
	if f := cmd.Flags().Lookup(name); f != nil {
		return f
	}
	return cmd.InheritedFlags().Lookup(name)
}

// wantsValue says whether arg is a flag whose value is the next argument.
func wantsValue(cmd *cobra.Command, arg string) bool {
	if strings.Contains(arg, "=") {
		return false
	}
	f := findFlag(cmd, strings.TrimLeft(arg, "-"))
	return f != nil && f.NoOptDefVal == ""
}

func find(ctx context.Context, c *output.Console, s *session, args []string, characters bool, f findFlags) error {
	inJSON, err := c.AsJSON()
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "-") }); i >= 0 {
		return errkind.WithHint(errkind.New(errkind.Invalid, "find has no test %s", args[i]), "see: peelfs find --help")
	}
	p := &findPrinter{Screen: c.Screen(), flags: f}
	if inJSON {
		p.json = p.List()
	}
	if f.null {
		p.Exact()
	}
	look, now := newLooker(s), time.Now()
	err = eachOf(ctx, c, args, func(arg string) error {
		defer p.Flush()
		st, from, err := look.at(ctx, arg, false)
		if err != nil {
			return err
		}
		x, err := findexpr.Parse(ctx, findexpr.Image{
			View: st.view, Now: now, Characters: characters, Layer: st.layerNumber, Permission: permissions, Name: p.Name,
		}, f.words)
		if err != nil {
			return err
		}
		if inJSON && x.Formats() {
			return errkind.New(errkind.Invalid, "either -printf or --format json")
		}
		p.ctx, p.stack = ctx, st
		return x.Walk(ctx, st.view, from, p)
	})
	if inJSON && (err == nil || p.json.Len() > 0) {
		err = errors.Join(err, p.json.Close())
	}
	return errors.Join(err, p.Flush())
}

// findPrinter prints what an expression finds in one image after the other.
type findPrinter struct {
	*output.Screen
	flags findFlags
	json  *output.List    // nil for people
	ctx   context.Context // of the one walk that is under way
	stack *stack
}

// Print implements findexpr.Printer.
func (p *findPrinter) Print(e query.Entry) error {
	end := "\n"
	if p.flags.null {
		end = "\x00"
	}
	return p.print(e, p.flags.long, p.Name(e.Path()), end)
}

// Print0 implements findexpr.Printer.
func (p *findPrinter) Print0(e query.Entry) error { return p.print(e, p.flags.long, e.Path(), "\x00") }

// PrintLong implements findexpr.Printer.
func (p *findPrinter) PrintLong(e query.Entry) error { return p.print(e, true, p.Name(e.Path()), "\n") }

// Printf implements findexpr.Printer.
func (p *findPrinter) Printf(text string) error {
	_, err := p.WriteString(text)
	return err
}

func (p *findPrinter) print(e query.Entry, long bool, shown, end string) error {
	if p.json != nil {
		item, err := entryOf(p.ctx, p.stack.view, e)
		if err != nil {
			return err
		}
		return p.json.Add(item)
	}
	if long {
		a := e.Attr
		fmt.Fprintf(p, "%s %5d %5d %10s %s ", permissions(a), a.UID, a.GID, amount(a, sizes(false)), day(a))
	}
	_, err := p.WriteString(paint(p.Screen, e, shown) + end)
	return err
}
