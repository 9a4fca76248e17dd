package main

import "github.com/spf13/cobra"

func cacheCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache COMMAND",
		Short: "Look after what was fetched",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
	}
	cmd.AddCommand(cacheLsCommand(a), cacheDuCommand(a), cachePruneCommand(a), cacheVerifyCommand(a), cachePinCommand(a), cacheUnpinCommand(a))
	return cmd
}
