package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/progress"
	"github.com/peelfs/peelfs/fetch"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers"
)

type inspectFlags struct{ raw, config, layers bool }

// inspected has the keys of `peelfs inspect`.
type inspected struct {
	Reference string          `json:"reference"`
	Digest    string          `json:"digest"`
	Manifest  string          `json:"manifest"`
	MediaType string          `json:"mediaType"`
	Platform  string          `json:"platform"`
	Size      int64           `json:"size"`
	Created   *time.Time      `json:"created,omitempty"`
	Config    json.RawMessage `json:"config"`
	Layers    []layers.Status `json:"layers"`
}

func (a *app) inspectCommand() *cobra.Command {
	var f inspectFlags
	cmd := &cobra.Command{
		Use:   "inspect [flags] REF|ID",
		Short: "Print what is known of an image, as JSON",
		Args:  wrong(cobra.ExactArgs(1)),
		RunE: a.runE(func(ctx context.Context, s *session, args []string) error {
			if f.raw && f.config || f.raw && f.layers || f.config && f.layers {
				return errkind.New(errkind.Invalid, "only one of --raw, --config and --layers")
			}
			img, err := s.resolve(ctx, args[0])
			if err != nil {
				return err
			}
			return s.inspect(img, f)
		}),
	}
	cmd.Flags().BoolVar(&f.raw, "raw", false, "the manifest, byte by byte")
	cmd.Flags().BoolVar(&f.config, "config", false, "the configuration, byte by byte")
	cmd.Flags().BoolVar(&f.layers, "layers", false, "a table of the layers and what is here of each")
	a.formatFlag(cmd.Flags())
	a.registryFlags(cmd.Flags())
	return cmd
}

func (s *session) inspect(img *fetch.Image, f inspectFlags) error {
	switch {
	case f.raw:
		_, err := s.app.out.Write(img.RawManifest)
		return err
	case f.config:
		_, err := s.app.out.Write(img.RawConfig)
		return err
	}
	st, err := s.stack(img)
	if err != nil {
		return err
	}
	statuses := st.status()
	if f.layers {
		return s.app.emit(statuses, func(w io.Writer) error { return layerTable(w, statuses) })
	}
	config := json.RawMessage(img.RawConfig)
	if !json.Valid(config) {
		config = json.RawMessage("null")
	}
	return writeJSON(s.app.out, inspected{
		Reference: img.Reference.String(), Digest: img.Digest.String(), Manifest: img.ManifestDigest.String(),
		MediaType: img.MediaType, Platform: fetch.FormatPlatform(img.Platform), Size: img.Size,
		Created: img.Config.Created, Config: compact(config), Layers: statuses,
	})
}

func compact(raw json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return json.RawMessage("null")
	}
	return b.Bytes()
}

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

func (a *app) historyCommand() *cobra.Command {
	whole := false
	cmd := &cobra.Command{
		Use:   "history [flags] REF|ID",
		Short: "Print the steps that made an image, newest first",
		Args:  wrong(cobra.ExactArgs(1)),
		RunE: a.runE(func(ctx context.Context, s *session, args []string) error {
			img, err := s.resolve(ctx, args[0])
			if err != nil {
				return err
			}
			rows := historyOf(img)
			return a.emit(rows, func(w io.Writer) error { return historyTable(w, rows, whole) })
		}),
	}
	cmd.Flags().BoolVar(&whole, "no-trunc", false, "whole commands")
	a.formatFlag(cmd.Flags())
	a.registryFlags(cmd.Flags())
	return cmd
}

// historyOf lines the history up with the layers, newest first. A history that
// does not match them is left out: the layers alone are told then.
func historyOf(img *fetch.Image) []historyRow {
	rows := []historyRow{}
	layer := 0
	row := func() historyRow {
		r := historyRow{Layer: layer, Digest: img.Layers[layer].Descriptor.Digest.String(), Size: img.Layers[layer].Descriptor.Size}
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

func historyTable(w io.Writer, rows []historyRow, whole bool) error {
	table := [][]string{{"LAYER", "SIZE", "CREATED", "CREATED BY"}}
	for _, r := range rows {
		layer, size, created := "-", "", ""
		if r.Layer >= 0 {
			layer, size = strconv.Itoa(r.Layer), progress.Size(r.Size)
		}
		if r.Created != nil {
			created = ago(*r.Created, time.Now())
		}
		table = append(table, []string{layer, size, created, shorten(r.CreatedBy, whole)})
	}
	return columnsTo(w, table)
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

func (a *app) tagsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tags REPO",
		Short: "List the tags that a registry has",
		Args:  wrong(cobra.ExactArgs(1)),
		RunE: a.runE(func(ctx context.Context, s *session, args []string) error {
			ref, err := fetch.ParseReference(args[0])
			if err != nil {
				return err
			}
			tags, err := s.client.Tags(ctx, ref)
			if err != nil {
				return err
			}
			if len(tags) == 0 {
				return errkind.New(errkind.NotFound, "%s has no tags", ref.Name())
			}
			return a.emit(tags, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, strings.Join(tags, "\n"))
				return err
			})
		}),
	}
	a.formatFlag(cmd.Flags())
	a.registryFlags(cmd.Flags())
	return cmd
}
