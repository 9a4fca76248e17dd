package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/internal/errkind"
)

func importTagsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "import-tags FILE",
		Short: "Read the names in docker's repositories file",
		Long: `Read the names in a repositories-DRIVER file of docker (repositories.json since
1.10), as in /var/lib/docker. Names that have a digest here already stay.`,
		Example: `  peelfs import-tags /var/lib/docker/repositories-aufs`,
		Args:    takes(1, 1),
		RunE: inSession(a, defaultSession(), func(ctx context.Context, c *output.Console, s *session, args []string) error {
			f, err := os.Open(args[0])
			if err != nil {
				return errkind.Wrap(errkind.NotFound, err)
			}
			defer f.Close()
			if err := s.writable(); err != nil {
				return err
			}
			out, err := s.tags.Import(ctx, f, "import:"+args[0])
			for _, why := range out.Rejected {
				c.Warn("left out %s", why)
			}
			for _, name := range out.Added {
				fmt.Fprintln(c.Out, name)
			}
			if n := len(out.Known); n > 0 {
				c.Say("%d names were known already", n)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			return nil
		}),
	}
}
