package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/fetch"
)

// completeTime is how long a shell waits for a registry's tags.
const completeTime = 2 * time.Second

type completer = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective)

// completions tells the shells what arguments and flags can be.
func (a *app) completions(root *cobra.Command) {
	args := map[string]completer{
		"umount": a.completeMounts, "status": a.completeMounts,
		"mount": firstThen(a.completeRefs, directories), "automount": directories,
		"pull": a.completeRefs, "rmi": a.completeRefs, "tag": a.completeRefs, "inspect": a.completeRefs, "history": a.completeRefs,
		"export": a.completeRefs, "top": a.completeRefs, "doctor": a.completeRefs, "diff": a.completeRefs, "images": a.completeRefs,
		"which": firstThen(a.completeRefs, nothing), "tags": a.completeRefs,
		"ls": a.completeRefs, "tree": a.completeRefs, "cat": a.completeRefs, "cp": a.completeRefs, "find": a.completeRefs,
		"stat": a.completeRefs, "du": a.completeRefs,
	}
	flags := map[string][]string{
		"pull": {"auto", "always", "missing", "never"}, "symlinks": {"rewrite", "raw"}, "format": {"table", "json"},
		"progress": {"auto", "bar", "plain", "none"}, "prefetch": {"auto", "none", "all"}, "registry-api": {"auto", "v1", "v2"},
		"log-level": {"debug", "info", "warn", "error"}, "platform": {"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/386"},
	}
	for _, cmd := range root.Commands() {
		if f := args[cmd.Name()]; f != nil && cmd.ValidArgsFunction == nil && !cmd.HasSubCommands() {
			cmd.ValidArgsFunction = f
		}
		for name, values := range flags {
			if cmd.Flags().Lookup(name) != nil || root.PersistentFlags().Lookup(name) != nil && cmd.Name() == "mount" {
				_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
			}
		}
	}
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
func (a *app) completeMounts(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	table, err := a.mounts()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	entries, err := table.List()
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

// completeRefs offers names that are known here; behind NAME: the tags that the
// registry has; and files behind a transport.
func (a *app) completeRefs(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	for _, transport := range []string{"oci:", "oci-archive:", "docker-archive:"} {
		if strings.HasPrefix(typed, transport) {
			return nil, cobra.ShellCompDirectiveDefault
		}
	}
	var names []string
	err := a.with(func(s *session) error {
		names = s.knownNames(typed)
		if repo, ok := beforeTag(typed); ok {
			names = append(names, s.remoteTags(cmd.Context(), repo, typed)...)
		}
		return nil
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	slices.Sort(names)
	return slices.Compact(names), cobra.ShellCompDirectiveNoFileComp
}

func (s *session) knownNames(typed string) (names []string) {
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

func (s *session) remoteTags(ctx context.Context, repo, typed string) (names []string) {
	ref, err := fetch.ParseReference(repo)
	if err != nil || ref.Transport() != "docker" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, completeTime)
	defer cancel()
	tags, err := s.quick.Tags(ctx, ref)
	if err != nil {
		return nil
	}
	for _, tag := range tags {
		if name := repo + ":" + tag; strings.HasPrefix(name, typed) {
			names = append(names, name)
		}
	}
	return names
}
