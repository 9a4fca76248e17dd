package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/cmd/peelfs/progress"
	"github.com/peelfs/peelfs/fusefs"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/view"
)

// mountStatus has the keys of DIR/.peelfs/status.json and of `peelfs status`.
type mountStatus struct {
	Mountpoint   string            `json:"mountpoint"`
	Reference    string            `json:"reference"`
	Digest       string            `json:"digest"`
	Platform     string            `json:"platform"`
	PID          int               `json:"pid"`
	Since        time.Time         `json:"since"`
	Requests     int64             `json:"requests"`     // to the registry, by this mount
	BytesFetched int64             `json:"bytesFetched"` // of layers, by this mount
	BytesRead    uint64            `json:"bytesRead"`    // by those who use the mount
	Operations   map[string]uint64 `json:"operations"`   // that the kernel asked for
	Waits        uint64            `json:"waits"`        // of these, those that had to wait for data
	Slow         uint64            `json:"slow"`         // and those that did for more than a second
	Failed       uint64            `json:"failed"`
	Log          string            `json:"log,omitempty"`
	Layers       []layerStatus     `json:"layers"`
}

// layerStatus is a layer's status with its place in the stack.
type layerStatus struct {
	Index int `json:"index"` // 0 is the base
	layerRow
}

// status tells about all layers, base first.
func (st *stack) status() []layerRow {
	out := make([]layerRow, len(st.layers))
	for i, l := range st.layers {
		out[i] = layerRow(l.Status())
	}
	return out
}

func statusCommand(a *app) *cobra.Command {
	var again watchFlags
	cmd := &cobra.Command{
		Use:   "status [flags] DIR",
		Short: "Show what a mount has fetched, layer by layer",
		Example: `  peelfs status mnt
  peelfs status --watch mnt`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if again.watch {
				return watchStatus(cmd.Context(), a.console, args[0], again.every)
			}
			status, err := readStatus(cmd.Context(), args[0])
			if err != nil {
				return automountHint(a, args[0], err)
			}
			return a.console.Emit(status, func(out *output.Screen) { statusTable(out, status) })
		},
	}
	formatFlag(a.console, cmd.Flags())
	again.register(cmd)
	briefHelp(cmd)
	cmd.ValidArgsFunction = completeMounts(a)
	return cmd
}

// readStatus reads the file that every mount has about itself. It waits for no
// longer than ctx lasts, whatever the mount does.
func readStatus(ctx context.Context, dir string) (*mountStatus, error) {
	type answer struct {
		data []byte
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		data, err := os.ReadFile(filepath.Join(dir, view.MetaDir, "status.json"))
		got <- answer{data, err}
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case a := <-got:
		if a.err != nil {
			return nil, noStatus(dir, a.err)
		}
		status := &mountStatus{}
		if err := json.Unmarshal(a.data, status); err != nil {
			return nil, errkind.New(errkind.Internal, "the status of %s: %w", dir, err)
		}
		return status, nil
	}
}

func noStatus(dir string, err error) error {
	if dead, deadErr := fusefs.Dead(dir); deadErr == nil && dead {
		return errkind.WithHint(errkind.New(errkind.Mountpoint, "%s is a dead mount: its process is gone", dir),
			"clear it with: peelfs umount %s", dir)
	}
	if errors.Is(err, os.ErrNotExist) {
		return errkind.WithHint(errkind.New(errkind.Mountpoint, "%s is not a peelfs mount", dir), "list mounts with: peelfs mounts")
	}
	return errkind.New(errkind.Mountpoint, "the status of %s: %w", dir, err)
}

func statusTable(out *output.Screen, s *mountStatus) {
	var size int64
	statuses := make([]layerRow, len(s.Layers))
	for i, l := range s.Layers {
		statuses[i] = l.layerRow
		size += max(l.Size, 0)
	}
	fmt.Fprintf(out, "%s\n  image    %s\n  digest   %s\n  mounted  %s, by process %d\n", output.Printable(s.Mountpoint),
		s.Reference+", "+s.Platform, s.Digest, output.Ago(s.Since, time.Now()), s.PID)
	fmt.Fprintf(out, "  fetched  %s of %s; %s read from the mount\n\n", progress.Size(s.BytesFetched), progress.Size(size), progress.Size(int64(s.BytesRead)))
	layerTable(out, statuses)
}

// layerTable shows layers the way they lie: the topmost first.
func layerTable(out *output.Screen, all []layerRow) {
	table := [][]string{{"LAYER", "DIGEST", "FORMAT", "STATE", "FETCHED", "ASKED", "SIZE", "PRESENT", "INDEX", "READ BY", "VERIFIED"}}
	for i := len(all) - 1; i >= 0; i-- {
		l := all[i]
		format, mode, index := string(l.Format), string(l.Mode), progress.Size(l.IndexSize)
		if format == "" {
			format, mode, index = "-", "-", "-"
		}
		table = append(table, []string{
			strconv.Itoa(i), output.ShortDigest(l.Digest.String()), format, string(l.State),
			progress.Size(l.Fetched), progress.Size(l.Asked), progress.Size(l.Size), share(l.Present, l.Uncompressed),
			index, mode, string(l.Proof),
		})
	}
	out.Table(table)
	layerErrors(out, all)
}

// layerErrors tells, below the table, what went wrong last with a layer.
func layerErrors(out *output.Screen, all []layerRow) {
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Error == "" {
			continue
		}
		fmt.Fprintf(out, "\nlayer %d: %s\n", i, output.Printable(all[i].Error))
	}
}

// share is a part of a whole in per cent, rounded down but for a trace.
func share(part, whole int64) string {
	switch {
	case whole <= 0:
		return "-"
	case part > 0 && part*100 < whole:
		return "<1%"
	}
	return fmt.Sprintf("%d%%", part*100/whole)
}
