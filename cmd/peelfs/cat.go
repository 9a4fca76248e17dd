package main

import (
	"github.com/peelfs/peelfs/cmd/peelfs/output"

	"context"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/layers/query"
	"github.com/peelfs/peelfs/layers/unpack"
)

func catCommand(a *app) *cobra.Command {
	var f sessionFlags
	cmd := &cobra.Command{
		Use:   "cat [flags] REF:PATH...",
		Short: "Print files of an image",
		Long: `Print files of an image without a mount. Only the layers are fetched that must
be looked at to find them. Symbolic links are followed inside the image.`,
		Example: `  peelfs cat debian:bookworm:/etc/os-release
  peelfs cat debian:11:/etc/debian_version debian:12:/etc/debian_version`,
		Args: takes(1, -1),
		RunE: inSession(a, &f, func(ctx context.Context, c *output.Console, s *session, args []string) error {
			look := newLooker(s)
			return eachOf(ctx, c, args, func(arg string) error { return cat(ctx, c, look, arg) })
		}),
	}
	lookFlags(cmd, &f)
	cmd.ValidArgsFunction = completeRefs(a, &f)
	return cmd
}

func cat(ctx context.Context, c *output.Console, look *looker, arg string) error {
	ref, path, err := refAndPath(arg)
	if err != nil {
		return err
	}
	st, e, err := look.at(ctx, arg, true)
	if err != nil {
		return err
	}
	e = query.At(path, e.Attr) // as it was named
	if err := needFile(ref, e); err != nil {
		return err
	}
	return unpack.Cat(ctx, c.Out, st.view, e.Attr)
}
