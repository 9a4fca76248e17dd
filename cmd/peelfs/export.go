package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/query"
	"github.com/peelfs/peelfs/layers/unpack"
)

func exportCommand(a *app) *cobra.Command {
	var f sessionFlags
	cmd := &cobra.Command{
		Use:   "export [flags] REF -|FILE.tar|DIR",
		Short: "Write the whole tree of an image as a tar or a directory",
		Long: `Write the flattened tree: a tar to stdout or to FILE.tar, or a new or empty
directory. The tar is the same byte for byte whenever it is made. Owners and
devices in a directory need root; without, what is lost is said.`,
		Example: `  peelfs export debian:bookworm rootfs.tar
  peelfs export debian:bookworm - | podman import - mine
  sudo peelfs export debian:bookworm ./rootfs`,
		Args: takes(2, 2),
		RunE: inSession(a, &f, func(ctx context.Context, c *output.Console, s *session, args []string) error {
			return export(ctx, c, s, args[0], args[1])
		}),
	}
	lookFlags(cmd, &f)
	cmd.ValidArgsFunction = completeRefs(a, &f)
	return cmd
}

func export(ctx context.Context, c *output.Console, s *session, ref, dest string) error {
	st, from, err := newLooker(s).at(ctx, ref, true)
	if err != nil {
		return err
	}
	if !from.IsDir() {
		return errkind.WithHint(errkind.New(errkind.Invalid, "%s is a %s", ref, noun(from.Attr.Kind)), "copy it with: peelfs cp %s DEST", ref)
	}
	job := []copyJob{{st, from, "."}}
	switch {
	case dest == "-":
		return toTar(ctx, c, job)
	case strings.HasSuffix(dest, ".tar"):
		return exportFile(ctx, c, st, from, dest)
	case strings.Contains(filepath.Base(dest), ".tar.") || strings.HasSuffix(dest, ".tgz"):
		return errkind.WithHint(errkind.New(errkind.Invalid, "%s: compressed tars are not written", dest), "compress it yourself: peelfs export %s - | gzip > %s", ref, dest)
	}
	if err := emptyDir(dest); err != nil {
		return err
	}
	return toDir(ctx, c, dest, job)
}

// exportFile writes a tar under a name of its own, which becomes dest when it is
// whole.
func exportFile(ctx context.Context, c *output.Console, st *stack, from query.Entry, dest string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(dest), ".peelfs-*.tar")
	if err != nil {
		return errkind.Wrap(errkind.Invalid, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	out := bufio.NewWriterSize(f, 1<<20)
	t := unpack.NewTar(out)
	err = t.Add(ctx, st.view, from, ".")
	if err == nil {
		err = errors.Join(t.Close(), out.Flush(), f.Chmod(0o644))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	regret(c, t.Losses())
	return os.Rename(f.Name(), dest)
}

// emptyDir makes a directory, or holds that there is an empty one.
func emptyDir(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return errkind.Wrap(errkind.Invalid, err)
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return errkind.Wrap(errkind.Invalid, fmt.Errorf("%s is there already: %w", dir, err))
	}
	if len(names) > 0 {
		return errkind.WithHint(errkind.New(errkind.Invalid, "%s is not empty", dir), "name a new directory, or add to this one with: peelfs cp REF:/. %s", dir)
	}
	return nil
}
