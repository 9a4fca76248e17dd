package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/tagstore"
)

func tagCommand(a *app) *cobra.Command {
	return &cobra.Command{
		ValidArgsFunction: completeRefs(a, defaultSession()),

		Use:     "tag SRC NAME",
		Short:   "Give an image another name",
		Long:    `Give an image that is known here, by a name or an id, another name as well.`,
		Example: `  peelfs tag debian:bookworm base:good`,
		Args:    takes(2, 2),
		RunE: inSession(a, defaultSession(), func(ctx context.Context, c *output.Console, s *session, args []string) error {
			if err := s.writable(); err != nil {
				return err
			}
			m, err := s.lookup(args[0])
			if err != nil {
				return err
			}
			name, err := tagstore.NewName(args[1])
			if err != nil {
				return err
			}
			change, err := s.tags.Tag(ctx, m.Record, name)
			if err == nil && change.Was != "" {
				c.Say("%s was %s, now %s", familiar(name), change.Was, m.Record.Digest)
			}
			return err
		}),
	}
}
