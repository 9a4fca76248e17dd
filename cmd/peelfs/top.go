package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/query"
)

// topReport has the keys of `peelfs top --format json`.
type topReport struct {
	Layers      []duLayer    `json:"layers"`      // top first
	Directories []duRow      `json:"directories"` // with the most bytes right in them
	Files       []entry      `json:"files"`       // the largest
	Hidden      []hiddenFile `json:"hidden"`      // the largest that no name leads to any more
}

type hiddenFile struct {
	Path       string `json:"path"`
	PathBytes  string `json:"pathBase64,omitempty"`
	Size       int64  `json:"size"`
	Layer      int    `json:"layer"`
	By         int    `json:"by"`         // the layer that hides it
	Duplicated bool   `json:"duplicated"` // that layer has it again with the same size
}

func topCommand(a *app) *cobra.Command {
	var f sessionFlags
	n := 0
	cmd := &cobra.Command{
		Use:   "top [flags] REF",
		Short: "Tell where the bytes of an image are, and which are wasted",
		Long: `Print what each layer holds, the directories and files that are the largest, and
the largest files that upper layers hide: those are stored and sent for nothing.
No content is read.`,
		Example: `  peelfs top myapp:2
  peelfs top -n 30 --format json myapp:2`,
		Args: takes(1, 1),
		RunE: inSession(a, &f, func(ctx context.Context, c *output.Console, s *session, args []string) error {
			if n < 1 || n > maxTop {
				return errkind.New(errkind.Invalid, "-n %d: use 1 to %d", n, maxTop)
			}
			st, err := s.openView(ctx, args[0])
			if err != nil {
				return err
			}
			return top(ctx, c, st, n)
		}),
	}
	cmd.Flags().IntVarP(&n, "lines", "n", 5, "how many of each")
	formatFlag(a.console, cmd.Flags())
	lookFlags(cmd, &f)
	cmd.ValidArgsFunction = completeRefs(a, &f)
	return cmd
}

const maxTop = 10_000

func top(ctx context.Context, c *output.Console, st *stack, n int) error {
	inJSON, err := c.AsJSON()
	if err != nil {
		return err
	}
	report, err := st.top(ctx, n)
	if err != nil {
		return err
	}
	out := c.Screen()
	if inJSON {
		err = out.JSON(report)
	} else {
		report.print(out)
	}
	return errors.Join(err, out.Flush())
}

func (st *stack) top(ctx context.Context, n int) (*topReport, error) {
	hidden := query.NewLargest(n, func(h query.Hidden) int64 { return h.Size })
	usage, err := query.ByLayer(ctx, st.view, func(h query.Hidden) error { hidden.Add(h); return nil })
	if err != nil {
		return nil, err
	}
	root, err := query.Find(ctx, st.view, "/", true)
	if err != nil {
		return nil, err
	}
	dirs, files, err := st.largest(ctx, root, n)
	if err != nil {
		return nil, err
	}
	r := &topReport{Layers: st.duRows(usage), Directories: []duRow{}, Files: []entry{}, Hidden: []hiddenFile{}}
	for _, t := range dirs {
		row := duRow{Type: t.Attr.Kind.String(), Bytes: t.Own.Bytes, Files: t.Own.Files, Entries: t.Own.Entries}
		row.Path, row.PathBytes = text(t.Path())
		r.Directories = append(r.Directories, row)
	}
	for _, f := range files {
		e, err := entryOf(ctx, st.view, f)
		if err != nil {
			return nil, err
		}
		r.Files = append(r.Files, e)
	}
	for _, h := range hidden.Items() {
		if h.Size == 0 {
			continue
		}
		f := hiddenFile{Size: h.Size, Layer: h.Layer, By: h.By, Duplicated: h.Again}
		f.Path, f.PathBytes = text(h.Path())
		r.Hidden = append(r.Hidden, f)
	}
	return r, nil
}

// largest are the directories with the most bytes right in them, and the files.
func (st *stack) largest(ctx context.Context, root query.Entry, n int) ([]query.Total, []query.Entry, error) {
	dirs := query.NewLargest(n, func(t query.Total) int64 { return t.Own.Bytes })
	files := query.NewLargest(n, func(e query.Entry) int64 { return e.Attr.Size })
	err := query.Usage(ctx, st.view, root, true, func(t query.Total) error {
		switch {
		case t.IsDir() && t.Own.Bytes > 0:
			dirs.Add(t)
		case t.Attr.Kind == index.File && t.Files == 1 && t.Bytes > 0:
			files.Add(t.Entry)
		}
		return nil
	})
	return dirs.Items(), files.Items(), err
}

func (r *topReport) print(out *output.Screen) {
	size := sizes(true)
	layerUsageTable(out, r.Layers, size)
	section := func(rows [][]string, right ...int) {
		if len(rows) > 1 {
			out.WriteString("\n")
			out.Table(rows, right...)
		}
	}
	rows := [][]string{{"SIZE", "FILES", "LARGEST DIRECTORIES"}}
	for _, d := range r.Directories {
		rows = append(rows, []string{size(d.Bytes), strconv.FormatInt(d.Files, 10), d.Path})
	}
	section(rows, 0, 1)
	rows = [][]string{{"SIZE", "LAYER", "LARGEST FILES"}}
	for _, f := range r.Files {
		rows = append(rows, []string{size(f.Size), strconv.Itoa(f.Layer), f.Path})
	}
	section(rows, 0, 1)
	rows = [][]string{{"SIZE", "LAYER", "HIDDEN BY", "LARGEST HIDDEN FILES"}}
	for _, h := range r.Hidden {
		by := fmt.Sprintf("layer %d", h.By)
		if h.Duplicated {
			by += ", same size again"
		}
		rows = append(rows, []string{size(h.Size), strconv.Itoa(h.Layer), by, h.Path})
	}
	section(rows, 0, 1)
}
