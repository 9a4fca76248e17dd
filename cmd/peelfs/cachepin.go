package main

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers"
)

func cachePinCommand(a *app) *cobra.Command {
	return pinning(a, "pin", "Keep layers when the cache is pruned", `Keep the layers of images, or single layers by their digest, when the cache is
pruned. The bound of --cache-size still drops their data, never their indexes.`, (*layers.Store).Pin)
}

// pinning is the command that does one thing to all layers that are named.
func pinning(a *app, verb, short, long string, do func(*layers.Store, digest.Digest) error) *cobra.Command {
	var f sessionFlags
	cmd := &cobra.Command{
		Use:     verb + " REF|DIGEST...",
		Short:   short,
		Long:    long,
		Example: "  peelfs cache " + verb + " debian:bookworm",
		Args:    takes(1, -1),
		RunE: inSession(a, &f, func(ctx context.Context, c *output.Console, s *session, args []string) error {
			store, err := s.layers()
			if err != nil {
				return err
			}
			return eachOf(ctx, c, args, func(arg string) error {
				all, err := layersOf(ctx, s, arg)
				if err != nil {
					return err
				}
				for _, d := range all {
					if err := do(store, d); err != nil {
						return err
					}
				}
				_, err = fmt.Fprintf(c.Out, "%s: %d layers\n", arg, len(all))
				return err
			})
		}),
	}
	f.registryFlags.define(cmd.Flags())
	cmd.ValidArgsFunction = completeRefs(a, &f)
	return cmd
}

// layersOf are the layers that an argument names: one, by its digest, or those of
// an image.
func layersOf(ctx context.Context, s *session, arg string) ([]digest.Digest, error) {
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
