package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/fusefs"
	"github.com/peelfs/peelfs/internal/errkind"
)

func (a *app) automountCommand() *cobra.Command {
	idle, symlinks, prefetch := 10*time.Minute, "", "" // others have the shared flags with other defaults
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
		Args: wrong(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if idle < 0 {
				return errkind.WithHint(errkind.New(errkind.Invalid, "--idle=%s is negative", idle), "use 0 to keep images open")
			}
			a.flags.symlinks, a.flags.prefetch = symlinks, prefetch
			return a.automount(cmd.Context(), args[0], idle)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&a.flags.foreground, "foreground", "f", false, "stay in the foreground; Ctrl-C unmounts, twice by force")
	f.DurationVar(&idle, "idle", idle, "close images that nobody has used for this long; 0: never")
	f.StringVar(&symlinks, "symlinks", "rewrite", "rewrite: they stay inside the image; raw: as the image has them")
	f.BoolVar(&a.flags.allowOther, "allow-other", false, "let other users in; permissions are enforced then")
	f.StringVar(&prefetch, "prefetch", "none", "auto|none|all: what to fetch of an opened image before it is needed")
	a.flags.shape.howFlags(f)
	a.progressFlag(f)
	a.registryFlags(f)
	a.storeFlags(f)
	briefHelp(cmd)
	return cmd
}

// automounted is what a mount of many images is called where one has its reference.
const automounted = "automount"

// automount mounts in the background, or serves the mount itself.
func (a *app) automount(ctx context.Context, dir string, idle time.Duration) error {
	r, err := a.mountRequest([]string{automounted, dir})
	if err != nil {
		return err
	}
	if a.daemon == nil && !a.flags.foreground {
		_, err := a.startDaemon(ctx, r)
		return err
	}
	return a.serveWith(ctx, r, func(m *mounted, ctx context.Context) (*fusefs.Server, error) {
		m.stack = &stack{}
		m.describeAutomount(idle)
		lib := &shelf{session: m.s, mounted: m}
		return m.mount(func() (*fusefs.Server, error) {
			return fusefs.MountLibrary(m.r.dir, lib, idle, fusefs.Options{
				FSName: "peelfs:" + automounted, AllowOther: a.flags.allowOther, Logger: a.log, IOTimeout: a.flags.ioTimeout,
				Suid: a.flags.shape.suid, Dev: a.flags.shape.dev, NoExec: a.flags.shape.noexec,
			})
		})
	})
}

func (m *mounted) describeAutomount(idle time.Duration) {
	m.record.Reference = automounted
	m.record.Options = map[string]string{"idle": idle.String()}
	m.describeProcess()
}

// automountHint says, where the status of a mount of all images was asked for, that
// each image has one.
func (a *app) automountHint(dir string, err error) error {
	table, tableErr := a.mounts()
	if tableErr != nil {
		return err
	}
	if e, ok, _ := table.At(canonicalDir(dir)); ok && e.Alive && e.Reference == automounted {
		return errkind.WithHint(errkind.New(errkind.Mountpoint, "%s has all images, and no status of its own", dir),
			"name one that is in it: peelfs status %s/docker.io/library/alpine:3.20", dir)
	}
	return err
}
