package main

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/fusefs"
	"github.com/peelfs/peelfs/internal/errkind"
)

func umountCommand(a *app) *cobra.Command {
	all, force := false, false
	cmd := &cobra.Command{
		Use:     "umount [flags] DIR... | -a",
		Aliases: []string{"unmount"},
		Short:   "Unmount images",
		Long: `Unmount images, and wait until their processes are through. umount(8) and
fusermount3 -u do as well. Mounts whose process was killed are cleared.`,
		Example: `  peelfs umount mnt
  peelfs umount --force mnt
  peelfs umount -a`,
		Args: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return errkind.WithHint(errkind.New(errkind.Invalid, "either directories or --all"), "usage: %s", cmd.UseLine())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			list := a.mountList()
			if all {
				var err error
				if args, err = list.everyMountpoint(cmd.Context()); err != nil {
					return err
				}
			}
			return eachOf(cmd.Context(), a.console, args, func(dir string) error {
				return list.umount(cmd.Context(), dir, force)
			})
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "all mounts of this user")
	cmd.Flags().BoolVar(&force, "force", false, "also when it is in use: those who use it get errors")
	briefHelp(cmd)
	cmd.ValidArgsFunction = completeMounts(a)
	return cmd
}

// everyMountpoint lists what --all is: mounts within mounts go first.
func (l *mountList) everyMountpoint(ctx context.Context) (dirs []string, err error) {
	mounts, err := l.all(ctx)
	for _, m := range mounts {
		if !slices.Contains(dirs, m.Mountpoint) {
			dirs = append(dirs, m.Mountpoint)
		}
	}
	slices.Sort(dirs)
	slices.Reverse(dirs)
	return dirs, err
}

// goneTime is how long umount waits for the mount's process. It has nothing left
// to do but to close files, unless somebody still uses what force took away.
const goneTime = 10 * time.Second

// umount ends the mount that shows at dir, and waits for its process. Where none
// is, it clears what a process left that is gone, or says where the mount is.
func (l *mountList) umount(ctx context.Context, dir string, force bool) error {
	path := canonicalDir(dir)
	id, ours, err := fusefs.ShownAt(path)
	if err != nil {
		return err
	}
	if id == 0 {
		return l.umountLeft(dir, path)
	}
	e, err := l.record(path, id)
	if err != nil {
		return err
	}
	if e == nil && ours { // a mount that answers is not asked: that may take its time
		if dead, _ := fusefs.Dead(path); dead {
			return errors.Join(fusefs.ClearDead(path), l.clearLeft(path))
		}
	}
	if err := fusefs.Unmount(dir, fusefs.UnmountOptions{Force: force, MountID: id}); err != nil || e == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, goneTime)
	defer cancel()
	if err := l.table.WaitGone(ctx, *e); errkind.Is(err, errkind.Timeout) {
		l.console.Warn("%s is unmounted, but its process %d has not ended: somebody still uses what was in it", dir, e.PID)
		return nil
	} else if err != nil {
		return err
	}
	return nil
}

// umountLeft is umount where nothing is mounted.
func (l *mountList) umountLeft(dir, path string) error {
	dead, away, err := l.left(path)
	switch {
	case err != nil:
		return err
	case len(dead) > 0:
		return l.clearLeft(path)
	case len(away) > 0:
		return errkind.WithHint(errkind.New(errkind.Mountpoint, "%s is not mounted here but in another mount namespace, that of process %d", dir, away[0].PID),
			"end it with `kill %d`, or there: nsenter -m -t %[1]d umount %[2]s", away[0].PID, path)
	}
	return fusefs.Unmount(dir, fusefs.UnmountOptions{}) // which says what there is
}

// clearLeft clears the records of path whose processes are gone.
func (l *mountList) clearLeft(path string) error {
	dead, _, err := l.left(path)
	for _, e := range dead {
		err = errors.Join(err, clearMount(l.table, e))
	}
	return err
}

// canonicalDir is dir as records have it. A mount is not looked into for that: it
// may be dead, or wait for the network.
func canonicalDir(dir string) string {
	if real, err := fusefs.Canonical(dir); err == nil {
		return real
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return dir
	}
	if parent, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		return filepath.Join(parent, filepath.Base(abs))
	}
	return abs
}
