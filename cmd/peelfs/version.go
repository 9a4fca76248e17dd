package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
)

// versionInfo has the keys of `peelfs version --format json`.
type versionInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func versionCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  takes(0, 0),
		RunE: func(*cobra.Command, []string) error {
			v := versionInfo{version, commit(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			return a.console.Emit(v, func(out *output.Screen) {
				fmt.Fprintf(out, "peelfs %s (%s, %s)\n", v.Version, v.Go, v.Platform)
			})
		},
	}
	formatFlag(a.console, cmd.Flags())
	return cmd
}

// commit is what the toolchain recorded of the source.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}
