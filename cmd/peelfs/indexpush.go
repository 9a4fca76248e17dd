package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/fetch"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/soci"
)

// pushFlags are those of index push.
type pushFlags struct {
	fillFlags
	tag      string // of the image with its index; "" for version 1
	spanSize string
}

func indexPushCommand(a *app) *cobra.Command {
	var f pushFlags
	cmd := &cobra.Command{
		Use:   "push [flags] REF",
		Short: "Write a SOCI index of an image to its registry",
		Long: `Read the layers of an image and write a SOCI index of them beside it, which every
peelfs and AWS's soci-snapshotter find by themselves. Without --v2 it is a v1
index: it refers to the image, which stays as it is, and nothing but the registry's
rights protects it. With --v2=TAG the image is written once more, under TAG and
with a digest of its own that covers the index: use that where it matters.

Only layers compressed by gzip and larger than 256 KiB are indexed. Prints
NAME@DIGEST of what was written.`,
		Example: `  peelfs index push registry.example/team/app:1
  peelfs index push --v2=1-soci registry.example/team/app:1`,
		Args: takes(1, 1),
		RunE: inSession(a, &f.sessionFlags, func(ctx context.Context, c *output.Console, s *session, args []string) error {
			return pushIndex(ctx, c, s, args[0], f)
		}),
	}
	cmd.Flags().StringVar(&f.tag, "v2", "", "write the image with its index under this tag")
	cmd.Flags().StringVar(&f.spanSize, "span-size", "4MiB", "how much is decoded at least for one read")
	progressFlag(cmd.Flags(), &f.progress)
	f.registryFlags.define(cmd.Flags())
	cmd.ValidArgsFunction = completeRefs(a, &f.sessionFlags)
	return cmd
}

func pushIndex(ctx context.Context, c *output.Console, s *session, arg string, f pushFlags) error {
	size, err := parseSize(f.spanSize)
	if err != nil {
		return err
	}
	n, err := s.reference(arg)
	if err != nil {
		return err
	}
	ref, err := n.origin(s.policy)
	if err != nil {
		return err
	}
	if !ref.IsRegistry() {
		return errkind.WithHint(errkind.New(errkind.Unsupported, "%s is not in a registry", ref.Familiar()),
			"an index is pushed to where the image is; take it elsewhere with: peelfs index export")
	}
	st, err := indexStackOf(ctx, s, n)
	if err != nil {
		return err
	}
	ztocs, err := makeZtocs(ctx, c, st, f.progress, soci.Options{SpanSize: size, BuildTool: "peelfs/" + version})
	if err != nil {
		return err
	}
	if len(ztocs) == 0 {
		return errkind.New(errkind.Unsupported, "no layer of %s gains from a SOCI index", ref.Familiar())
	}
	var d fetch.Descriptor
	if f.tag != "" {
		d, err = s.client.PushIndexedImage(ctx, ref, st.image, f.tag, ztocs)
	} else {
		d, err = s.client.PushIndex(ctx, ref, st.image, ztocs)
	}
	if err != nil {
		return fmt.Errorf("push to %s: %w", ref.Name(), err)
	}
	_, err = fmt.Fprintf(c.Out, "%s@%s\n", ref.Name(), d.Digest)
	return err
}

// makeZtocs makes those of the layers that can have one, base first.
func makeZtocs(ctx context.Context, c *output.Console, st *stack, bars string, opt soci.Options) ([]fetch.Ztoc, error) {
	all := make([]*fetch.Ztoc, len(st.layers))
	err := eachLayer(ctx, c, st, bars, func(ctx context.Context, i int) error {
		built, err := st.layers[i].BuildZtoc(ctx, opt)
		if errkind.Is(err, errkind.Unsupported) {
			c.Say("layer %d is left out: %s", i, err)
			return nil
		}
		if err == nil {
			all[i] = &fetch.Ztoc{Layer: st.image.Layers[i].Descriptor, Bytes: built.Ztoc, SpanSize: built.SpanSize}
		}
		return err
	})
	var made []fetch.Ztoc
	for _, z := range all {
		if z != nil {
			made = append(made, *z)
		}
	}
	return made, err
}
