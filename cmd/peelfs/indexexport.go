package main

import (
	"bytes"
	"context"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/cmd/peelfs/progress"
	"github.com/peelfs/peelfs/internal/atomicfile"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/bundle"
)

func indexExportCommand(a *app) *cobra.Command {
	var f fillFlags
	cmd := &cobra.Command{
		Use:   "export [flags] REF FILE|-",
		Short: "Write the indexes of an image's layers to one file",
		Long: `Write the indexes of all layers of an image to one file, for "peelfs index import"
on another machine. Layers without an index are read first. Those that have a
table of contents of their own are left out: it is found wherever they are.`,
		Args: takes(2, 2),
		RunE: inSession(a, &f.sessionFlags, func(ctx context.Context, c *output.Console, s *session, args []string) error {
			return exportIndexes(ctx, c, s, args[0], args[1], f.progress)
		}),
	}
	progressFlag(cmd.Flags(), &f.progress)
	f.sessionFlags.define(cmd.Flags())
	cmd.ValidArgsFunction = completeRefs(a, &f.sessionFlags)
	return cmd
}

func exportIndexes(ctx context.Context, c *output.Console, s *session, arg, dest, bars string) error {
	st, err := indexStack(ctx, s, arg)
	if err != nil {
		return err
	}
	all := make([][]byte, len(st.layers))
	err = eachLayer(ctx, c, st, bars, func(ctx context.Context, i int) (err error) {
		if all[i], err = st.layers[i].ExportIndex(ctx); errkind.Is(err, errkind.Unsupported) {
			c.Say("layer %d is left out: %s", i, err)
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	var made [][]byte
	for _, x := range all {
		if x != nil {
			made = append(made, x)
		}
	}
	if len(made) == 0 {
		return errkind.New(errkind.Unsupported, "there is nothing to export: no layer needs an index")
	}
	if dest == "-" {
		return bundle.Write(c.Out, made)
	}
	var b bytes.Buffer
	if err := bundle.Write(&b, made); err != nil {
		return err
	}
	if err := atomicfile.Write(dest, b.Bytes(), 0o644); err != nil {
		return errkind.New(errkind.Invalid, "write the indexes: %w", err)
	}
	c.Say("%s: %d indexes, %s", dest, len(made), progress.Size(int64(b.Len())))
	return nil
}
