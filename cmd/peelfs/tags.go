package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/fetch"
	"github.com/peelfs/peelfs/internal/errkind"
)

func (a *app) tagsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tags REPO",
		Short: "List the tags that a registry has",
		Example: `  peelfs tags debian
  peelfs tags --format json quay.io/podman/stable`,
		Args: wrong(cobra.ExactArgs(1)),
		RunE: a.runE(func(ctx context.Context, s *session, args []string) error {
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
			return a.emit(tags, func(io.Writer) error { return printTags(a.screen(), tags) })
		}),
	}
	a.formatFlag(cmd.Flags())
	a.lookFlags(cmd)
	return cmd
}

// printTags writes one to a line, in columns on a terminal.
func printTags(out *screen, tags []string) error {
	if out.terminal {
		shown := make([]string, len(tags))
		for i, t := range tags {
			shown[i] = printable(t)
		}
		out.grid(shown, func(i int) string { return shown[i] })
		return out.Flush()
	}
	for _, t := range tags {
		out.WriteString(t + "\n")
	}
	return out.Flush()
}
