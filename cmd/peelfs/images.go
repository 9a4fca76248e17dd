package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/cmd/peelfs/progress"
	"github.com/peelfs/peelfs/fetch"
	"github.com/peelfs/peelfs/tagstore"
)

// imageRow has the keys of `peelfs images --format json`: one for each name and
// platform.
type imageRow struct {
	Reference string          `json:"reference"`
	Digest    string          `json:"digest"`
	Platform  string          `json:"platform"`
	ID        string          `json:"id"`
	Manifest  string          `json:"manifest"`
	Config    string          `json:"config"`
	OldID     string          `json:"oldID,omitempty"` // of images from before digests
	Size      int64           `json:"size"`
	Layers    int             `json:"layers"`
	Resolved  time.Time       `json:"resolved"`
	Source    string          `json:"source"`
	History   []tagstore.Past `json:"history"`
}

func imagesCommand(a *app) *cobra.Command {
	digests := false
	cmd := &cobra.Command{
		Use:   "images [flags] [REPO]",
		Short: "List the images whose names are known here",
		Args:  takes(0, 1),
		RunE: inSession(a, defaultSession(), func(_ context.Context, c *output.Console, s *session, args []string) error {
			records, err := s.tags.List()
			if err != nil {
				c.Warn("%s", err)
			}
			rows := rowsOf(records, strings.Join(args, ""))
			return c.Emit(rows, func(out *output.Screen) { imageTable(out, rows, digests) })
		}),
	}
	cmd.Flags().BoolVar(&digests, "digests", false, "whole digests instead of short ids")
	formatFlag(a.console, cmd.Flags())
	cmd.ValidArgsFunction = completeRefs(a, defaultSession())
	return cmd
}

// rowsOf makes rows of the records whose repository is repo, or of all.
func rowsOf(records []tagstore.Record, repo string) []imageRow {
	rows := []imageRow{}
	for _, r := range records {
		if repo != "" && !inRepository(r.Name, repo) {
			continue
		}
		for _, i := range r.Images {
			rows = append(rows, imageRow{
				Reference: r.Name, Digest: r.Digest.String(), Platform: i.Platform, ID: i.ID(),
				Manifest: i.Manifest.String(), Config: i.Config.String(), OldID: i.OldID, Size: i.Size, Layers: len(i.Layers),
				Resolved: r.Resolved, Source: r.Source, History: append([]tagstore.Past{}, r.History...),
			})
		}
	}
	return rows
}

// inRepository compares repositories, or whole names if repo has a tag.
func inRepository(name, repo string) bool {
	ref, err := fetch.ParseReference(repo)
	if err != nil {
		return false
	}
	full := ref.String()
	base, ok := strings.CutSuffix(full, ":latest")
	if !ok || strings.HasSuffix(repo, ":latest") {
		return name == full
	}
	rest, ok := strings.CutPrefix(name, base)
	return ok && (strings.HasPrefix(rest, ":") || strings.HasPrefix(rest, "@"))
}

func imageTable(out *output.Screen, rows []imageRow, digests bool) {
	table := [][]string{{"REFERENCE", "ID", "PLATFORM", "LAYERS", "SIZE", "RESOLVED"}}
	if digests {
		out.Whole()
		table[0][1] = "DIGEST"
	}
	for _, r := range rows {
		id := output.ShortDigest(r.ID)
		if digests {
			id = r.Digest
		}
		layers, size := strconv.Itoa(r.Layers), progress.Size(r.Size)
		if r.Layers == 0 && r.Size == 0 {
			layers, size = "?", "?"
		}
		table = append(table, []string{familiar(r.Reference), id, r.Platform, layers, size, output.Ago(r.Resolved, time.Now())})
	}
	out.Table(table)
}
