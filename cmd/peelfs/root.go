package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/internal/errkind"
)

func rootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "peelfs",
		Short: "Mount container images lazily, and look into them",
		Example: `  peelfs mount debian:bookworm mnt     mount it; layers come when they are needed
  peelfs status mnt                    what was fetched of each layer, and what was not
  peelfs umount mnt
  peelfs cat debian:bookworm:/etc/os-release`,
		SilenceUsage:  true,
		SilenceErrors: true,

		SuggestionsMinimumDistance: 2,
		Args:                       cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
		PersistentPreRunE: func(*cobra.Command, []string) error {
			return errors.Join(absolute(&a.flags.logFile), a.openLog())
		},
	}
	root.SetIn(a.in)
	root.SetOut(a.console.Out)
	root.SetErr(a.console.Err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return errkind.WithHint(errkind.Wrap(errkind.Invalid, err), "see: %s --help", cmd.CommandPath())
	})
	a.flags.define(a.console, root.PersistentFlags())
	root.AddGroup(
		&cobra.Group{ID: "mount", Title: "Mounting:"},
		&cobra.Group{ID: "look", Title: "Looking into images without a mount:"},
		&cobra.Group{ID: "store", Title: "What is kept here:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("mount", mountCommand(a), automountCommand(a), umountCommand(a), mountsCommand(a), statusCommand(a))
	add("look", lsCommand(a), treeCommand(a), catCommand(a), cpCommand(a), findCommand(a), statCommand(a), whichCommand(a),
		diffCommand(a), duCommand(a), topCommand(a), inspectCommand(a), historyCommand(a), tagsCommand(a), exportCommand(a), pullCommand(a))
	add("store", imagesCommand(a), tagCommand(a), rmiCommand(a), importTagsCommand(a), cacheCommand(a), indexCommand(a))
	root.AddCommand(doctorCommand(a), manCommand(), versionCommand(a), commonTopic())
	completeFlagValues(root)
	return root
}

func unknownCommand(cmd *cobra.Command, name string) error {
	err := errkind.New(errkind.Invalid, "%s has no command %q", cmd.CommandPath(), name)
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		return errkind.WithHint(err, "did you mean %s?", strings.Join(near, " or "))
	}
	return errkind.WithHint(err, "see: %s --help", cmd.CommandPath())
}

// wrong makes the errors of cobra's argument checks ours.
func wrong(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return errkind.WithHint(errkind.Wrap(errkind.Invalid, err), "usage: %s", cmd.UseLine())
		}
		return nil
	}
}
