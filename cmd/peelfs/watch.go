package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/internal/errkind"
)

// watchFlags say whether to look at something again and again.
type watchFlags struct {
	watch bool
	every time.Duration
}

func (w *watchFlags) register(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&w.watch, "watch", "w", false, "show it again and again, until Ctrl-C or until it is unmounted")
	cmd.Flags().DurationVar(&w.every, "interval", time.Second, "with --watch: how often")
}

// watchStatus shows the status of dir until ctx ends, or until the mount does. On
// a terminal each look takes the place of the last one; as JSON each is a line.
func watchStatus(ctx context.Context, c *output.Console, dir string, every time.Duration) error {
	inJSON, err := c.AsJSON()
	if err != nil {
		return err
	}
	if every < 100*time.Millisecond {
		return errkind.WithHint(errkind.New(errkind.Invalid, "--interval=%s is too short", every), "use 100ms or more")
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for first := true; ; first = false {
		status, err := readStatus(ctx, dir)
		switch {
		case ctx.Err() != nil:
			return &exitError{errkind.Canceled.ExitCode()} // as was asked for: nothing to say
		case err != nil && !first && errkind.Is(err, errkind.Mountpoint):
			c.Say("%s is not mounted any more", dir)
			return nil
		case err != nil:
			return err
		}
		if err := showLook(c.Screen(), status, inJSON, first); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// showLook shows one look of several.
func showLook(out *output.Screen, status *mountStatus, inJSON, first bool) error {
	switch {
	case inJSON:
		if err := out.JSONLine(status); err != nil {
			return err
		}
		return out.Flush()
	case out.Terminal():
		out.Home()
	case !first:
		out.WriteString("\n")
	}
	statusTable(out, status)
	return out.Flush()
}
