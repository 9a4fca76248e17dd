package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/cmd/peelfs/progress"
	"github.com/peelfs/peelfs/fetch"
	"github.com/peelfs/peelfs/fetch/login"
	"github.com/peelfs/peelfs/fusefs"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/view"
)

// finding is what a check found, with the keys of `peelfs doctor --format json`.
type finding struct {
	Check string `json:"check"`
	State string `json:"state"` // ok, warning or failed
	Text  string `json:"text"`
	Hint  string `json:"hint,omitempty"`
	kind  errkind.Kind
}

const (
	healthy = "ok"
	warning = "warning"
	failed  = "failed"
)

func doctorCommand(a *app) *cobra.Command {
	var f sessionFlags
	cmd := &cobra.Command{
		Use:   "doctor [flags] [REF...]",
		Short: "Check this machine, and say what to install or set",
		Long: `Check what peelfs needs of this machine: FUSE, by mounting something empty for a
moment; the cache; the kernel's time limits; credentials, for docker.io, the
registries known here and those named, and whether a named image can be had; and
mounts whose process is gone. The exit code is that of the first check that failed.`,
		Example: `  peelfs doctor
  peelfs doctor registry.example.com/team/app:1`,
		RunE: inSession(a, &f, func(ctx context.Context, c *output.Console, s *session, args []string) error {
			found := (&checkup{a: a, s: s, flags: &f}).examine(ctx, args)
			if err := c.Emit(found, func(out *output.Screen) { findings(out, found) }); err != nil {
				return err
			}
			for _, f := range found {
				if f.State == failed {
					return &exitError{f.kind.ExitCode()}
				}
			}
			return nil
		}),
	}
	formatFlag(a.console, cmd.Flags())
	f.registryFlags.define(cmd.Flags())
	briefHelp(cmd)
	cmd.ValidArgsFunction = completeRefs(a, &f)
	return cmd
}

func findings(out *output.Screen, found []finding) {
	colours := map[string]output.Colour{healthy: output.Green, warning: output.Yellow, failed: output.Red}
	for _, f := range found {
		mark := out.Paint(colours[f.State], fmt.Sprintf("%-7s", f.State))
		fmt.Fprintf(out, "%s  %-12s %s\n", mark, f.Check, output.Printable(f.Text))
		if f.Hint != "" {
			fmt.Fprintf(out, "%22s %s\n", "", output.Printable(f.Hint))
		}
	}
}

// checkup is what the checks look at beside the machine.
type checkup struct {
	a     *app
	s     *session
	flags *sessionFlags
}

// examine makes all checks, those first that others depend on.
func (c *checkup) examine(ctx context.Context, refs []string) (found []finding) {
	found = append(found, checkDevice(), checkHelper(), c.checkMounting(), checkAllowOther(), checkMountHelper(), checkKernel(), c.checkCache())
	found = append(found, c.checkCredentials(ctx)...)
	for _, ref := range refs {
		found = append(found, c.checkImage(ctx, ref)...)
	}
	return append(found, c.checkDead()...)
}

func fine(check, format string, args ...any) finding {
	return finding{Check: check, State: healthy, Text: fmt.Sprintf(format, args...)}
}

func doubtful(check, hint, format string, args ...any) finding {
	return finding{Check: check, State: warning, Text: fmt.Sprintf(format, args...), Hint: hint}
}

func broken(check string, err error) finding {
	return finding{Check: check, State: failed, Text: err.Error(), Hint: errkind.Hint(err), kind: errkind.Of(err)}
}

func checkDevice() finding {
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	switch {
	case err == nil:
		f.Close()
		return fine("/dev/fuse", "can be opened")
	case errors.Is(err, fs.ErrPermission):
		return doubtful("/dev/fuse", "set-id fusermount3 may open it all the same; else: chmod 666 /dev/fuse", "may not be opened by this user")
	}
	return broken("/dev/fuse", errkind.WithHint(errkind.New(errkind.NoFUSE, "%w", err),
		"load the module: modprobe fuse; in a container: --device /dev/fuse --cap-add SYS_ADMIN"))
}

func checkHelper() finding {
	path, err := exec.LookPath("fusermount3")
	if err != nil {
		if os.Geteuid() == 0 {
			return doubtful("fusermount3", "for other users, install the package fuse3", "is missing; root does not need it")
		}
		return broken("fusermount3", errkind.WithHint(errkind.New(errkind.NoFUSE, "is missing, and users mount by it"), "install the package fuse3"))
	}
	info, err := os.Stat(path)
	if err == nil && info.Mode()&fs.ModeSetuid == 0 && os.Geteuid() != 0 {
		return doubtful("fusermount3", "chmod u+s "+path, "%s is not set-id root: users can mount only in namespaces of their own", path)
	}
	return fine("fusermount3", "%s", path)
}

// checkMounting mounts an empty view for a moment: nothing else tells for sure.
func (c *checkup) checkMounting() finding {
	dir, err := os.MkdirTemp("", "peelfs-doctor-")
	if err != nil {
		return broken("mounting", errkind.Wrap(errkind.LocalFull, err))
	}
	defer os.Remove(dir)
	server, err := fusefs.Mount(dir, view.New(nil, view.Options{}), fusefs.Options{FSName: "peelfs:doctor", Logger: c.a.log})
	if err != nil {
		return broken("mounting", err)
	}
	if err := server.Unmount(false); err != nil {
		return broken("mounting", errors.Join(err, server.Unmount(true)))
	}
	return fine("mounting", "works for %s", map[bool]string{true: "root", false: "this user"}[os.Geteuid() == 0])
}

