package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/fetch"
	"github.com/peelfs/peelfs/internal/errkind"
)

func mountCommand(a *app) *cobra.Command {
	var f mountFlags
	cmd := &cobra.Command{
		Use:   "mount [flags] REF [DIR]",
		Short: "Mount an image as a directory",
		Long: `Mount an image read-only. Only its manifest and configuration are fetched;
layers come when something first needs them, and stay in the cache for all mounts.

REF is [docker://]NAME[:TAG][@DIGEST], oci:DIR[:TAG], oci-archive:FILE[:TAG],
docker-archive:FILE[:REF], or the id of an image that "peelfs images" lists.
Without DIR, the directory NAME-TAG is made here, and removed when it is
unmounted; its path is printed.

The command returns when the mount answers; a process in the background serves
it until "peelfs umount DIR", umount(8) or fusermount3 -u ends it. --extra-dirs
alone means ` + runtimeDirs + `; suid and dev are for root only.`,
		Example: `  peelfs mount debian:bookworm mnt
  peelfs mount --platform linux/arm64 localhost:5000/app:1
  peelfs mount -f oci:./layout:latest mnt`,
		Args: takes(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := applyOptions(cmd, f.options); err != nil {
				return err
			}
			return mount(cmd.Context(), a, &f, args)
		},
	}
	f.define(cmd.Flags())
	briefHelp(cmd)
	cmd.ValidArgsFunction = firstThen(completeRefs(a, &f.sessionFlags), directories)
	return cmd
}

// mountFlags are those of mount, and of automount but for what says which part of
// an image is mounted.
type mountFlags struct {
	sessionFlags
	presentation           presentation
	foreground, allowOther bool
	prefetch, progress     string
	options                []string // as mount(8) has them
}

// define adds the flags of mount to a set.
func (f *mountFlags) define(flags *pflag.FlagSet) {
	flags.BoolVarP(&f.foreground, "foreground", "f", false, "Ctrl-C unmounts, twice by force")
	flags.StringVar(&f.symlinks, "symlinks", "rewrite", "links as `HOW`: rewrite (they stay inside) or raw")
	flags.BoolVar(&f.allowOther, "allow-other", false, "let others in; permissions hold then")
	flags.StringVar(&f.prefetch, "prefetch", "auto", "`WHAT` before it is needed: auto|none|all")
	f.presentation.contentFlags(flags)
	f.presentation.appearanceFlags(flags)
	flags.StringArrayVarP(&f.options, "option", "o", nil, "flags as `OPT,OPT` of mount(8)")
	progressFlag(flags, &f.progress)
	f.sessionFlags.define(flags)
}

// recorded are the flags that the record of a mount has, by the names that they have
// there. Those about getting an image are not among them but for the policy.
func (f *mountFlags) recorded() map[string]string {
	options := map[string]string{"symlinks": f.symlinks, "prefetch": f.prefetch, "pull": f.pull}
	if f.allowOther {
		options["allowOther"] = "true"
	}
	f.presentation.describe(options)
	return options
}

// check says what is wrong with flags that are used only later.
func (f *mountFlags) check() error {
	switch f.prefetch {
	case "auto", "none", "all":
		return nil
	}
	return errkind.WithHint(errkind.New(errkind.Invalid, "--prefetch=%s is not known", f.prefetch), "use auto, none or all")
}

// mountRequest is what is to be mounted where.
type mountRequest struct {
	ref   string
	dir   string // absolute
	given bool   // the user named the directory
}

func newMountRequest(args []string) (mountRequest, error) {
	r := mountRequest{ref: args[0], given: len(args) > 1}
	dir := ""
	if r.given {
		dir = args[1]
	} else {
		ref, err := fetch.ParseReference(r.ref)
		if err != nil {
			return r, err
		}
		dir = directoryName(ref)
	}
	if dir == "" {
		return r, errkind.New(errkind.Mountpoint, "the mountpoint is an empty name")
	}
	abs, err := absolutePath(dir)
	r.dir = abs
	return r, err
}

// directoryName makes NAME-TAG of a reference, as the name of one directory.
func directoryName(ref fetch.Reference) string {
	name, tag := ref.Repository(), ref.Tag()
	if ref.Path() != "" {
		name = ref.Path()
	}
	if tag == "" && ref.Digest() != "" {
		tag = output.ShortDigest(ref.Digest().String())
	}
	name = filepath.Base(name)
	if tag != "" {
		name += "-" + tag
	}
	return strings.TrimLeft(strings.NewReplacer("/", "_", ":", "_").Replace(name), ".-")
}

// prepare makes the directory if the user gave none, and says whether it did.
func (r mountRequest) prepare() (made bool, err error) {
	if r.given {
		return false, nil
	}
	err = os.Mkdir(r.dir, 0o755)
	if errors.Is(err, os.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, errkind.WithHint(errkind.New(errkind.Mountpoint, "make the mountpoint: %w", err), "name another directory: peelfs mount REF DIR")
	}
	return true, nil
}
