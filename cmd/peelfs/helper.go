package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/peelfs/peelfs/internal/errkind"
)

// As mount.peelfs or mount.fuse.peelfs this program is what mount(8) runs:
//
//	mount.peelfs SPEC DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]
//
// It becomes a `peelfs mount` with the same meaning, and ends with mount(8)'s
// exit codes.

// mount(8)'s exit codes.
const (
	mountUsage       = 1
	mountSystem      = 2
	mountBug         = 4
	mountInterrupted = 8
	mountFailed      = 32
)

// mountExit is the exit code that mount(8) has for one of ours.
func mountExit(code int) int {
	switch code {
	case 0:
		return 0
	case errkind.Invalid.ExitCode():
		return mountUsage
	case errkind.NoFUSE.ExitCode(), errkind.LocalFull.ExitCode():
		return mountSystem
	case errkind.Internal.ExitCode():
		return mountBug
	case errkind.Canceled.ExitCode():
		return mountInterrupted
	}
	return mountFailed
}

// isHelper says whether mount(8) or mount.fuse3 has run this program. The latter
// runs it by its own name, with options where a command would be.
func isHelper(args []string) bool {
	if strings.HasPrefix(filepath.Base(args[0]), "mount.") || os.Getenv(helperEnv) != "" {
		return true
	}
	return len(args) == 5 && args[3] == "-o" && filepath.IsAbs(args[2]) && !strings.HasPrefix(args[1], "-")
}

// helperMain is what the program does then.
func helperMain(a *app, args []string) int {
	os.Unsetenv(helperEnv)
	h, err := parseHelper(args)
	if err != nil {
		return helperFails(a, err)
	}
	if h.namespace != "" {
		return inNamespace(a, h.namespace, args)
	}
	for _, e := range h.env {
		os.Setenv(e[0], e[1])
	}
	if h.remounts() {
		if err := remount(a, h); err != nil {
			return helperFails(a, err)
		}
		return 0
	}
	line, err := commandLine(a, h)
	if err != nil {
		return helperFails(a, err)
	}
	return mountExit(a.run(line))
}

func helperFails(a *app, err error) int {
	a.console.Complain(err)
	return mountExit(errkind.Of(err).ExitCode())
}

// helperCall is the helper's command line, taken apart.
type helperCall struct {
	spec, dir           string
	sloppy, fake, noisy bool
	namespace           string
	options             []mountOption
	env                 [][2]string
}

type mountOption struct {
	name, value string
	valued      bool // there was a "=", perhaps with nothing behind
}

func parseHelper(args []string) (h helperCall, err error) {
	f := pflag.NewFlagSet("mount.peelfs", pflag.ContinueOnError)
	f.Usage = func() {}
	f.BoolVarP(&h.sloppy, "sloppy", "s", false, "")
	f.BoolVarP(&h.fake, "fake", "f", false, "")
	f.BoolP("no-mtab", "n", false, "")
	f.BoolVarP(&h.noisy, "verbose", "v", false, "")
	f.StringVarP(&h.namespace, "namespace", "N", "", "")
	f.StringP("type", "t", "", "")
	lists := f.StringArrayP("options", "o", nil, "")
	if err := f.Parse(args); err != nil {
		return h, helperUsage(errkind.Wrap(errkind.Invalid, err))
	}
	if f.NArg() != 2 {
		return h, helperUsage(errkind.New(errkind.Invalid, "an image and a directory are needed"))
	}
	h.spec, h.dir = specOf(f.Arg(0)), f.Arg(1)
	for _, list := range *lists {
		options, err := splitOptions(list)
		if err != nil {
			return h, err
		}
		h.options = append(h.options, options...)
	}
	h.takeEnv()
	return h, nil
}

func helperUsage(err error) error {
	return errkind.WithHint(err, "usage: mount.peelfs SPEC DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]")
}

// specOf drops what mount.fuse has before an image: "peelfs#debian:12".
func specOf(spec string) string {
	if rest, ok := strings.CutPrefix(spec, "peelfs#"); ok {
		return rest
	}
	return spec
}