func checkAllowOther() finding {
	conf, err := os.ReadFile("/etc/fuse.conf")
	switch {
	case os.Geteuid() == 0:
		return fine("allow_other", "root may always let other users in")
	case err != nil:
		return doubtful("allow_other", "have root add the line user_allow_other to /etc/fuse.conf, if it is wanted", "/etc/fuse.conf: %v", err)
	}
	for line := range strings.Lines(string(conf)) {
		if strings.TrimSpace(line) == "user_allow_other" {
			return fine("allow_other", "/etc/fuse.conf lets users let others in")
		}
	}
	return doubtful("allow_other", "have root add the line user_allow_other to /etc/fuse.conf, if it is wanted",
		"--allow-other is for root only, as /etc/fuse.conf is")
}

func checkMountHelper() finding {
	for _, dir := range []string{"/sbin", "/usr/sbin"} {
		if _, err := os.Stat(filepath.Join(dir, "mount.peelfs")); err == nil {
			return fine("mount(8)", "%s/mount.peelfs is there: fstab and `mount -t peelfs` work", dir)
		}
	}
	self, err := os.Executable()
	if err != nil {
		self = "/usr/bin/peelfs"
	}
	return doubtful("mount(8)", "for fstab and `mount -t peelfs`: ln -s "+self+" /sbin/mount.peelfs", "there is no /sbin/mount.peelfs")
}

// checkKernel tells how long this kernel waits for an answer of a file system.
func checkKernel() finding {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return broken("kernel", err)
	}
	release := unix.ByteSliceToString(name.Release[:])
	var limits []string
	for _, key := range []string{"default_request_timeout", "max_request_timeout"} {
		text, err := os.ReadFile("/proc/sys/fs/fuse/" + key)
		if v := strings.TrimSpace(string(text)); err == nil && v != "0" {
			limits = append(limits, "fs.fuse."+key+"="+v)
		}
	}
	if len(limits) > 0 {
		return doubtful("kernel", "reads that wait longer than three quarters of that fail; set it to 0 for slow networks",
			"Linux %s ends a mount that does not answer in time: %s", release, strings.Join(limits, ", "))
	}
	return fine("kernel", "Linux %s, without a time limit for requests", release)
}

// scarce is how little free space is worth a word, in bytes.
const scarce = 1 << 30

func (c *checkup) checkCache() finding {
	if _, err := c.s.layers(); err != nil {
		return broken("cache", err)
	}
	probe, err := os.CreateTemp(c.s.dir, ".doctor-")
	if err != nil {
		return broken("cache", errkind.WithHint(errkind.New(errkind.LocalFull, "%s cannot be written: %w", c.s.dir, err), "name another directory with --cache-dir or PEELFS_CACHE"))
	}
	probe.Close()
	os.Remove(probe.Name())
	var st unix.Statfs_t
	if err := unix.Statfs(c.s.dir, &st); err != nil {
		return broken("cache", errkind.New(errkind.LocalFull, "%s: %w", c.s.dir, err))
	}
	free := int64(st.Bavail) * st.Bsize
	if free < scarce {
		return doubtful("cache", "make room: peelfs cache prune; or bound it: --cache-size", "%s has only %s free", c.s.dir, progress.Size(free))
	}
	return fine("cache", "%s can be written, with %s free", c.s.dir, progress.Size(free))
}

func (c *checkup) checkCredentials(ctx context.Context) (found []finding) {
	f := c.flags
	finder, err := login.NewFinder(login.Options{Creds: f.creds, AuthFile: f.authFile, Anonymous: f.anonymous})
	if err != nil {
		return []finding{broken("credentials", err)}
	}
	for _, host := range registries(c.s) {
		cred, source, err := finder.Find(ctx, host, "")
		switch {
		case err != nil:
			found = append(found, finding{Check: "credentials", State: warning, Text: host + ": " + err.Error(), Hint: errkind.Hint(err)})
		case cred.Username == "" && cred.RefreshToken == "" && cred.AccessToken == "":
			found = append(found, fine("credentials", "%s: none, so as anybody", host))
		default:
			found = append(found, fine("credentials", "%s: from %s", host, source))
		}
	}
	return found
}

// registries are docker.io and the hosts of the names that are known.
func registries(s *session) []string {
	hosts := []string{"docker.io"}
	records, _ := s.tags.List()
	for _, r := range records {
		if ref, err := fetch.ParseReference(r.Name); err == nil && ref.IsRegistry() {
			hosts = append(hosts, ref.Domain())
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

func (c *checkup) checkImage(ctx context.Context, arg string) []finding {
	n, err := c.s.reference(arg)
	if err == nil {
		_, err = c.s.client.Head(ctx, n.ref)
	}
	if err != nil {
		return []finding{broken("image", fmt.Errorf("%s: %w", arg, err))}
	}
	return []finding{fine("image", "%s can be had", n.ref)}
}

// checkDead looks for mounts whose process is gone, in the records and in the
// kernel's list.
func (c *checkup) checkDead() (found []finding) {
	dirs := map[string]bool{}
	if table, err := c.a.mounts(); err != nil {
		found = append(found, broken("records", err))
	} else if entries, err := table.List(); err == nil {
		for _, e := range entries {
			dirs[e.Mountpoint] = !e.Alive
		}
	}
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) { return m.FSType != "fuse.peelfs", false })
	if err != nil {
		return append(found, broken("mounts", err))
	}
	for _, m := range mounts {
		if dead, err := fusefs.Dead(m.Mountpoint); err == nil && dead {
			dirs[m.Mountpoint] = true
		}
	}
	dead := 0
	for dir, gone := range dirs {
		if gone {
			dead++
			found = append(found, doubtful("mounts", "clear it with: peelfs umount "+dir, "%s: its process is gone", dir))
		}
	}
	if dead == 0 {
		found = append(found, fine("mounts", "%d, and all are served", len(mounts)))
	}
	return found
}
