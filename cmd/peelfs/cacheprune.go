package main

import (
	"context"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/mounttab"
	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/cmd/peelfs/progress"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers"
)

func cachePruneCommand(a *app) *cobra.Command {
	var all, data, dryRun bool
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove layers that nothing needs",
		Long: `Remove the layers that no name in "peelfs images" needs, or with --all those
that have names too. Pinned layers and those of mounts stay in any case. With --data,
drop only data and keep the indexes: what is needed again is then fetched piece by
piece.`,
		Args: takes(0, 0),
		RunE: withStore(a, func(_ context.Context, c *output.Console, s *session, store *layers.Store, _ []string) error {
			opt := layers.PruneOptions{DataOnly: data, DryRun: dryRun}
			if !data {
				keep, err := s.needed(store, a.mountList().table, all)
				if err != nil {
					return err
				}
				opt.Keep = func(d digest.Digest) bool { return keep[d] }
			}
			pruned, err := store.Prune(opt)
			if err == nil && !data {
				var freed int64
				freed, err = s.client.Prune(opt.Keep, time.Now().Add(-settled), dryRun)
				pruned.Bytes += freed
			}
			if err != nil {
				return err
			}
			if pruned.Layers == nil {
				pruned.Layers = []digest.Digest{}
			}
			row := prunedRow(pruned)
			return c.Emit(row, func(out *output.Screen) { prunedTable(out, row, dryRun) })
		}),
	}
	cmd.Flags().BoolVar(&all, "all", false, "also layers of images that have names")
	cmd.Flags().BoolVar(&data, "data", false, "drop the data of all layers, keep their indexes")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "remove nothing, tell what would go")
	formatFlag(a.console, cmd.Flags())
	return cmd
}

// settled is how old a manifest must be before it is removed: a younger one may
// belong to an image whose name is just being recorded.
const settled = time.Hour

// needed are the blobs that living mounts need, and those that names do unless
// all may go.
func (s *session) needed(store *layers.Store, table *mounttab.Table, all bool) (map[digest.Digest]bool, error) {
	keep := map[digest.Digest]bool{}
	if !all {
		if err := s.named(store, keep); err != nil {
			return nil, errkind.WithHint(err, "remove the damaged record, or give --all")
		}
	}
	entries, err := table.List()
	for _, e := range entries {
		for _, d := range e.Digests {
			keep[digest.Digest(d)] = keep[digest.Digest(d)] || e.Alive
		}
		for _, alias := range e.Aliases {
			d := store.Learned(alias)
			keep[d] = keep[d] || e.Alive
		}
	}
	return keep, err
}

// named adds what names need. Layers of old registries go by an alias until they
// were read.
func (s *session) named(store *layers.Store, keep map[digest.Digest]bool) error {
	records, err := s.tags.List()
	if err != nil {
		return err
	}
	for _, r := range records {
		for _, d := range r.Digests() {
			keep[d] = true
		}
		for _, i := range r.Images {
			for _, alias := range i.Aliases {
				keep[store.Learned(alias)] = true
			}
		}
	}
	return nil
}

func prunedTable(out *output.Screen, p prunedRow, dryRun bool) {
	verb := "removed"
	if dryRun {
		verb = "would remove"
	}
	fmt.Fprintf(out, "%s %s in %d layers\n", verb, progress.Size(p.Bytes), len(p.Layers))
	if p.InUse > 0 {
		fmt.Fprintf(out, "%d layers are in use\n", p.InUse)
	}
}
