package main

import (
	"github.com/peelfs/peelfs/cmd/peelfs/output"

	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/layers/query"
)

type duFlags struct {
	sessionFlags
	all, human, total, layers, null bool
	depth                           int
}

func duCommand(a *app) *cobra.Command {
	var f duFlags
	cmd := &cobra.Command{
		Use:   "du [flags] REF[:PATH]",
		Short: "Add up the sizes of files by directory or by layer",
		Long: `Add up what files hold, as long as they say they are, without reading any. A
file with several names counts once, where it comes first.`,
		Example: `  peelfs du -h -d 2 debian:bookworm:/usr
  peelfs du -h --layers myapp:2     with what upper layers hide`,
		Args: orHelp(takes(1, 1)),
		RunE: inSession(a, &f.sessionFlags, func(ctx context.Context, c *output.Console, s *session, args []string) error {
			if f.total {
				f.depth = 0
			}
			return du(ctx, c, s, args[0], f)
		}),
	}
	cmd.Flags().IntVarP(&f.depth, "max-depth", "d", 1, "show directories down to this depth; -1 for all")
	cmd.Flags().BoolVarP(&f.all, "all", "a", false, "files too")
	cmd.Flags().BoolVarP(&f.total, "summarize", "s", false, "the sum only")
	cmd.Flags().BoolVarP(&f.human, "human-readable", "h", false, "sizes as 1.2 kB")
	cmd.Flags().BoolVar(&f.layers, "layers", false, "by layer")
	cmd.Flags().BoolVarP(&f.null, "null", "0", false, "lines end with a NUL, and names are exact")
	formatFlag(a.console, cmd.Flags())
	lookFlags(cmd, &f.sessionFlags)
	cmd.ValidArgsFunction = completeRefs(a, &f.sessionFlags)
	return cmd
}

// duRow has the keys of `peelfs du --format json`.
type duRow struct {
	Path      string `json:"path"`
	PathBytes string `json:"pathBase64,omitempty"`
	Type      string `json:"type"`
	Bytes     int64  `json:"bytes"`
	Files     int64  `json:"files"`
	Entries   int64  `json:"entries"`
}

func du(ctx context.Context, c *output.Console, s *session, arg string, f duFlags) error {
	inJSON, err := c.AsJSON()
	if err != nil {
		return err
	}
	st, from, err := newLooker(s).at(ctx, arg, true)
	if err != nil {
		return err
	}
	out := c.Screen()
	if f.layers {
		return errors.Join(duLayers(ctx, st, out, f, inJSON), out.Flush())
	}
	if f.null {
		out.Exact()
	}
	list := out.List()
	err = query.Usage(ctx, st.view, from, f.all, func(t query.Total) error {
		if f.depth >= 0 && t.Depth > f.depth {
			return nil
		}
		if inJSON {
			row := duRow{Type: t.Attr.Kind.String(), Bytes: t.Bytes, Files: t.Files, Entries: t.Entries}
			row.Path, row.PathBytes = text(t.Path())
			return list.Add(row)
		}
		return f.line(out, t)
	})
	if inJSON && err == nil {
		err = list.Close()
	}
	return errors.Join(err, out.Flush())
}

func (f duFlags) line(out *output.Screen, t query.Total) error {
	end := "\n"
	if f.null {
		end = "\x00"
	}
	_, err := fmt.Fprintf(out, "%10s  %s%s", sizes(f.human)(t.Bytes), paint(out, t.Entry, out.Name(t.Path())), end)
	return err
}

// duLayer has the keys of `peelfs du --layers --format json`.
type duLayer struct {
	Layer      int    `json:"layer"`
	Digest     string `json:"digest,omitempty"`
	Size       int64  `json:"size"`       // of the blob
	Files      int64  `json:"files"`      // with content in the layer
	Bytes      int64  `json:"bytes"`      // of them
	Hidden     int64  `json:"hidden"`     // bytes of those that upper layers hide
	Duplicated int64  `json:"duplicated"` // of them, what an upper layer has again with the same size
	CreatedBy  string `json:"createdBy,omitempty"`
}

func duLayers(ctx context.Context, st *stack, out *output.Screen, f duFlags, inJSON bool) error {
	usage, err := query.ByLayer(ctx, st.view, nil)
	if err != nil {
		return err
	}
	rows := st.duRows(usage)
	if inJSON {
		return out.JSON(rows)
	}
	layerUsageTable(out, rows, sizes(f.human))
	return nil
}

// duRows are top first, as layers lie.
func (st *stack) duRows(usage []query.LayerUsage) []duLayer {
	rows := make([]duLayer, 0, len(usage))
	for i := len(usage) - 1; i >= 0; i-- {
		u := usage[i]
		rows = append(rows, duLayer{
			Layer: i, Digest: st.layerDigest(i), Size: st.layers[i].Status().Size, Files: u.Stored.Files, Bytes: u.Stored.Bytes,
			Hidden: u.Hidden.Bytes, Duplicated: u.Again.Bytes, CreatedBy: st.createdBy(i),
		})
	}
	return rows
}

func layerUsageTable(out *output.Screen, rows []duLayer, size func(int64) string) {
	table := [][]string{{"LAYER", "BLOB", "FILES", "BYTES", "HIDDEN", "DUPLICATED", "CREATED BY"}}
	var all duLayer
	cells := func(name string, r duLayer) []string {
		return []string{name, size(r.Size), strconv.FormatInt(r.Files, 10), size(r.Bytes), size(r.Hidden), size(r.Duplicated), shorten(r.CreatedBy, false)}
	}
	for _, r := range rows {
		table = append(table, cells(strconv.Itoa(r.Layer), r))
		all.Size += max(0, r.Size)
		all.Files += r.Files
		all.Bytes += r.Bytes
		all.Hidden += r.Hidden
		all.Duplicated += r.Duplicated
	}
	out.Table(append(table, cells("all", all)), 1, 2, 3, 4, 5)
}
