package main

import (
	"github.com/peelfs/peelfs/cmd/peelfs/output"

	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/progress"
	"github.com/peelfs/peelfs/fetch"
)

// historyRow has the keys of `peelfs history --format json`. Layer is -1 for
// steps that made none.
type historyRow struct {
	Layer     int        `json:"layer"`
	Digest    string     `json:"digest,omitempty"`
	Size      int64      `json:"size"`
	Created   *time.Time `json:"created,omitempty"`
	CreatedBy string     `json:"createdBy"`
	Comment   string     `json:"comment,omitempty"`
}

func historyCommand(a *app) *cobra.Command {
	var f sessionFlags
	whole := false
	cmd := &cobra.Command{
		Use:   "history [flags] REF|ID",
		Short: "Print the steps that made an image, newest first",
		Example: `  peelfs history debian:bookworm
  peelfs history --no-trunc --format json myapp:2`,
		Args: takes(1, 1),
		RunE: inSession(a, &f, func(ctx context.Context, c *output.Console, s *session, args []string) error {
			st, err := s.openView(ctx, args[0])
			if err != nil {
				return err
			}
			rows := historyOf(st.image, st.status())
			return c.Emit(rows, func(out *output.Screen) { historyTable(out, rows, whole) })
		}),
	}
	cmd.Flags().BoolVar(&whole, "no-trunc", false, "whole commands")
	formatFlag(a.console, cmd.Flags())
	lookFlags(cmd, &f)
	cmd.ValidArgsFunction = completeRefs(a, &f)
	return cmd
}

// historyOf lines the history up with the layers and what is known of them,
// newest first. A history that
// does not match them is left out: the layers alone are told then.
func historyOf(img *fetch.Image, known []layerRow) []historyRow {
	rows := []historyRow{}
	layer := 0
	row := func() historyRow {
		r := historyRow{Layer: layer, Digest: known[layer].Digest.String(), Size: known[layer].Size}
		layer++
		return r
	}
	made := img.LayerHistory()
	for _, h := range img.History {
		if len(made) == 0 || made[0] == nil {
			break
		}
		r := historyRow{Layer: -1}
		if !h.EmptyLayer {
			r = row()
		}
		r.Created, r.CreatedBy, r.Comment = h.Created, h.CreatedBy, h.Comment
		rows = append(rows, r)
	}
	for layer < len(img.Layers) {
		rows = append(rows, row())
	}
	for i, j := 0, len(rows)-1; i < j; i, j = i+1, j-1 {
		rows[i], rows[j] = rows[j], rows[i]
	}
	return rows
}

func historyTable(out *output.Screen, rows []historyRow, whole bool) {
	if whole {
		out.Whole()
	}
	table := [][]string{{"LAYER", "DIGEST", "SIZE", "CREATED", "CREATED BY"}}
	for _, r := range rows {
		layer, size, created := "-", "", ""
		if r.Layer >= 0 {
			layer, size = strconv.Itoa(r.Layer), progress.Size(r.Size)
		}
		if r.Created != nil {
			created = r.Created.UTC().Format("2006-01-02 15:04")
		}
		table = append(table, []string{layer, output.ShortDigest(r.Digest), size, created, shorten(r.CreatedBy, whole)})
	}
	out.Table(table, 2)
}

// shorten makes one short line of a command.
func shorten(s string, whole bool) string {
	const width = 60
	s = strings.Join(strings.Fields(s), " ")
	if whole || len([]rune(s)) <= width {
		return s
	}
	return string([]rune(s)[:width-3]) + "..."
}
