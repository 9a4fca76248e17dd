package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// versionInfo has the keys of `peelfs version --format json`.
type versionInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  wrong(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			v := versionInfo{version, commit(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			return a.emit(v, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "peelfs %s (%s, %s)\n", v.Version, v.Go, v.Platform)
				return err
			})
		},
	}
	a.formatFlag(cmd.Flags())
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
