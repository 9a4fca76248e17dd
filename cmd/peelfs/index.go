package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/peelfs/peelfs/cmd/peelfs/progress"
	"github.com/peelfs/peelfs/fetch"
	"github.com/peelfs/peelfs/internal/atomicfile"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers"
	"github.com/peelfs/peelfs/layers/bundle"
	"github.com/peelfs/peelfs/layers/soci"
)

func (a *app) indexCommand() *cobra.Command {
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
	cmd.AddCommand(a.indexBuildCommand(), a.indexExportCommand(), a.indexImportCommand(), a.indexPushCommand())
	return cmd
}

// indexStack resolves a REF in a store that keeps indexes and no data.
func (s *session) indexStack(ctx context.Context, arg string) (*stack, error) {
	if s.store == nil {
		store, err := layers.OpenStore(s.dir, layers.Options{Size: s.limit, IndexOnly: true, Logger: s.app.log})
		if err != nil {
			return nil, err
		}
		s.store = store
	}
	return s.openView(ctx, arg)
}

// atOnce is how many layers are read at the same time.
const atOnce = 4

// eachLayer runs do for the different layers of an image and shows how far they
// are. i is the place of the layer in the image.
func (s *session) eachLayer(ctx context.Context, st *stack, do func(ctx context.Context, i int) error) error {
	display, err := s.app.display()
	if err != nil {
		return err
	}
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
				if err := do(ctx, i); err != nil {
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
			display.Show(st.moving())
		}
	}
}

func (a *app) indexBuildCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "build [flags] REF...",
		Short: "Read layers once and keep what makes them readable piece by piece",
		Long: `Read the layers of images from end to end, verify them, and keep their indexes
but not their data. Layers that are indexed already, or have a table of contents of
their own, cost little or nothing. SOCI indexes and imported ones are not taken on
trust here: such layers are read.`,
		Args: wrong(cobra.MinimumNArgs(1)),
		RunE: a.runE(func(ctx context.Context, s *session, args []string) error {
			rows := []layers.Status{}
			err := a.eachOf(ctx, args, func(arg string) error {
				st, err := s.buildIndexes(ctx, arg)
				if err == nil {
					rows = append(rows, st.status()...)
				}
				return err
			})
			if len(rows) == 0 {
				return err
			}
			return errors.Join(a.emit(rows, func(w io.Writer) error { return indexTable(w, rows) }), err)
		}),
	}
	a.progressFlag(cmd.Flags())
	a.formatFlag(cmd.Flags())
	a.registryFlags(cmd.Flags())
	a.storeFlags(cmd.Flags())
	return cmd
}

func (s *session) buildIndexes(ctx context.Context, arg string) (*stack, error) {
	st, err := s.indexStack(ctx, arg)
	if err != nil {
		return nil, err
	}
	return st, s.eachLayer(ctx, st, func(ctx context.Context, i int) error {
		_, err := st.layers[i].BuildIndex(ctx)
		return err
	})
}

func indexTable(w io.Writer, rows []layers.Status) error {
	table := [][]string{{"DIGEST", "SIZE", "FORMAT", "READ BY", "SPANS", "VERIFIED"}}
	for _, r := range rows {
		table = append(table, []string{shortDigest(r.Digest.String()), progress.Size(r.Size), r.Format, r.Mode, strconv.Itoa(r.Spans), r.Verified})
	}
	return columnsTo(w, table)
}

func (a *app) indexExportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export [flags] REF FILE|-",
		Short: "Write the indexes of an image's layers to one file",
		Long: `Write the indexes of all layers of an image to one file, for "peelfs index import"
on another machine. Layers without an index are read first. Those that have a
table of contents of their own are left out: it is found wherever they are.`,
		Args: wrong(cobra.ExactArgs(2)),
		RunE: a.runE(func(ctx context.Context, s *session, args []string) error {
			return s.exportIndexes(ctx, args[0], args[1])
		}),
	}
	a.progressFlag(cmd.Flags())
	a.registryFlags(cmd.Flags())
	a.storeFlags(cmd.Flags())
	return cmd
}

