package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/fetch"
)

// completeTime is how long a shell waits for a registry's tags.
const completeTime = 2 * time.Second

type completer = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective)

// completeFlagValues tells the shells what the values of flags can be.
func completeFlagValues(root *cobra.Command) {
	flags := map[string][]string{
		"pull": {"auto", "always", "missing", "never"}, "symlinks": {"rewrite", "raw"}, "format": {"table", "json"},
		"progress": {"auto", "bar", "plain", "none"}, "prefetch": {"auto", "none", "all"}, "registry-api": {"auto", "v1", "v2"},
		"soci": {"auto", "off", "on", "v2"}, "platform": {"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/386"},
	}
	var complete func(*cobra.Command)
	complete = func(cmd *cobra.Command) {
		for name, values := range flags {
			if cmd.LocalNonPersistentFlags().Lookup(name) != nil {
				_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
			}
		}
		for _, sub := range cmd.Commands() {
			complete(sub)
		}
	}
	complete(root)
	_ = root.RegisterFlagCompletionFunc("log-level", cobra.FixedCompletions([]string{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp))
	_ = root.RegisterFlagCompletionFunc("cache-dir", directories)
}

// firstThen completes the first argument and the others in different ways.
func firstThen(first, others completer) completer {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return first(cmd, args, typed)
		}
		return others(cmd, args, typed)
	}
}

func directories(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

func nothing(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// completeMounts offers what is mounted, from here where that is shorter to type.
func completeMounts(a *app) completer {
	return func(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		entries, err := a.mountList().table.List()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		here, _ := os.Getwd()
		var dirs []string
		for _, e := range entries {
			dir := e.Mountpoint
			if rel, err := filepath.Rel(here, dir); err == nil && !filepath.IsAbs(typed) && filepath.IsLocal(rel) {
				dir = rel
			}
			if strings.HasPrefix(dir, typed) && !slices.Contains(args, dir) {
				dirs = append(dirs, dir+"\t"+familiar(e.Reference))
			}
		}
		return dirs, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeRefs offers names that are known here; behind NAME: the tags that the
// registry has, asked with the flags typed so far; and files behind a transport.
func completeRefs(a *app, f *sessionFlags) completer {
	return func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		for _, transport := range []string{"oci:", "oci-archive:", "docker-archive:"} {
			if strings.HasPrefix(typed, transport) {
				return nil, cobra.ShellCompDirectiveDefault
			}
		}
		var names []string
		err := withSession(a, f, func(s *session) error {
			names = knownNames(s, typed)
			if repo, ok := beforeTag(typed); ok {
				names = append(names, remoteTags(cmd.Context(), s, repo, typed)...)
			}
			return nil
		})
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		slices.Sort(names)
		return slices.Compact(names), cobra.ShellCompDirectiveNoFileComp
	}
}

func knownNames(s *session, typed string) (names []string) {
	records, _ := s.tags.List()
	for _, r := range records {
		short := familiar(r.Name)
		for _, name := range []string{short, r.Name} {
			if strings.HasPrefix(name, typed) {
				names = append(names, name)
				break
			}
		}
	}
	return names
}

// beforeTag is the repository if a tag of it is being typed.
func beforeTag(typed string) (repo string, ok bool) {
	last := strings.LastIndexByte(typed, '/') + 1
	i := strings.IndexByte(typed[last:], ':')
	if i <= 0 || strings.Contains(typed, "@") {
		return "", false
	}
	return typed[:last+i], true
}

func remoteTags(ctx context.Context, s *session, repo, typed string) (names []string) {
	ref, err := fetch.ParseReference(repo)
	if err != nil || !ref.IsRegistry() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, completeTime)
	defer cancel()
	tags, err := s.quick.Tags(ctx, ref)
	if err != nil {
		return nil
	}
	for _, tag := range tags {
		if name := repo + ":" + tag; strings.HasPrefix(name, typed) && output.Printable(name) == name {
			names = append(names, name)
		}
	}
	return names
}
