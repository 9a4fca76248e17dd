package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/tagstore"
)

func rmiCommand(a *app) *cobra.Command {
	force := false
	cmd := &cobra.Command{
		Use:   "rmi [flags] NAME|ID...",
		Short: "Forget names of images",
		Long: `Forget names of images. What they named stays in the cache until nothing needs
it and "peelfs cache prune" runs. Mounts go on.`,
		Args: takes(1, -1),
		RunE: inSession(a, defaultSession(), func(ctx context.Context, c *output.Console, s *session, args []string) error {
			if err := s.writable(); err != nil {
				return err
			}
			return eachOf(ctx, c, args, func(arg string) error { return rmi(ctx, c, s, arg, force) })
		}),
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "with an id: forget all names that it has")
	cmd.ValidArgsFunction = completeRefs(a, defaultSession())
	return cmd
}

// idOf is what the image of a match is called beside its names.
func idOf(m tagstore.Match) string {
	if m.Record.Digest != "" {
		return m.Record.Digest.String()
	}
	return m.Image.ID()
}

// rmi forgets a name; with an id, its only name, or all with force.
func rmi(ctx context.Context, c *output.Console, s *session, arg string, force bool) error {
	m, err := s.lookup(arg)
	if err != nil {
		return err
	}
	if m.ByID && len(m.Names) > 1 && !force {
		return errkind.WithHint(errkind.New(errkind.Invalid, "id %s has %d names: %s", arg, len(m.Names), strings.Join(familiarAll(m.Names), ", ")),
			"remove one by its name, or all of them with --force")
	}
	for _, name := range m.Names {
		if err := s.tags.Remove(ctx, name); err != nil {
			return err
		}
		c.Say("forgot %s (%s)", familiar(name), idOf(m))
	}
	return nil
}

func familiarAll(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = familiar(name)
	}
	return out
}