// takeEnv moves env.NAME=VALUE from the options to the environment.
func (h *helperCall) takeEnv() {
	var rest []mountOption
	for _, o := range h.options {
		if name, ok := strings.CutPrefix(o.name, "env."); ok && name != "" {
			h.env = append(h.env, [2]string{name, o.value})
			continue
		}
		rest = append(rest, o)
	}
	h.options = rest
}

// splitOptions takes a list apart as mount(8) writes it: commas separate, but for
// those in double quotes or behind a backslash.
func splitOptions(list string) (options []mountOption, err error) {
	var word strings.Builder
	quoted := false
	add := func() {
		name, value, valued := strings.Cut(word.String(), "=")
		if name != "" {
			options = append(options, mountOption{name, value, valued})
		}
		word.Reset()
	}
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case c == '\\' && i+1 < len(list):
			i++
			word.WriteByte(list[i])
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			add()
		default:
			word.WriteByte(c)
		}
	}
	if quoted {
		return nil, errkind.New(errkind.Invalid, "a quote is open in the options %s", list)
	}
	add()
	return options, nil
}

// customary are options that are usual in fstab and mean nothing here, or what is
// so anyway. "rw" is what mount(8) passes if nothing is said.
var customary = map[string]bool{
	"defaults": true, "auto": true, "noauto": true, "user": true, "nouser": true, "users": true, "owner": true, "group": true,
	"_netdev": true, "nofail": true, "ro": true, "rw": true, "relatime": true, "norelatime": true, "noatime": true, "atime": true,
	"strictatime": true, "lazytime": true, "nolazytime": true, "diratime": true, "nodiratime": true, "sync": true, "async": true,
	"dirsync": true, "silent": true, "loud": true, "nosuid": true, "nodev": true, "exec": true, "iversion": true, "noiversion": true,
	"mand": true, "nomand": true, "default-permissions": true, "args2env": true, "fsname": true, "subtype": true, "auto-unmount": true,
	"comment": true, "nonempty": true, "nosymfollow": true, "pri": true, "remount": false,
}

func isCustomary(name string) bool {
	return customary[name] || strings.HasPrefix(name, "x-") || strings.HasPrefix(name, "X-")
}

// mountFlag is the flag that a mount option means: its name with - for _, and its
// value. It is nil for options that mean nothing here.
func mountFlag(flags *pflag.FlagSet, o mountOption) (*pflag.Flag, error) {
	name := strings.ReplaceAll(o.name, "_", "-")
	if isCustomary(o.name) || isCustomary(name) {
		return nil, nil
	}
	flag := flags.Lookup(name)
	switch {
	case flag == nil, name == "foreground", name == "option":
		return nil, errkind.WithHint(errkind.New(errkind.Invalid, "the mount option %s is not known", o.name),
			"options are those of peelfs mount, as cache_dir=DIR or allow_other")
	case !o.valued && flag.NoOptDefVal == "":
		return nil, errkind.New(errkind.Invalid, "the mount option %s needs a value", o.name)
	}
	return flag, nil
}

// applyOptions sets the flags of mount that lists of options mean.
func applyOptions(cmd *cobra.Command, lists []string) error {
	for _, list := range lists {
		options, err := splitOptions(list)
		if err != nil {
			return err
		}
		for _, o := range options {
			flag, err := mountFlag(cmd.Flags(), o)
			if err != nil {
				return err
			}
			if flag == nil {
				continue
			}
			value := o.value
			if !o.valued {
				value = flag.NoOptDefVal
			}
			if err := flag.Value.Set(value); err != nil {
				return errkind.New(errkind.Invalid, "the mount option %s=%s is not %s", o.name, value, kindOfValue(flag))
			}
			flag.Changed = true
		}
	}
	return nil
}

