package main

import (
	"errors"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/peelfs/peelfs/internal/errkind"
)

func (a *app) rootCommand() *cobra.Command {
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
			return errors.Join(a.flags.absolute(), a.openLog())
		},
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return errkind.WithHint(errkind.Wrap(errkind.Invalid, err), "see: %s --help", cmd.CommandPath())
	})
	a.globalFlags(root.PersistentFlags())
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
	add("mount", a.mountCommand(), a.automountCommand(), a.umountCommand(), a.mountsCommand(), a.statusCommand())
	add("look", a.lsCommand(), a.treeCommand(), a.catCommand(), a.cpCommand(), a.findCommand(), a.statCommand(), a.whichCommand(),
		a.diffCommand(), a.duCommand(), a.topCommand(), a.inspectCommand(), a.historyCommand(), a.tagsCommand(), a.exportCommand(), a.pullCommand())
	add("store", a.imagesCommand(), a.tagCommand(), a.rmiCommand(), a.importTagsCommand(), a.cacheCommand(), a.indexCommand())
	root.AddCommand(a.doctorCommand(), a.manCommand(), a.versionCommand(), a.commonTopic())
	a.completions(root)
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

func (a *app) globalFlags(f *pflag.FlagSet) {
	f.SortFlags = false
	f.StringVar(&a.flags.cacheDir, "cache-dir", "", "the cache (default $PEELFS_CACHE, else the user's cache directory)")
	f.StringVar(&a.flags.logFile, "log-file", "", "append the log to this file instead of stderr")
	f.StringVar(&a.flags.logLevel, "log-level", "", "debug, info, warn or error (default warn)")
	f.BoolVarP(&a.flags.quiet, "quiet", "q", false, "no progress, no warnings")
	f.CountVarP(&a.flags.verbose, "verbose", "v", "say more; twice for much more")
}

// registryFlags are those of all commands that may ask a registry.
func (a *app) registryFlags(f *pflag.FlagSet) {
	f.SortFlags = false
	f.StringVar(&a.flags.platform, "platform", "", "os/arch[/variant] of the image (default this machine's)")
	f.StringVar(&a.flags.pull, "pull", "auto", "ask the registry what the name means: auto|always|missing|never")
	f.BoolVar(&a.flags.plainHTTP, "plain-http", false, "speak http with the registry (loopback needs no flag)")
	f.BoolVar(&a.flags.tlsVerify, "tls-verify", true, "check the registry's certificate")
	f.StringVar(&a.flags.caFile, "ca-file", "", "PEM file of further certificate authorities")
	f.StringVar(&a.flags.creds, "creds", "", "user:password for the registry")
	f.StringVar(&a.flags.authFile, "authfile", "", "credentials as docker and podman write them")
	f.BoolVar(&a.flags.anonymous, "anonymous", false, "use no credentials")
	f.StringVar(&a.flags.registryAPI, "registry-api", "auto", "auto|v1|v2")
	f.StringVar(&a.flags.soci, "soci", "auto", "SOCI indexes: auto|off|v2: only those that the image names; others are not authenticated")
	f.DurationVar(&a.flags.ioTimeout, "io-timeout", 0, "how long a read waits for data before it fails (default 5m of all, 1m of silence)")
}

// storeFlags are those of all commands that fill the cache.
func (a *app) storeFlags(f *pflag.FlagSet) {
	f.StringVar(&a.flags.cacheSize, "cache-size", "", "keep at most this much layer data, as 2GiB (default: no bound)")
}

func (a *app) progressFlag(f *pflag.FlagSet) {
	f.StringVar(&a.flags.progress, "progress", "auto", "auto|bar|plain|none")
}

func (a *app) formatFlag(f *pflag.FlagSet) {
	f.StringVar(&a.flags.format, "format", "table", "table|json")
}

// absolute makes paths good in any directory: the process behind a mount does
// not stay where it was started.
func (f *flags) absolute() error {
	for _, path := range []*string{&f.logFile, &f.caFile, &f.authFile} {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = abs
	}
	return nil
}
