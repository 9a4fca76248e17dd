package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/fetch"
	"github.com/peelfs/peelfs/internal/errkind"
)

func tagsCommand(a *app) *cobra.Command {
	var f sessionFlags
	cmd := &cobra.Command{
		Use:   "tags REPO",
		Short: "List the tags that a registry has",
		Example: `  peelfs tags debian
  peelfs tags --format json quay.io/podman/stable`,
		Args: takes(1, 1),
		RunE: inSession(a, &f, func(ctx context.Context, c *output.Console, s *session, args []string) error {
			ref, err := fetch.ParseReference(args[0])
			if err != nil {
				return err
			}
			tags, err := s.client.Tags(ctx, ref)
			if err != nil {
				return err
			}
			if len(tags) == 0 {
				return errkind.New(errkind.NotFound, "%s has no tags", ref.Name())
			}
			return c.Emit(tags, func(out *output.Screen) { printTags(out, tags) })
		}),
	}
	formatFlag(a.console, cmd.Flags())
	lookFlags(cmd, &f)
	cmd.ValidArgsFunction = completeRefs(a, &f)
	return cmd
}

// printTags writes one to a line, in columns on a terminal.
func printTags(out *output.Screen, tags []string) {
	if out.Terminal() {
		shown := make([]string, len(tags))
		for i, t := range tags {
			shown[i] = output.Printable(t)
		}
		out.Grid(shown, func(i int) string { return shown[i] })
		return
	}
	for _, t := range tags {
		out.WriteString(t + "\n")
	}
}
