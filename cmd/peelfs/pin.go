package main

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers"
)

func (a *app) cachePinCommand() *cobra.Command {
	return a.pinning("pin", "Keep layers when the cache is pruned", `Keep the layers of images, or single layers by their digest, when the cache is
pruned. The bound of --cache-size still drops their data, never their indexes.`, (*layers.Store).Pin)
}

func (a *app) cacheUnpinCommand() *cobra.Command {
	return a.pinning("unpin", "Let pinned layers be pruned again", "Undo \"peelfs cache pin\".", (*layers.Store).Unpin)
}

func (a *app) pinning(verb, short, long string, do func(*layers.Store, digest.Digest) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:     verb + " REF|DIGEST...",
		Short:   short,
		Long:    long,
		Example: "  peelfs cache " + verb + " debian:bookworm",
		Args:    wrong(cobra.MinimumNArgs(1)),
		RunE: a.runE(func(ctx context.Context, s *session, args []string) error {
			store, err := s.layers()
			if err != nil {
				return err
			}
			return a.eachOf(ctx, args, func(arg string) error {
				all, err := s.layersOf(ctx, arg)
				if err != nil {
					return err
				}
				for _, d := range all {
					if err := do(store, d); err != nil {
						return err
					}
				}
				_, err = fmt.Fprintf(s.app.out, "%s: %d layers\n", arg, len(all))
				return err
			})
		}),
	}
	a.registryFlags(cmd.Flags())
	return cmd
}

// layersOf are the layers that an argument names: one, by its digest, or those of
// an image.
func (s *session) layersOf(ctx context.Context, arg string) ([]digest.Digest, error) {
	if d, err := digest.Parse(arg); err == nil {
		return []digest.Digest{d}, nil
	}
	st, err := s.openView(ctx, arg)
	if err != nil {
		return nil, err
	}
	var all []digest.Digest
	for i, l := range st.layers {
		d := l.Digest()
		if d == "" {
			return nil, errkind.WithHint(errkind.New(errkind.NotFound, "the digest of layer %d of %s is not known before it was read", i, arg),
				"pull the image first")
		}
		all = append(all, d)
	}
	return all, nil
}
