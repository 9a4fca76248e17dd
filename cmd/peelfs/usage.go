package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/peelfs/peelfs/internal/errkind"
)

// takes is an argument check: a command takes so many, most being -1 for any number.
func takes(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		n := len(args)
		if n >= least && (most < 0 || n <= most) {
			return nil
		}
		given := fmt.Sprintf("%d are", n)
		switch n {
		case 0:
			given = "none is"
		case 1:
			given = "1 is"
		}
		return errkind.WithHint(errkind.New(errkind.Invalid, "%s takes %s, and %s given", cmd.CommandPath(), arguments(least, most), given), "usage: %s", cmd.UseLine())
	}
}

func arguments(least, most int) string {
	switch {
	case most == 0:
		return "no arguments"
	case most < 0:
		return "at least " + plural(least, "argument", "arguments")
	case least == most:
		return plural(least, "argument", "arguments")
	case least == 0:
		return "at most " + plural(most, "argument", "arguments")
	}
	return fmt.Sprintf("%d to %d arguments", least, most)
}

// wrongFlag says in our words what the parser of flags has found.
func wrongFlag(cmd *cobra.Command, err error) error {
	if errors.Is(err, pflag.ErrHelp) {
		return err
	}
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var value *pflag.InvalidValueError
	var syntax *pflag.InvalidSyntaxError
	hint := fmt.Sprintf("see: %s --help", cmd.CommandPath())
	switch {
	case errors.As(err, &unknown):
		err = errkind.New(errkind.Invalid, "%s has no flag %s", cmd.CommandPath(), dashed(unknown.GetSpecifiedName()))
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
		if close := near("--"+unknown.GetSpecifiedName(), names); len(close) > 0 {
			hint = "did you mean " + strings.Join(close, " or ") + "?"
		}
	case errors.As(err, &missing):
		err = errkind.New(errkind.Invalid, "%s needs a value", dashed(missing.GetSpecifiedName()))
	case errors.As(err, &value):
		f := value.GetFlag()
		err = errkind.New(errkind.Invalid, "--%s=%s is not %s", f.Name, value.GetValue(), kindOfValue(f))
	case errors.As(err, &syntax):
		err = errkind.New(errkind.Invalid, "%s is no flag", syntax.GetSpecifiedFlag())
	default:
		err = errkind.Wrap(errkind.Invalid, err)
	}
	return errkind.WithHint(err, "%s", hint)
}

func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

func kindOfValue(f *pflag.Flag) string {
	switch f.Value.Type() {
	case "duration":
		return "a duration, as 90s or 5m"
	case "bool":
		return "true or false"
	case "int", "count":
		return "a number"
	}
	return "a value for it"
}

// near are those of names that typed is a slip away from, or the beginning of.
func near(typed string, names []string) (close []string) {
	typed = strings.ToLower(typed)
	for _, name := range names {
		begun := len(strings.Trim(typed, "-")) > 1 && strings.HasPrefix(name, typed)
		if begun || slips(typed, name) <= max(1, len([]rune(strings.Trim(typed, "-")))/3) {
			close = append(close, name)
		}
	}
	return close
}

// slips counts the letters that are wrong, missing or too many, and the pairs that
// have changed places, between two words.
func slips(a, b string) int {
	x, y := []rune(a), []rune(b)
	rows := make([][]int, len(x)+1)
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(x); i++ {
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(x)][len(y)]
}

func unknownCommand(cmd *cobra.Command, name string) error {
	err := errkind.New(errkind.Invalid, "%s has no command %q", cmd.CommandPath(), name)
	if strings.HasPrefix(name, "-") {
		err = errkind.New(errkind.Invalid, "%s has no flag %s", cmd.CommandPath(), name)
	}
	if close := near(name, commandNames(cmd)); len(close) > 0 {
		return errkind.WithHint(err, "did you mean %s?", strings.Join(close, " or "))
	}
	return errkind.WithHint(err, "see: %s --help", cmd.CommandPath())
}

func commandNames(cmd *cobra.Command) (names []string) {
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() || c.IsAdditionalHelpTopicCommand() {
			names = append(append(names, c.Name()), c.Aliases...)
		}
	}
	return names
}

// helpCommand is help as cobra has it, but that what it does not know is an error.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Tell about a command, or a topic",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			at, _, err := cmd.Root().Find(args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			names := slices.DeleteFunc(commandNames(at), func(name string) bool { return !strings.HasPrefix(name, typed) })
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			at := cmd.Root()
			for _, name := range args {
				i := slices.IndexFunc(at.Commands(), func(c *cobra.Command) bool { return c.Name() == name || c.HasAlias(name) })
				if i < 0 {
					return unknownCommand(at, name)
				}
				at = at.Commands()[i]
			}
			at.InitDefaultHelpFlag()
			return at.Help()
		},
	}
}

// shells makes a shell that completion does not know an error.
func shells(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() != "completion" {
			continue
		}
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return errkind.WithHint(errkind.New(errkind.Invalid, "there is no completion for %q", args[0]), "shells are bash, fish, powershell and zsh")
		}
	}
}

// absolutePath is a path that holds in any directory.
func absolutePath(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", errkind.WithHint(errkind.New(errkind.Invalid, "%s: the working directory is not there any more", path), "go to one that is, or use an absolute path")
	}
	return abs, nil
}
