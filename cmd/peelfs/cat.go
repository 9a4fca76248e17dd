package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/layers/unpack"
)

func (a *app) catCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cat [flags] REF:PATH...",
		Short: "Print files of an image",
		Long: `Print files of an image without a mount. Only the layers are fetched that must
be looked at to find them. Symbolic links are followed inside the image.`,
		Example: `  peelfs cat debian:bookworm:/etc/os-release
  peelfs cat debian:11:/etc/debian_version debian:12:/etc/debian_version`,
		Args: wrong(cobra.MinimumNArgs(1)),
		RunE: a.runE(func(ctx context.Context, s *session, args []string) error {
			look := s.looker()
			return a.eachOf(ctx, args, func(arg string) error { return s.cat(ctx, look, arg) })
		}),
	}
	a.lookFlags(cmd)
	return cmd
}

func (s *session) cat(ctx context.Context, look *looker, arg string) error {
	ref, path, err := refAndPath(arg)
	if err != nil {
		return err
	}
	st, e, err := look.at(ctx, arg, true)
	if err != nil {
		return err
	}
	e.Path = path // as it was named
	if err := needFile(ref, e); err != nil {
		return err
	}
	return unpack.Cat(ctx, s.app.out, st.view, e.Attr)
}
