package main

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/cmd/peelfs/progress"
	"github.com/peelfs/peelfs/layers"
)

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

func cacheDuCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "du",
		Short: "Print how much space the cache takes",
		Args:  takes(0, 0),
		RunE: withStore(a, func(_ context.Context, c *output.Console, s *session, store *layers.Store, _ []string) error {
			u := usage{Directory: s.dir, Total: diskUsage(s.dir)}
			for _, c := range store.List() {
				u.Layers, u.Data, u.Indexes = u.Layers+1, u.Data+c.Data, u.Indexes+c.Index
			}
			u.Other = max(0, u.Total-u.Data-u.Indexes)
			return c.Emit(u, func(out *output.Screen) {
				out.Table([][]string{
					{progress.Size(u.Data), fmt.Sprintf("data of %d layers", u.Layers)}, {progress.Size(u.Indexes), "indexes"},
					{progress.Size(u.Other), "manifests, names and the rest"}, {progress.Size(u.Total), u.Directory},
				})
			})
		}),
	}
	formatFlag(a.console, cmd.Flags())
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
