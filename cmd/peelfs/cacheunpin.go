package main

import (
	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/layers"
)

func cacheUnpinCommand(a *app) *cobra.Command {
	return pinning(a, "unpin", "Let pinned layers be pruned again", "Undo \"peelfs cache pin\".", (*layers.Store).Unpin)
}
