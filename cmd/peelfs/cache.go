package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/progress"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers"
)

func (a *app) cacheCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache COMMAND",
		Short: "Look after what was fetched",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
	}
	cmd.AddCommand(a.cacheLsCommand(), a.cacheDuCommand(), a.cachePruneCommand(), a.cacheVerifyCommand(), a.cachePinCommand(), a.cacheUnpinCommand())
	return cmd
}

// storeE is a command's body that needs the layer store.
func (a *app) storeE(body func(context.Context, *session, *layers.Store) error) func(*cobra.Command, []string) error {
	return a.runE(func(ctx context.Context, s *session, _ []string) error {
		store, err := s.layers()
		if err != nil {
			return err
		}
		return body(ctx, s, store)
	})
}

func (a *app) cacheLsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the layers in the cache, least recently used first",
		Args:  wrong(cobra.NoArgs),
		RunE: a.storeE(func(_ context.Context, _ *session, store *layers.Store) error {
			all := append([]layers.Cached{}, store.List()...)
			return a.emit(all, func(w io.Writer) error { return cachedTable(w, all) })
		}),
	}
	a.formatFlag(cmd.Flags())
	return cmd
}

func cachedTable(w io.Writer, all []layers.Cached) error {
	table := [][]string{{"DIGEST", "FORMAT", "STATE", "DATA", "INDEX", "USED", "IN USE", "PINNED"}}
	for _, c := range all {
		table = append(table, []string{shortDigest(c.Digest.String()), c.Format, string(c.State), progress.Size(c.Data),
			progress.Size(c.Index), ago(c.Used, time.Now()), yes(c.InUse), yes(c.Pinned)})
	}
	return columnsTo(w, table)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

// usage has the keys of `peelfs cache du --format json`; all sizes in bytes on
// the disk.
type usage struct {
	Directory string `json:"directory"`
	Layers    int    `json:"layers"`
	Data      int64  `json:"data"`
	Indexes   int64  `json:"indexes"`
	Other     int64  `json:"other"` // manifests, configurations, names
	Total     int64  `json:"total"`
}

func (a *app) cacheDuCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "du",
		Short: "Print how much space the cache takes",
		Args:  wrong(cobra.NoArgs),
		RunE: a.storeE(func(_ context.Context, s *session, store *layers.Store) error {
			u := usage{Directory: s.dir, Total: diskUsage(s.dir)}
			for _, c := range store.List() {
				u.Layers, u.Data, u.Indexes = u.Layers+1, u.Data+c.Data, u.Indexes+c.Index
			}
			u.Other = max(0, u.Total-u.Data-u.Indexes)
			return a.emit(u, func(w io.Writer) error {
				return columnsTo(w, [][]string{
					{progress.Size(u.Data), fmt.Sprintf("data of %d layers", u.Layers)}, {progress.Size(u.Indexes), "indexes"},
					{progress.Size(u.Other), "manifests, names and the rest"}, {progress.Size(u.Total), u.Directory},
				})
			})
		}),
	}
	a.formatFlag(cmd.Flags())
	return cmd
}

// diskUsage is what the files in dir take on the disk: they have holes.
func diskUsage(dir string) (total int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // it went away meanwhile
		}
		if info, err := d.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok && d.Type().IsRegular() {
				total += st.Blocks * 512
			}
		}
		return nil
	})
	return total
}

func (a *app) cachePruneCommand() *cobra.Command {
	var all, data, dryRun bool
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove layers that nothing needs",
		Long: `Remove the layers that no name in "peelfs images" needs, or with --all those
that have names too. Pinned layers and those of mounts stay in any case. With --data,
drop only data and keep the indexes: what is needed again is then fetched piece by
piece.`,
		Args: wrong(cobra.NoArgs),
		RunE: a.storeE(func(_ context.Context, s *session, store *layers.Store) error {
			opt := layers.PruneOptions{DataOnly: data, DryRun: dryRun}
			if !data {
				keep, err := s.needed(store, all)
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
			return a.emit(pruned, func(w io.Writer) error { return prunedTable(w, pruned, dryRun) })
		}),
	}
	cmd.Flags().BoolVar(&all, "all", false, "also layers of images that have names")
	cmd.Flags().BoolVar(&data, "data", false, "drop the data of all layers, keep their indexes")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "remove nothing, tell what would go")
	a.formatFlag(cmd.Flags())
	return cmd
}

// settled is how old a manifest must be before it is removed: a younger one may
// belong to an image whose name is just being recorded.
const settled = time.Hour

// needed are the blobs that living mounts need, and those that names do unless
// all may go.
func (s *session) needed(store *layers.Store, all bool) (map[digest.Digest]bool, error) {
	keep := map[digest.Digest]bool{}
	if !all {
		if err := s.named(store, keep); err != nil {
			return nil, errkind.WithHint(err, "remove the damaged record, or give --all")
		}
	}
	table, err := s.app.mounts()
	if err != nil {
		return nil, err
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

func prunedTable(w io.Writer, p layers.Pruned, dryRun bool) error {
	verb := "removed"
	if dryRun {
		verb = "would remove"
	}
	_, err := fmt.Fprintf(w, "%s %s in %d layers\n", verb, progress.Size(p.Bytes), len(p.Layers))
	if p.InUse > 0 && err == nil {
		_, err = fmt.Fprintf(w, "%d layers are in use\n", p.InUse)
	}
	return err
}

// verified has the keys of `peelfs cache verify --format json`.
type verified struct {
	Bytes    int64            `json:"bytes"`   // read and found right
	Unknown  int              `json:"unknown"` // spans without a checksum, dropped
	Problems []layers.Problem `json:"problems"`
}

func (a *app) cacheVerifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Read everything in the cache again and check it",
		Long: `Read everything in the cache again and compare it with its digests. What is
wrong is dropped, so that it is fetched anew when it is needed; the exit code is 13 then.`,
		Args: wrong(cobra.NoArgs),
		RunE: a.storeE(func(ctx context.Context, _ *session, store *layers.Store) error {
			v := verified{Problems: []layers.Problem{}}
			found, err := store.Verify(ctx, func(p layers.Problem) { v.Problems = append(v.Problems, p) })
			v.Bytes, v.Unknown = found.Bytes, found.Unknown
			if err != nil {
				return err
			}
			if err := a.emit(v, func(w io.Writer) error { return verifiedTable(w, v) }); err != nil {
				return err
			}
			if n := len(v.Problems); n > 0 {
				return errkind.New(errkind.Corrupt, "%s layers were damaged; the damage is removed", strconv.Itoa(n))
			}
			return nil
		}),
	}
	a.formatFlag(cmd.Flags())
	return cmd
}

func verifiedTable(w io.Writer, v verified) error {
	for _, p := range v.Problems {
		fmt.Fprintf(w, "%s: %s\n", p.Digest, p.Detail)
	}
	if v.Unknown > 0 {
		fmt.Fprintf(w, "%d spans have no checksum, from an earlier version or a crash; they are dropped and fetched again\n", v.Unknown)
	}
	_, err := fmt.Fprintf(w, "%s verified\n", progress.Size(v.Bytes))
	return err
}
