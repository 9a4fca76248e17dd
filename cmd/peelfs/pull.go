package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/peelfs/peelfs/cmd/peelfs/progress"
	"github.com/peelfs/peelfs/fetch"
	"github.com/peelfs/peelfs/layers"
)

func (a *app) pullCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pull [flags] REF...",
		Short: "Fetch now what would be fetched when needed",
		Long: `Fetch whole images into the cache, so that mounts of them need no network.
Prints NAME@DIGEST of each. One pull of a name runs at a time: a second one waits
for the first, in whatever process, and ends as that does.`,
		Args: wrong(cobra.MinimumNArgs(1)),
		RunE: a.runE(func(ctx context.Context, s *session, args []string) error {
			return a.eachOf(ctx, args, func(arg string) error { return s.pull(ctx, arg) })
		}),
	}
	a.progressFlag(cmd.Flags())
	a.registryFlags(cmd.Flags())
	a.storeFlags(cmd.Flags())
	return cmd
}

func (s *session) pull(ctx context.Context, arg string) error {
	ref, err := s.reference(arg)
	if err != nil {
		return err
	}
	result := ""
	waiting := func() { s.app.say("%s is being pulled by another process: waiting for it", ref.Familiar()) }
	shared, err := s.tags.Once(ctx, storeName(ref)+" "+fetch.FormatPlatform(s.platform), waiting, func() error {
		img, err := s.resolve(ctx, arg)
		if err != nil {
			return err
		}
		result = ref.Name() + "@" + img.Digest.String()
		return s.fill(ctx, img)
	})
	if err != nil {
		return err
	}
	if shared { // what the other process recorded
		r, err := s.tags.Get(storeName(ref))
		if err != nil {
			return err
		}
		result = ref.Name() + "@" + r.Digest.String()
	}
	_, err = fmt.Fprintln(s.app.out, result)
	return err
}

// fill brings all layers of an image into the cache and shows how far it is.
func (s *session) fill(ctx context.Context, img *fetch.Image) error {
	st, err := s.stack(img)
	if err != nil {
		return err
	}
	display, err := s.app.display()
	if err != nil {
		return err
	}
	filled := make(chan error, 1)
	go func() { filled <- st.fill(ctx) }()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-filled:
			display.Show(st.tasks(true))
			return err
		case <-tick.C:
			display.Show(st.tasks(false))
		}
	}
}

// fill fetches the layers, all at once: the store shares out the network.
func (st *stack) fill(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for i := len(st.layers) - 1; i >= 0; i-- {
		g.Go(func() error {
			if err := st.layers[i].Fill(ctx); err != nil {
				return fmt.Errorf("layer %d: %w", i, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// tasks are the layers as the progress display shows them.
func (st *stack) tasks(ended bool) []progress.Task {
	all := st.status()
	tasks := make([]progress.Task, len(all))
	for i, l := range all {
		name := shortDigest(l.Digest.String())
		if name == "" {
			name = fmt.Sprintf("layer %d", i)
		}
		tasks[i] = progress.Task{Label: name, State: stateWord(l, ended), Done: l.Fetched, Total: l.Size}
		tasks[i].Busy = !ended && l.Fetched > 0 && l.State != layers.Complete
	}
	return tasks
}

// moving are the layers that somebody waits for, or that come in.
func (st *stack) moving() (tasks []progress.Task) {
	all := st.status()
	for i, t := range st.tasks(false) {
		if all[i].State == layers.Indexing || all[i].Waiting > 0 {
			tasks = append(tasks, t)
		}
	}
	return tasks
}

func stateWord(l layers.Status, ended bool) string {
	switch {
	case l.State == layers.Complete && l.Fetched == 0:
		return "already here"
	case l.State == layers.Complete:
		return "complete"
	case l.State == layers.Broken:
		return "corrupt"
	case ended:
		return "incomplete"
	case l.Fetched > 0:
		return "downloading"
	}
	return "waiting"
}
