package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/mounttab"
	"github.com/peelfs/peelfs/cmd/peelfs/output"
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
			table, err := a.mounts()
			if err != nil {
				return err
			}
			if all {
				if args, err = everyMountpoint(table); err != nil {
					return err
				}
			}
			return eachOf(cmd.Context(), a.console, args, func(dir string) error {
				return umount(cmd.Context(), a.console, table, dir, force)
			})
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "all mounts of this user")
	cmd.Flags().BoolVar(&force, "force", false, "also when it is in use: those who use it get errors")
	briefHelp(cmd)
	cmd.ValidArgsFunction = completeMounts(a)
	return cmd
}

func everyMountpoint(table *mounttab.Table) (dirs []string, err error) {
	entries, err := table.List()
	for i := len(entries) - 1; i >= 0; i-- { // a mount within a mount goes first
		dirs = append(dirs, entries[i].Mountpoint)
	}
	return dirs, err
}

// goneTime is how long umount waits for the mount's process. It has nothing left
// to do but to close files, unless somebody still uses what force took away.
const goneTime = 10 * time.Second

func umount(ctx context.Context, c *output.Console, table *mounttab.Table, dir string, force bool) error {
	path := canonicalDir(dir)
	e, known, err := table.At(path)
	if err != nil {
		return err
	}
	if known && !e.Alive {
		return clearMount(table, e)
	}
	if err := fusefs.Unmount(dir, fusefs.UnmountOptions{Force: force, MountID: e.MountID}); err != nil {
		return err
	}
	if !known {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, goneTime)
	defer cancel()
	if err := table.WaitGone(ctx, e); errkind.Is(err, errkind.Timeout) {
		c.Warn("%s is unmounted, but its process %d has not ended: somebody still uses what was in it", dir, e.PID)
		return nil
	} else if err != nil {
		return err
	}
	return nil
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

// clearMount removes what a killed process left: the dead mount, the directory
// made for it, its log and its record.
func clearMount(table *mounttab.Table, e mounttab.Entry) error {
	dead, err := fusefs.Dead(e.Mountpoint)
	if dead {
		err = fusefs.ClearDead(e.Mountpoint)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if e.Made {
		_ = os.Remove(e.Mountpoint) // it stays if somebody has put something there
	}
	if e.Log == table.Path(e.PID, ".log") {
		_ = os.Remove(e.Log)
	}
	return table.Forget(e)
}

// clearStale clears records of dir whose processes are gone.
func clearStale(table *mounttab.Table, dir string) error {
	e, known, err := table.At(canonicalDir(dir))
	if err != nil || !known || e.Alive {
		return err
	}
	return clearMount(table, e)
}
