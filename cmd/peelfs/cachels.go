package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/cmd/peelfs/progress"
	"github.com/peelfs/peelfs/layers"
)

func cacheLsCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the layers in the cache, least recently used first",
		Args:  takes(0, 0),
		RunE: withStore(a, func(_ context.Context, c *output.Console, _ *session, store *layers.Store, _ []string) error {
			all := []cachedRow{}
			for _, cached := range store.List() {
				all = append(all, cachedRowOf(cached))
			}
			return c.Emit(all, func(out *output.Screen) { cachedTable(out, all) })
		}),
	}
	formatFlag(a.console, cmd.Flags())
	return cmd
}

func cachedTable(out *output.Screen, all []cachedRow) {
	table := [][]string{{"DIGEST", "FORMAT", "STATE", "DATA", "INDEX", "USED", "IN USE", "PINNED"}}
	for _, c := range all {
		table = append(table, []string{output.ShortDigest(c.Digest.String()), string(c.Format), string(c.State), progress.Size(c.Data),
			progress.Size(c.Index), output.Ago(c.Used, time.Now()), yes(c.InUse), yes(c.Pinned)})
	}
	out.Table(table, 3, 4)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}