// commandLine is the `peelfs mount` that the call means.
func commandLine(a *app, h helperCall) ([]string, error) {
	line := []string{"mount", "--progress=none"}
	flags := mountCommand(a).Flags()
	new(globalFlags).define(a.console, flags)
	for _, o := range h.options {
		flag, err := mountFlag(flags, o)
		switch {
		case err != nil && h.sloppy && flags.Lookup(strings.ReplaceAll(o.name, "_", "-")) == nil, err == nil && flag == nil:
			continue
		case err != nil:
			return nil, err
		case o.valued:
			line = append(line, "--"+flag.Name+"="+o.value)
		default:
			line = append(line, "--"+flag.Name)
		}
	}
	if h.fake {
		line = append(line, "--fake")
	}
	if h.noisy {
		line = append(line, "--verbose")
	}
	return append(line, "--", h.spec, h.dir), nil
}

// remounts says whether mount(8) wants the options of a mount changed.
func (h helperCall) remounts() bool {
	return slices.ContainsFunc(h.options, func(o mountOption) bool { return o.name == "remount" })
}

// remount holds that a remount changes nothing: what is mounted is what is asked
// for, and the options are those that it was mounted with.
func remount(a *app, h helperCall) error {
	table, err := a.mounts()
	if err != nil {
		return err
	}
	e, ok, err := table.At(canonicalDir(h.dir))
	switch {
	case err != nil:
		return err
	case !ok || !e.Alive:
		return errkind.New(errkind.Mountpoint, "%s is not a peelfs mount", h.dir)
	}
	flags := mountCommand(a).Flags()
	new(globalFlags).define(a.console, flags)
	for _, o := range h.options {
		if o.name == "remount" || kernelShows[o.name] {
			continue
		}
		flag, err := mountFlag(flags, o)
		if err != nil && !h.sloppy {
			return err
		}
		if err != nil || flag == nil {
			continue
		}
		value := o.value
		if !o.valued {
			value = flag.NoOptDefVal
		}
		if have, recorded := e.Options[recordKey(flag.Name)]; recorded && have == value || !recorded && value == flag.DefValue || unrecorded[flag.Name] {
			continue
		}
		return errkind.WithHint(errkind.New(errkind.Unsupported, "%s: the option %s of a mount cannot be changed", h.dir, o.name), "unmount it, and mount it anew")
	}
	return nil
}

// kernelShows are options that the kernel has in its list of mounts, from where
// mount(8) adds them to a remount. peelfs has no flags for them.
var kernelShows = map[string]bool{"user_id": true, "group_id": true, "rootmode": true, "max_read": true, "blksize": true, "fd": true}

// recordKey is what a flag is called in the record of a mount.
func recordKey(flag string) string {
	switch flag {
	case "extra-dirs":
		return "extraDirs"
	case "allow-other":
		return "allowOther"
	}
	return flag
}

// unrecorded are flags that no record has: they are about getting an image, which
// is had.
var unrecorded = map[string]bool{
	"cache-dir": true, "cache-size": true, "log-file": true, "log-level": true, "quiet": true, "verbose": true, "platform": true, "plain-http": true,
	"tls-verify": true, "ca-file": true, "creds": true, "authfile": true, "anonymous": true, "registry-api": true, "soci": true, "io-timeout": true, "progress": true,
}

// inNamespace runs the helper anew in another mount namespace, given by a path or
// a process: which one a process is in can only be changed before it has threads.
func inNamespace(a *app, namespace string, args []string) int {
	if namespace[0] != '/' {
		namespace = "/proc/" + namespace + "/ns/mnt"
	}
	self, err := os.Executable()
	if err == nil {
		cmd := exec.Command("nsenter", append([]string{"--mount=" + namespace, "--", self}, withoutNamespace(args)...)...)
		cmd.Args[0] = "nsenter"
		cmd.Env = append(os.Environ(), helperEnv+"=1")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = a.in, a.console.Out, a.console.Err
		err = cmd.Run()
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return helperFails(a, errkind.New(errkind.Invalid, "enter the namespace %s: %w", namespace, err))
}

// helperEnv makes this program the helper whatever its name.
const helperEnv = "PEELFS_HELPER"

// withoutNamespace are the arguments without -N.
func withoutNamespace(args []string) (rest []string) {
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == "-N" || args[i] == "--namespace":
			i++
		case strings.HasPrefix(args[i], "-N"), strings.HasPrefix(args[i], "--namespace="):
		default:
			rest = append(rest, args[i])
		}
	}
	return rest
}
