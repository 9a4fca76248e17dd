package main

import (
	"errors"

	"github.com/spf13/cobra"
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

		Version: version,
		Args:    cobra.ArbitraryArgs,
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
	root.SetFlagErrorFunc(wrongFlag)
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
	root.SetHelpCommand(helpCommand())
	root.SetVersionTemplate("peelfs {{.Version}}\n")
	shells(root)
	completeFlagValues(root)
	return root
}
