package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/cmd/peelfs/progress"
	"github.com/peelfs/peelfs/fetch"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/mapfault"
	"github.com/peelfs/peelfs/layers"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/query"
)

func pullCommand(a *app) *cobra.Command {
	var f fillFlags
	cmd := &cobra.Command{
		Use:   "pull [flags] {REF [/PATH...]}...",
		Short: "Fetch now what would be fetched when needed",
		Long: `Fetch whole images into the cache, so that mounts of them need no network; or of
an image only the files and directories whose absolute paths follow it. Prints
NAME@DIGEST of each. One pull of a name runs at a time: a second one waits for the
first, in whatever process, and ends as that does.`,
		Example: `  peelfs pull debian:bookworm
  peelfs pull debian:bookworm /usr/bin /etc`,
		Args: takes(1, -1),
		RunE: inSession(a, &f.sessionFlags, func(ctx context.Context, c *output.Console, s *session, args []string) error {
			refs, paths, err := pullArguments(args)
			if err != nil {
				return err
			}
			if err := s.writable(); err != nil {
				return err
			}
			return eachOf(ctx, c, refs, func(arg string) error { return pull(ctx, c, s, arg, paths[arg], f.progress) })
		}),
	}
	progressFlag(cmd.Flags(), &f.progress)
	f.sessionFlags.define(cmd.Flags())
	briefHelp(cmd)
	cmd.ValidArgsFunction = completeRefs(a, &f.sessionFlags)
	return cmd
}

// fillFlags are those of commands that bring layers into the cache and show how
// far they are.
type fillFlags struct {
	sessionFlags
	progress string
}

// pullArguments tells references from the paths that follow them.
func pullArguments(args []string) (refs []string, paths map[string][]string, err error) {
	paths = map[string][]string{}
	for _, arg := range args {
		switch {
		case !strings.HasPrefix(arg, "/"):
			refs = append(refs, arg)
		case len(refs) == 0:
			return nil, nil, errkind.WithHint(errkind.New(errkind.Invalid, "%s is a path of no image", arg), "name the image first: peelfs pull REF %s", arg)
		default:
			ref := refs[len(refs)-1]
			paths[ref] = append(paths[ref], arg)
		}
	}
	return refs, paths, nil
}

func pull(ctx context.Context, c *output.Console, s *session, arg string, paths []string, bars string) error {
	n, err := s.reference(arg)
	if err != nil {
		return err
	}
	ref, result := n.ref, ""
	waiting := func() { c.Say("%s is being pulled by another process: waiting for it", ref.Familiar()) }
	key := pullKey(s, n.record.Name, paths)
	shared, err := s.tags.Once(ctx, key, waiting, func() error {
		img, err := s.resolveNamed(ctx, n)
		if err != nil {
			return err
		}
		result = ref.Name() + "@" + img.Digest.String()
		return fill(ctx, c, s, img, paths, bars)
	})
	if err != nil {
		return err
	}
	if shared { // what the other process recorded
		r, err := s.tags.Get(n.record.Name)
		if err != nil {
			return err
		}
		result = ref.Name() + "@" + r.Digest.String()
	}
	_, err = fmt.Fprintln(c.Out, result)
	return err
}

// pullKey names a pull for the commands that start while it runs. Two commands share
// its result only if they ask for the same of the same servers, in the same way and as
// the same user: one's password may be refused where another's is not. Of secrets only
// a checksum is part of the key.
func pullKey(s *session, name string, paths []string) string {
	sum := sha256.New()
	for _, part := range append(s.access, paths...) {
		fmt.Fprintf(sum, "%q\n", part)
	}
	return fmt.Sprintf("%s %s %s %x", name, fetch.FormatPlatform(s.platform), s.policy, sum.Sum(nil)[:8])
}

// accessVariables are the variables of the environment that decide how a registry
// is asked, and as whom.
var accessVariables = []string{"HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "DOCKER_AUTH_CONFIG",
	"DOCKER_HOST", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"}

// access is all that decides how registries are asked, and as whom.
func access(f *registryFlags, env func(string) string) []string {
	list := []string{f.caFile, f.creds, f.authFile, f.registryAPI,
		fmt.Sprint(f.plainHTTP, f.https(), f.tlsVerify, f.anonymous)}
	for _, name := range accessVariables {
		list = append(list, env(name))
	}
	return list
}

// fill brings an image, or the named paths of it, into the cache and shows how far
// it is.
func fill(ctx context.Context, c *output.Console, s *session, img *fetch.Image, paths []string, bars string) error {
	st, err := s.stack(img)
	if err != nil {
		return err
	}
	shown, err := newBars(c, bars)
	if err != nil {
		return err
	}
	filled := make(chan error, 1)
	go func() {
		if len(paths) > 0 {
			filled <- mapfault.Catch(func() error { return st.fillPaths(ctx, paths) })
			return
		}
		filled <- st.fill(ctx)
	}()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-filled:
			shown.last(st.tasks(true))
			return err
		case <-tick.C:
			shown.show(st.tasks(false))
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

// fillPaths fetches the contents of the files at and below paths.
func (st *stack) fillPaths(ctx context.Context, paths []string) error {
	buf := make([]byte, 1<<20)
	read := func(e query.Entry) error {
		at := e.Attr
		for off := int64(0); at.Kind == index.File && off < at.Size; off += int64(len(buf)) {
			if _, err := st.view.ReadAt(ctx, at.Ino, buf, off); err != nil {
				return err
			}
		}
		return nil
	}
	for _, p := range paths {
		from, err := query.Find(ctx, st.view, p, true)
		if err != nil {
			return err
		}
		if err := query.Walk(ctx, st.view, from, read); err != nil {
			return err
		}
	}
	return nil
}

// tasks are the layers as the progress display shows them.
func (st *stack) tasks(ended bool) []progress.Task {
	all := st.status()
	tasks := make([]progress.Task, len(all))
	for i, l := range all {
		name := output.ShortDigest(l.Digest.String())
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

func stateWord(l layerRow, ended bool) string {
	switch {
	case l.State == layers.Complete && l.Fetched == 0:
		return "already here"
	case l.State == layers.Complete:
		return "complete"
	case l.State == layers.Corrupt:
		return "corrupt"
	case ended:
		return "incomplete"
	case l.Fetched > 0:
		return "downloading"
	}
	return "waiting"
}
