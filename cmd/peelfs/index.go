package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/internal/mapfault"
	"github.com/peelfs/peelfs/layers"
)

func indexCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "index COMMAND",
		Short: "Make the layer indexes that let any image be read piece by piece",
		Long: `An index says what is in a layer and where its compressed bytes can be entered.
Most images come without one, so that the first use of a layer reads all of it.
These commands make indexes once and bring them to where they are needed.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
	}
	cmd.AddCommand(indexBuildCommand(a), indexExportCommand(a), indexImportCommand(a), indexPushCommand(a))
	return cmd
}

// indexStack resolves a REF in a store that keeps indexes and no data.
func indexStack(ctx context.Context, s *session, arg string) (*stack, error) {
	n, err := s.reference(arg)
	if err != nil {
		return nil, err
	}
	return indexStackOf(ctx, s, n)
}

// indexStackOf is indexStack for a REF that has been looked up.
func indexStackOf(ctx context.Context, s *session, n named) (*stack, error) {
	if s.store == nil {
		store, err := layers.OpenStore(s.dir, layers.Options{Size: s.limit, IndexOnly: true, Logger: s.log})
		if err != nil {
			return nil, err
		}
		s.store = store
	}
	img, err := s.resolveNamed(ctx, n)
	if err != nil {
		return nil, err
	}
	return s.stack(img)
}

// atOnce is how many layers are read at the same time.
const atOnce = 4

// eachLayer runs do for the different layers of an image and shows how far they
// are, in the mode that bars names. i is the place of the layer in the image.
func eachLayer(ctx context.Context, c *output.Console, st *stack, bars string, do func(ctx context.Context, i int) error) error {
	shown, err := newBars(c, bars)
	if err != nil {
		return err
	}
	defer shown.end()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	done := make(chan error, 1)
	go func() {
		seen := map[*layers.Layer]bool{}
		for i, l := range st.layers {
			if seen[l] {
				continue
			}
			seen[l] = true
			g.Go(func() error {
				if err := mapfault.Catch(func() error { return do(ctx, i) }); err != nil {
					return fmt.Errorf("layer %d: %w", i, err)
				}
				return nil
			})
		}
		done <- g.Wait()
	}()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			shown.show(st.moving())
		}
	}
}
