package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/query"
	"github.com/peelfs/peelfs/layers/unpack"
)

func cpCommand(a *app) *cobra.Command {
	var f sessionFlags
	keepLinks := false
	cmd := &cobra.Command{
		Use:   "cp [flags] REF:PATH... DEST",
		Short: "Copy files and directories out of an image",
		Long: `Copy out of an image, with modes, times, links, extended attributes and, for
root, owners and devices. DEST is a directory to copy into, the new name of a
single copy, or - for a tar on stdout. PATH/. means what is in a directory.`,
		Example: `  peelfs cp debian:bookworm:/etc/apt .
  peelfs cp debian:bookworm:/etc/os-release /tmp/release
  peelfs cp myapp:2:/srv/. - | ssh host tar -C /srv -xf -`,
		Args: takes(2, -1),
		RunE: inSession(a, &f, func(ctx context.Context, c *output.Console, s *session, args []string) error {
			return cp(ctx, c, s, args[:len(args)-1], args[len(args)-1], !keepLinks)
		}),
	}
	cmd.Flags().BoolVarP(&keepLinks, "no-dereference", "P", false, "copy a symbolic link that is named as a link")
	lookFlags(cmd, &f)
	cmd.ValidArgsFunction = completeRefs(a, &f)
	return cmd
}

// copyJob is one thing to copy and the name it gets; "." is the destination
// itself.
type copyJob struct {
	stack *stack
	from  query.Entry
	name  string
}

func cp(ctx context.Context, c *output.Console, s *session, args []string, dest string, follow bool) error {
	jobs, err := copyJobs(ctx, s, args, follow)
	if err != nil {
		return err
	}
	if dest == "-" {
		return toTar(ctx, c, jobs)
	}
	dir, jobs, err := destination(dest, jobs)
	if err != nil {
		return err
	}
	return toDir(ctx, c, dir, jobs)
}

func copyJobs(ctx context.Context, s *session, args []string, follow bool) ([]copyJob, error) {
	look := newLooker(s)
	jobs := make([]copyJob, 0, len(args))
	for _, arg := range args {
		_, p, err := refAndPath(arg)
		if err != nil {
			return nil, err
		}
		st, e, err := look.at(ctx, arg, follow)
		if err != nil {
			return nil, err
		}
		name := path.Base(path.Clean(p))
		if e.IsDir() && (name == "/" || strings.HasSuffix(p, "/.")) {
			name = "."
		}
		jobs = append(jobs, copyJob{st, e, name})
	}
	return jobs, nil
}

// destination is the directory to write into: dest, or the one that dest is to
// be in, with the name that a single copy gets there.
func destination(dest string, jobs []copyJob) (string, []copyJob, error) {
	info, err := os.Stat(dest)
	switch {
	case err == nil && info.IsDir():
		return dest, jobs, nil
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return "", nil, errkind.Wrap(errkind.Invalid, err)
	case len(jobs) > 1:
		return "", nil, errkind.New(errkind.Invalid, "%s is no directory, and several things are to be copied there", dest)
	case jobs[0].from.IsDir() && err == nil:
		return "", nil, errkind.New(errkind.Invalid, "%s is a file, and %s a directory", dest, jobs[0].from.Path())
	case !jobs[0].from.IsDir() && strings.HasSuffix(dest, "/"):
		return "", nil, errkind.WithHint(errkind.New(errkind.Invalid, "there is no directory %s", dest), "make it with: mkdir %s", dest)
	}
	dest = filepath.Clean(dest)
	jobs[0].name = filepath.Base(dest)
	return filepath.Dir(dest), jobs, nil
}

// toTar writes a tar to stdout.
func toTar(ctx context.Context, c *output.Console, jobs []copyJob) error {
	if output.IsTerminal(c.Out) {
		return errkind.WithHint(errkind.New(errkind.Invalid, "a tar is nothing for a terminal"), "send it somewhere: ... - | tar -t")
	}
	out := c.Screen()
	for _, group := range byStack(jobs) {
		if len(group) < len(jobs) {
			return errkind.New(errkind.Invalid, "a tar takes things of one image only")
		}
	}
	t := unpack.NewTar(out)
	for _, j := range jobs {
		if err := t.Add(ctx, j.stack.view, j.from, j.name); err != nil {
			return err
		}
	}
	regret(c, t.Losses())
	return errors.Join(t.Close(), out.Flush())
}

// toDir writes into a directory of this machine.
func toDir(ctx context.Context, c *output.Console, dir string, jobs []copyJob) error {
	for _, group := range byStack(jobs) {
		d, err := unpack.OpenDir(dir)
		if err != nil {
			return errkind.Wrap(errkind.Invalid, err)
		}
		for _, j := range group {
			if err = d.Add(ctx, j.stack.view, j.from, j.name); err != nil {
				break
			}
		}
		if err := errors.Join(err, d.Close(ctx)); err != nil {
			return err
		}
		regret(c, d.Losses())
	}
	return nil
}

// byStack groups jobs by their image: names of one inode belong to one image.
func byStack(jobs []copyJob) (groups [][]copyJob) {
	for _, j := range jobs {
		if n := len(groups); n > 0 && groups[n-1][0].stack == j.stack {
			groups[n-1] = append(groups[n-1], j)
			continue
		}
		groups = append(groups, []copyJob{j})
	}
	return groups
}

// regret says what a copy has not kept.
func regret(c *output.Console, l unpack.Losses) {
	for _, loss := range []struct {
		unpack.Loss
		what string
	}{
		{l.Owners, "the owner of %s was not kept; set-id bits are left out there"},
		{l.Devices, "%s could not be made"},
		{l.Xattrs, "extended attributes of %s were not kept"},
	} {
		if loss.Count > 0 {
			c.Warn("%s: %s", fmt.Sprintf(loss.what, someObjects(loss.Loss)), loss.Err)
		}
	}
}

func someObjects(l unpack.Loss) string {
	if l.Count == 1 {
		return output.Printable(l.First)
	}
	return fmt.Sprintf("%d objects (the first is %s)", l.Count, output.Printable(l.First))
}
