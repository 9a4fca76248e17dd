package main

import (
	"context"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/progress"
	"github.com/peelfs/peelfs/internal/errkind"
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

func (a *app) imagesCommand() *cobra.Command {
	digests := false
	cmd := &cobra.Command{
		Use:   "images [flags] [REPO]",
		Short: "List the images whose names are known here",
		Args:  wrong(cobra.MaximumNArgs(1)),
		RunE: a.runE(func(_ context.Context, s *session, args []string) error {
			records, err := s.tags.List()
			if err != nil {
				a.warn("%s", err)
			}
			rows := rowsOf(records, strings.Join(args, ""))
			return a.emit(rows, func(w io.Writer) error { return imageTable(w, rows, digests) })
		}),
	}
	cmd.Flags().BoolVar(&digests, "digests", false, "whole digests instead of short ids")
	a.formatFlag(cmd.Flags())
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
	full, err := tagstore.Canonical(repo)
	if err != nil {
		return false
	}
	base, ok := strings.CutSuffix(full, ":latest")
	if !ok || strings.HasSuffix(repo, ":latest") {
		return name == full
	}
	rest, ok := strings.CutPrefix(name, base)
	return ok && (strings.HasPrefix(rest, ":") || strings.HasPrefix(rest, "@"))
}

func imageTable(w io.Writer, rows []imageRow, digests bool) error {
	table := [][]string{{"REFERENCE", "ID", "PLATFORM", "LAYERS", "SIZE", "RESOLVED"}}
	if digests {
		table[0][1] = "DIGEST"
	}
	for _, r := range rows {
		id := shortDigest(r.ID)
		if digests {
			id = r.Digest
		}
		layers, size := strconv.Itoa(r.Layers), progress.Size(r.Size)
		if r.Layers == 0 && r.Size == 0 {
			layers, size = "?", "?"
		}
		table = append(table, []string{familiar(r.Reference), id, r.Platform, layers, size, ago(r.Resolved, time.Now())})
	}
	return columnsTo(w, table)
}

// familiar is a canonical name as people type it.
func familiar(name string) string {
	short, ok := strings.CutPrefix(name, "docker.io/")
	if !ok {
		return name
	}
	if rest, ok := strings.CutPrefix(short, "library/"); ok && !strings.Contains(rest, "/") {
		return rest
	}
	return short
}

func familiarAll(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = familiar(name)
	}
	return out
}

func (a *app) tagCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "tag SRC NAME",
		Short:   "Give an image another name",
		Long:    `Give an image that is known here, by a name or an id, another name as well.`,
		Example: `  peelfs tag debian:bookworm base:good`,
		Args:    wrong(cobra.ExactArgs(2)),
		RunE: a.runE(func(ctx context.Context, s *session, args []string) error {
			m, err := s.lookup(args[0])
			if err != nil {
				return err
			}
			name, err := tagstore.CanonicalStrict(args[1])
			if err != nil {
				return err
			}
			change, err := s.tags.Tag(ctx, m.Record, name)
			if err == nil && change.Was != "" {
				a.say("%s was %s, now %s", familiar(name), change.Was, m.Record.Digest)
			}
			return err
		}),
	}
}

func (a *app) rmiCommand() *cobra.Command {
	force := false
	cmd := &cobra.Command{
		Use:   "rmi [flags] NAME|ID...",
		Short: "Forget names of images",
		Long: `Forget names of images. What they named stays in the cache until nothing needs
it and "peelfs cache prune" runs. Mounts go on.`,
		Args: wrong(cobra.MinimumNArgs(1)),
		RunE: a.runE(func(ctx context.Context, s *session, args []string) error {
			return a.eachOf(ctx, args, func(arg string) error { return s.rmi(ctx, arg, force) })
		}),
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "with an id: forget all names that it has")
	return cmd
}

// idOf is what the image of a match is called beside its names.
func idOf(m tagstore.Match) string {
	if m.Record.Digest != "" {
		return m.Record.Digest.String()
	}
	return m.Image.ID()
}

// rmi forgets a name; with an id, its only name, or all with force.
func (s *session) rmi(ctx context.Context, arg string, force bool) error {
	m, err := s.lookup(arg)
	if err != nil {
		return err
	}
	if m.ByID && len(m.Names) > 1 && !force {
		return errkind.WithHint(errkind.New(errkind.Invalid, "id %s has %d names: %s", arg, len(m.Names), strings.Join(familiarAll(m.Names), ", ")),
			"remove one by its name, or all of them with --force")
	}
	for _, name := range m.Names {
		if err := s.tags.Remove(ctx, name); err != nil {
			return err
		}
		s.app.say("forgot %s (%s)", familiar(name), idOf(m))
	}
	return nil
}
