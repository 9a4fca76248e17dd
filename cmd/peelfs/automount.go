package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/fusefs"
	"github.com/peelfs/peelfs/internal/errkind"
)

func automountCommand(a *app) *cobra.Command {
	var f mountFlags
	idle := 10 * time.Minute
	cmd := &cobra.Command{
		Use:   "automount [flags] DIR",
		Short: "Show all images below a directory, each when it is looked into",
		Long: `Mount a directory in which every image has a path, HOST/REPOSITORY:TAG or
HOST/REPOSITORY@DIGEST. An image is resolved and opened when something in it is
first looked at; directories list the names that are known here. A name that no
registry has is not there; why is in the log.

One process serves all of it until "peelfs umount DIR" or umount(8) ends it. An
image that nobody has used for --idle is closed, and what its tag means is asked
again when it is next used.`,
		Example: `  peelfs automount /images
  cat /images/docker.io/library/alpine:3.20/etc/os-release
  ls /images/docker.io/library`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if idle < 0 {
				return errkind.WithHint(errkind.New(errkind.Invalid, "--idle=%s is negative", idle), "use 0 to keep images open")
			}
			return automount(cmd.Context(), a, &f, args[0], idle)
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&f.foreground, "foreground", "f", false, "stay in the foreground; Ctrl-C unmounts, twice by force")
	flags.DurationVar(&idle, "idle", idle, "close images that nobody has used for this long; 0: never")
	flags.StringVar(&f.symlinks, "symlinks", "rewrite", "rewrite: they stay inside the image; raw: as the image has them")
	flags.BoolVar(&f.allowOther, "allow-other", false, "let other users in; permissions are enforced then")
	flags.StringVar(&f.prefetch, "prefetch", "none", "auto|none|all: what to fetch of an opened image before it is needed")
	f.presentation.appearanceFlags(flags)
	progressFlag(flags, &f.progress)
	f.sessionFlags.define(flags)
	briefHelp(cmd)
	cmd.ValidArgsFunction = directories
	return cmd
}

// automounted is what a mount of many images is called where one has its reference.
const automounted = "automount"

// automount mounts in the background, or serves the mount itself.
func automount(ctx context.Context, a *app, f *mountFlags, dir string, idle time.Duration) error {
	if err := f.check(); err != nil {
		return err
	}
	r, err := newMountRequest([]string{automounted, dir})
	if err != nil {
		return err
	}
	if a.daemon == nil && !f.foreground {
		_, err := startDaemon(ctx, a, r)
		return err
	}
	return serveWith(ctx, a, f, r, func(m *mounted, ctx context.Context) (*fusefs.Server, error) {
		m.stack = &stack{}
		m.describeAutomount(idle)
		lib := &imageLibrary{session: m.s, mounted: m}
		return m.mount(func() (*fusefs.Server, error) {
			return fusefs.MountLibrary(m.r.dir, lib, idle, fusefs.Options{
				FSName: "peelfs:" + automounted, AllowOther: f.allowOther, Logger: a.log, IOTimeout: f.ioTimeout,
				Suid: f.presentation.suid, Dev: f.presentation.dev, NoExec: f.presentation.noexec,
			})
		})
	})
}

func (m *mounted) describeAutomount(idle time.Duration) {
	m.record.Reference = automounted
	m.record.Options = m.flags.recorded()
	m.record.Options["idle"] = idle.String()
	m.describeProcess()
}

// automountHint says, where the status of a mount of all images was asked for, that
// each image has one.
func automountHint(a *app, dir string, err error) error {
	if e, ok, _ := a.mountList().table.At(canonicalDir(dir)); ok && e.Alive && e.Reference == automounted {
		return errkind.WithHint(errkind.New(errkind.Mountpoint, "%s has all images, and no status of its own", dir),
			"name one that is in it: peelfs status %s/docker.io/library/alpine:3.20", dir)
	}
	return err
}
