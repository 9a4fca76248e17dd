package main

import (
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/mounttab"
	"github.com/peelfs/peelfs/cmd/peelfs/output"
)

func mountsCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mounts",
		Short: "List what is mounted",
		Long:  `List the mounts of this user. Mounts whose process was killed are cleared.`,
		Example: `  peelfs mounts
  peelfs mounts --format json`,
		Args: wrong(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			table, err := a.mounts()
			if err != nil {
				return err
			}
			alive, err := livingMounts(a.console, table)
			if err != nil {
				return err
			}
			return a.console.Emit(alive, func(out *output.Screen) { mountTable(out, alive) })
		},
	}
	formatFlag(a.console, cmd.Flags())
	briefHelp(cmd)
	return cmd
}

// livingMounts lists the mounts that are served, and clears the others.
func livingMounts(c *output.Console, table *mounttab.Table) ([]mounttab.Mount, error) {
	entries, err := table.List()
	alive := []mounttab.Mount{}
	for _, e := range entries {
		if e.Alive {
			alive = append(alive, e.Mount)
			continue
		}
		if err := clearMount(table, e); err != nil {
			c.Warn("%s was left by a process that is gone: %s", e.Mountpoint, err)
			continue
		}
		c.Say("cleared %s: its process %d is gone", e.Mountpoint, e.PID)
	}
	return alive, err
}

func mountTable(out *output.Screen, mounts []mounttab.Mount) {
	table := [][]string{{"MOUNTPOINT", "IMAGE", "DIGEST", "PLATFORM", "PID", "SINCE"}}
	for _, m := range mounts {
		table = append(table, []string{m.Mountpoint, familiar(m.Reference), output.ShortDigest(m.Digest), m.Platform, strconv.Itoa(m.PID), output.Ago(m.Since, time.Now())})
	}
	out.Table(table)
}
