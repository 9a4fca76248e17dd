package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
)

// briefHelp leaves out of a command's help what the topic common-flags tells.
func briefHelp(cmd *cobra.Command) {
	for _, name := range []string{"pull", "soci", "plain-http", "tls-verify", "ca-file", "creds", "authfile",
		"anonymous", "registry-api", "io-timeout", "cache-size"} {
		if f := cmd.Flags().Lookup(name); f != nil {
			f.Hidden = true
		}
	}
	cmd.SetUsageTemplate(strings.NewReplacer(
		".LocalFlags.FlagUsages", ".LocalFlags.FlagUsagesWrapped 80",
		"{{if .HasAvailableInheritedFlags}}", "{{if false}}",
	).Replace(cmd.UsageTemplate()) + "\nFlags that all commands have: peelfs help common-flags\n")
}

// orHelp is an argument check of commands whose -h is not help: alone it asks
// for help all the same.
func orHelp(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if h := cmd.Flags().ShorthandLookup("h"); len(args) == 0 && h.Changed {
			return pflag.ErrHelp
		}
		return check(cmd, args)
	}
}

// commonFlags stands for a command that has those flags and no others.
func commonFlags() *cobra.Command {
	cmd := &cobra.Command{}
	new(sessionFlags).define(cmd.Flags())
	return cmd
}

// commonTopic is the help topic that tells what briefHelp leaves out.
func commonTopic() *cobra.Command {
	common := commonFlags()
	new(globalFlags).define(&output.Console{}, common.Flags())
	return &cobra.Command{
		Use:   "common-flags",
		Short: "Flags that many commands have: registries, the cache, logs",
		Long:  "Flags of all commands that look into an image:\n\n" + common.Flags().FlagUsagesWrapped(80),
	}
}
