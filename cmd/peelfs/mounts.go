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
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := a.mountList().all(cmd.Context())
			if err != nil {
				return err
			}
			alive := []mounttab.Mount{}
			for _, m := range list {
				alive = append(alive, m.Mount)
			}
			return a.console.Emit(alive, func(out *output.Screen) { mountTable(out, alive) })
		},
	}
	formatFlag(a.console, cmd.Flags())
	briefHelp(cmd)
	return cmd
}

func mountTable(out *output.Screen, mounts []mounttab.Mount) {
	table := [][]string{{"MOUNTPOINT", "IMAGE", "DIGEST", "PLATFORM", "PID", "SINCE"}}
	for _, m := range mounts {
		table = append(table, []string{m.Mountpoint, familiar(m.Reference), output.ShortDigest(m.Digest), m.Platform, strconv.Itoa(m.PID), output.Ago(m.Since, time.Now())})
	}
	out.Table(table)
}
