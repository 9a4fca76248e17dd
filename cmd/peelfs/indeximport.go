package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers"
	"github.com/peelfs/peelfs/layers/bundle"
)

// imported has the keys of `peelfs index import --format json`.
type imported struct {
	Added []digest.Digest `json:"added"`
	Known []digest.Digest `json:"known"` // had an index already, which stays
}

func indexImportCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import [flags] FILE|-",
		Short: "Take indexes that another machine has exported",
		Long: `Put the indexes in FILE into the cache. What they say of the layers' files is the
word of whoever made FILE: take it only from those whose images you would run. An
index that is here stays. Until a layer is read whole ("peelfs pull", "peelfs index
build"), which proves its index or shows that it lies, "peelfs status" and "peelfs
inspect --layers" call it "imported".`,
		Args: takes(1, 1),
		RunE: withStore(a, func(ctx context.Context, c *output.Console, _ *session, store *layers.Store, args []string) error {
			return importIndexes(ctx, c, store, args[0], a.in)
		}),
	}
	formatFlag(a.console, cmd.Flags())
	return cmd
}

func importIndexes(ctx context.Context, c *output.Console, store *layers.Store, from string, in io.Reader) error {
	if from != "-" {
		f, err := os.Open(from)
		if errors.Is(err, fs.ErrNotExist) {
			return errkind.New(errkind.NotFound, "there is no file %s", from)
		}
		if err != nil {
			return errkind.Wrap(errkind.Invalid, err)
		}
		defer f.Close()
		in = f
	}
	done := imported{Added: []digest.Digest{}, Known: []digest.Digest{}}
	err := bundle.Read(in, func(data []byte) error {
		d, added, err := store.ImportIndex(ctx, data)
		switch {
		case err != nil:
			return err
		case added:
			done.Added = append(done.Added, d)
		default:
			done.Known = append(done.Known, d)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	return c.Emit(done, func(out *output.Screen) {
		for _, d := range done.Added {
			fmt.Fprintln(out, d)
		}
		c.Say("%d indexes are new, %d were known", len(done.Added), len(done.Known))
	})
}
