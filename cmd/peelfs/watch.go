package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/spf13/cobra"

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
func (a *app) watchStatus(ctx context.Context, dir string, every time.Duration) error {
	inJSON, err := a.asJSON()
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
			a.say("%s is not mounted any more", dir)
			return nil
		case err != nil:
			return err
		}
		if err := a.showLook(status, inJSON, first); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// showLook shows one look of several.
func (a *app) showLook(status *mountStatus, inJSON, first bool) error {
	if inJSON {
		return json.NewEncoder(a.out).Encode(status)
	}
	var page bytes.Buffer
	switch {
	case isTerminal(a.out):
		page.WriteString("\x1b[H\x1b[2J") // to the top, and clear
	case !first:
		page.WriteString("\n")
	}
	if err := statusTable(&page, status); err != nil {
		return err
	}
	_, err := io.Copy(a.out, &page)
	return err
}
