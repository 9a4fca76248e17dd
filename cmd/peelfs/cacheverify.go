package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/cmd/peelfs/progress"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers"
)

// verified has the keys of `peelfs cache verify --format json`.
type verified struct {
	Bytes    int64        `json:"bytes"`   // read and found right
	Unknown  int          `json:"unknown"` // spans without a checksum, dropped
	Problems []problemRow `json:"problems"`
}

func cacheVerifyCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Read everything in the cache again and check it",
		Long: `Read everything in the cache again and compare it with its digests. What is
wrong is dropped, so that it is fetched anew when it is needed; the exit code is 13
then. In a cache that cannot be written it stays.`,
		Args: takes(0, 0),
		RunE: withStore(a, func(ctx context.Context, c *output.Console, _ *session, store *layers.Store, _ []string) error {
			v := verified{Problems: []problemRow{}}
			found, err := store.Verify(ctx, func(p layers.Problem) { v.Problems = append(v.Problems, problemRow(p)) })
			v.Bytes, v.Unknown = found.Bytes, found.Unknown
			if err != nil {
				return err
			}
			if err := c.Emit(v, func(out *output.Screen) { verifiedTable(out, v) }); err != nil {
				return err
			}
			if n := len(v.Problems); n > 0 {
				if store.Writable() != nil {
					return errkind.New(errkind.Corrupt, "%s layers are damaged; the damage stays since the cache cannot be written", strconv.Itoa(n))
				}
				return errkind.New(errkind.Corrupt, "%s layers were damaged; the damage is removed", strconv.Itoa(n))
			}
			return nil
		}),
	}
	formatFlag(a.console, cmd.Flags())
	return cmd
}

func verifiedTable(out *output.Screen, v verified) {
	for _, p := range v.Problems {
		fmt.Fprintf(out, "%s: %s\n", p.Digest, output.Printable(p.Detail))
	}
	if v.Unknown > 0 {
		fmt.Fprintf(out, "%d spans have no checksum, from an earlier version or a crash; they are dropped and fetched again\n", v.Unknown)
	}
	fmt.Fprintf(out, "%s verified\n", progress.Size(v.Bytes))
}