func (s *session) exportIndexes(ctx context.Context, arg, dest string) error {
	st, err := s.indexStack(ctx, arg)
	if err != nil {
		return err
	}
	all := make([][]byte, len(st.layers))
	err = s.eachLayer(ctx, st, func(ctx context.Context, i int) (err error) {
		if all[i], err = st.layers[i].ExportIndex(ctx); errkind.Is(err, errkind.Unsupported) {
			s.app.say("layer %d is left out: %s", i, err)
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	var made [][]byte
	for _, x := range all {
		if x != nil {
			made = append(made, x)
		}
	}
	if len(made) == 0 {
		return errkind.New(errkind.Unsupported, "there is nothing to export: no layer needs an index")
	}
	if dest == "-" {
		return bundle.Write(s.app.out, made)
	}
	var b bytes.Buffer
	if err := bundle.Write(&b, made); err != nil {
		return err
	}
	if err := atomicfile.Write(dest, b.Bytes(), 0o644); err != nil {
		return errkind.New(errkind.Invalid, "write the indexes: %w", err)
	}
	s.app.say("%s: %d indexes, %s", dest, len(made), progress.Size(int64(b.Len())))
	return nil
}

// imported has the keys of `peelfs index import --format json`.
type imported struct {
	Added []digest.Digest `json:"added"`
	Known []digest.Digest `json:"known"` // had an index already, which stays
}

func (a *app) indexImportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import [flags] FILE|-",
		Short: "Take indexes that another machine has exported",
		Long: `Put the indexes in FILE into the cache. What they say of the layers' files is the
word of whoever made FILE: take it only from those whose images you would run. An
index that is here stays. Until a layer is read whole ("peelfs pull", "peelfs index
build"), which proves its index or shows that it lies, "peelfs status" and "peelfs
inspect --layers" call it "imported".`,
		Args: wrong(cobra.ExactArgs(1)),
		RunE: a.storeE2(func(ctx context.Context, _ *session, store *layers.Store, args []string) error {
			return a.importIndexes(ctx, store, args[0])
		}),
	}
	a.formatFlag(cmd.Flags())
	return cmd
}

// storeE2 is storeE for bodies with arguments.
func (a *app) storeE2(body func(context.Context, *session, *layers.Store, []string) error) func(*cobra.Command, []string) error {
	return a.runE(func(ctx context.Context, s *session, args []string) error {
		store, err := s.layers()
		if err != nil {
			return err
		}
		return body(ctx, s, store, args)
	})
}

func (a *app) importIndexes(ctx context.Context, store *layers.Store, from string) error {
	in := a.in
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
	return a.emit(done, func(w io.Writer) error {
		for _, d := range done.Added {
			fmt.Fprintln(w, d)
		}
		a.say("%d indexes are new, %d were known", len(done.Added), len(done.Known))
		return nil
	})
}

// pushFlags are those of index push.
type pushFlags struct {
	tag      string // of the image with its index; "" for version 1
	spanSize string
}

func (a *app) indexPushCommand() *cobra.Command {
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
		Args: wrong(cobra.ExactArgs(1)),
		RunE: a.runE(func(ctx context.Context, s *session, args []string) error { return s.pushIndex(ctx, args[0], f) }),
	}
	cmd.Flags().StringVar(&f.tag, "v2", "", "write the image with its index under this tag")
	cmd.Flags().StringVar(&f.spanSize, "span-size", "4MiB", "how much is decoded at least for one read")
	a.progressFlag(cmd.Flags())
	a.registryFlags(cmd.Flags())
	return cmd
}

func (s *session) pushIndex(ctx context.Context, arg string, f pushFlags) error {
	size, err := parseSize(f.spanSize)
	if err != nil {
		return err
	}
	ref, err := s.reference(arg)
	if err == nil {
		ref, err = s.origin(ref, s.storeName(ref), s.policy)
	}
	if err != nil {
		return err
	}
	if ref.Transport() != "docker" {
		return errkind.WithHint(errkind.New(errkind.Unsupported, "%s is not in a registry", ref.Familiar()),
			"an index is pushed to where the image is; take it elsewhere with: peelfs index export")
	}
	st, err := s.indexStack(ctx, arg)
	if err != nil {
		return err
	}
	ztocs, err := s.ztocs(ctx, st, soci.Options{SpanSize: size, BuildTool: "peelfs/" + version})
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
	_, err = fmt.Fprintf(s.app.out, "%s@%s\n", ref.Name(), d.Digest)
	return err
}

// ztocs makes those of the layers that can have one, base first.
func (s *session) ztocs(ctx context.Context, st *stack, opt soci.Options) ([]fetch.Ztoc, error) {
	all := make([]*fetch.Ztoc, len(st.layers))
	err := s.eachLayer(ctx, st, func(ctx context.Context, i int) error {
		built, err := st.layers[i].BuildZtoc(ctx, opt)
		if errkind.Is(err, errkind.Unsupported) {
			s.app.say("layer %d is left out: %s", i, err)
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
