package main

import (
	"context"
	"errors"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/cmd/peelfs/progress"
)

func indexBuildCommand(a *app) *cobra.Command {
	var f fillFlags
	cmd := &cobra.Command{
		Use:   "build [flags] REF...",
		Short: "Read layers once and keep what makes them readable piece by piece",
		Long: `Read the layers of images from end to end, verify them, and keep their indexes
but not their data. Layers that are indexed already, or have a table of contents of
their own, cost little or nothing. SOCI indexes and imported ones are not taken on
trust here: such layers are read.`,
		Args: takes(1, -1),
		RunE: inSession(a, &f.sessionFlags, func(ctx context.Context, c *output.Console, s *session, args []string) error {
			rows := []layerRow{}
			err := eachOf(ctx, c, args, func(arg string) error {
				st, err := buildIndexes(ctx, c, s, arg, f.progress)
				if err == nil {
					rows = append(rows, st.status()...)
				}
				return err
			})
			if len(rows) == 0 {
				return err
			}
			return errors.Join(c.Emit(rows, func(out *output.Screen) { indexTable(out, rows) }), err)
		}),
	}
	progressFlag(cmd.Flags(), &f.progress)
	formatFlag(a.console, cmd.Flags())
	f.sessionFlags.define(cmd.Flags())
	cmd.ValidArgsFunction = completeRefs(a, &f.sessionFlags)
	return cmd
}

func buildIndexes(ctx context.Context, c *output.Console, s *session, arg, bars string) (*stack, error) {
	st, err := indexStack(ctx, s, arg)
	if err != nil {
		return nil, err
	}
	if err := s.writable(); err != nil {
		return nil, err
	}
	return st, eachLayer(ctx, c, st, bars, func(ctx context.Context, i int) error {
		_, err := st.layers[i].BuildIndex(ctx)
		return err
	})
}

func indexTable(out *output.Screen, rows []layerRow) {
	table := [][]string{{"DIGEST", "SIZE", "FORMAT", "READ BY", "SPANS", "VERIFIED"}}
	for _, r := range rows {
		table = append(table, []string{output.ShortDigest(r.Digest.String()), progress.Size(r.Size), string(r.Format), string(r.Mode), strconv.Itoa(r.Spans), string(r.Proof)})
	}
	out.Table(table)
}
