package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/peelfs/peelfs/internal/errkind"
)

func manCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the manual pages into a directory",
		Hidden: true,
		Args:   takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			for name, text := range manPages(cmd.Root()) {
				if err := os.WriteFile(filepath.Join(args[0], name), []byte(text), 0o644); err != nil {
					return errkind.Wrap(errkind.Invalid, err)
				}
			}
			return nil
		},
	}
}

// manPages are all pages, by file name: the program's, one for each command, and
// mount(8)'s helper's.
func manPages(root *cobra.Command) map[string]string {
	root.InitDefaultHelpFlag()
	pages := map[string]string{"peelfs.1": rootPage(root), "mount.peelfs.8": helperPage()}
	var add func(*cobra.Command)
	add = func(parent *cobra.Command) {
		for _, cmd := range parent.Commands() {
			if cmd.IsAvailableCommand() {
				pages[strings.ReplaceAll(cmd.CommandPath(), " ", "-")+".1"] = commandPage(cmd)
				add(cmd)
			}
		}
	}
	add(root)
	return pages
}

// page is a manual page in the making, in the language of man(7).
type page struct{ strings.Builder }

func newPage(name, section, about string) *page {
	p := &page{}
	fmt.Fprintf(p, ".TH %s %s %q %q \"peelfs manual\"\n", roff(strings.ToUpper(name)), section, date, "peelfs "+version)
	p.section("NAME")
	p.text(name + " - " + about)
	return p
}

func (p *page) section(name string) { fmt.Fprintf(p, ".SH %s\n", name) }

// roff makes text that man(7) shows as it is.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}

// text fills lines; an empty one begins a paragraph.
func (p *page) text(s string) {
	for line := range strings.Lines(strings.TrimSpace(s) + "\n") {
		line = strings.TrimSpace(line)
		if line == "" {
			line = ".PP"
		} else {
			line = roff(line)
		}
		p.WriteString(line + "\n")
	}
}

// verbatim keeps lines as they are.
func (p *page) verbatim(s string) {
	p.WriteString(".nf\n")
	for line := range strings.Lines(strings.Trim(s, "\n") + "\n") {
		p.WriteString(roff(strings.TrimRight(line, "\n")) + "\n")
	}
	p.WriteString(".fi\n")
}

// item is a term and what it means.
func (p *page) item(term, meaning string) {
	fmt.Fprintf(p, ".TP\n\\fB%s\\fR\n%s\n", roff(term), roff(meaning))
}

func (p *page) flags(name string, f *pflag.FlagSet) {
	if !f.HasAvailableFlags() {
		return
	}
	p.section(name)
	f.VisitAll(func(flag *pflag.Flag) {
		if flag.Hidden {
			return
		}
		term := "--" + flag.Name
		if flag.Shorthand != "" {
			term = "-" + flag.Shorthand + ", " + term
		}
		kind, usage := pflag.UnquoteUsage(flag)
		if kind != "" {
			term += "=" + strings.ToUpper(kind)
		}
		if d := flag.DefValue; d != "" && d != "false" && d != "0" && d != "[]" && d != "0s" {
			usage += " (default " + d + ")"
		}
		p.item(term, usage)
	})
}

func rootPage(root *cobra.Command) string {
	p := newPage("peelfs", "1", "mount container images lazily, and look into them")
	p.section("SYNOPSIS")
	p.verbatim("peelfs COMMAND [flags] [arguments]")
	p.section("COMMANDS")
	for _, cmd := range root.Commands() {
		if cmd.IsAvailableCommand() {
			p.item("peelfs "+cmd.Name(), cmd.Short)
		}
	}
	p.flags("FLAGS OF ALL COMMANDS", root.PersistentFlags())
	p.flags("FLAGS OF COMMANDS THAT ASK A REGISTRY", commonFlags().Flags())
	p.surroundings(nil)
	p.section("EXAMPLES")
	p.verbatim(root.Example)
	p.section("SEE ALSO")
	p.text("mount.peelfs(8), fusermount3(1), systemd.mount(5)")
	return p.String()
}

// surroundings are the sections about what all commands have in common. codes tells
// of exit codes that mean something else here.
func (p *page) surroundings(codes map[int]string) {
	p.section("EXIT STATUS")
	if codes[0] == "" {
		p.item("0", "done")
	}
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		p.item(fmt.Sprint(code), codes[code])
	}
	for kind := errkind.Internal; kind <= errkind.Canceled; kind++ {
		if codes[kind.ExitCode()] == "" {
			p.item(fmt.Sprint(kind.ExitCode()), kind.String())
		}
	}
	p.section("ENVIRONMENT")
	p.item("PEELFS_CACHE", "the cache; else $XDG_CACHE_HOME/peelfs, ~/.cache/peelfs, or /var/cache/peelfs for root")
	p.item("PEELFS_RUNTIME", "records of what is mounted; else $XDG_RUNTIME_DIR/peelfs, /tmp/peelfs-UID, or /run/peelfs for root")
	p.item("NO_COLOR, CLICOLOR_FORCE", "no colours; colours even without a terminal")
	p.item("HTTP_PROXY, HTTPS_PROXY, NO_PROXY", "as everywhere")
	p.item("DOCKER_CONFIG, REGISTRY_AUTH_FILE", "where credentials are, as for docker and podman")
	p.item("LC_ALL, LC_CTYPE, LANG", "whether patterns of find are about characters or bytes")
	p.section("FILES")
	p.item("~/.cache/peelfs", "the cache; /var/cache/peelfs for root")
	p.item("$XDG_RUNTIME_DIR/peelfs", "records of what is mounted; /run/peelfs for root")
	p.item("~/.docker/config.json, $XDG_RUNTIME_DIR/containers/auth.json", "credentials, as docker and podman write them")
	p.item("DIR/.peelfs/", "in every mount, found by its name and never listed: manifest.json, config.json, history.json, status.json, layers/N/")
}

func commandPage(cmd *cobra.Command) string {
	p := newPage(strings.ReplaceAll(cmd.CommandPath(), " ", "-"), "1", cmd.Short)
	p.section("SYNOPSIS")
	p.verbatim(cmd.UseLine())
	p.section("DESCRIPTION")
	if cmd.Long != "" {
		p.text(cmd.Long)
	} else {
		p.text(cmd.Short + ".")
	}
	p.flags("FLAGS", cmd.NonInheritedFlags())
	if cmd.Example != "" {
		p.section("EXAMPLES")
		p.verbatim(cmd.Example)
	}
	p.surroundings(exitCodes[cmd.Name()])
	p.section("SEE ALSO")
	p.text("peelfs(1) for the flags of all commands")
	return p.String()
}

// exitCodes are those of commands that have others than all.
var exitCodes = map[string]map[int]string{
	"diff": {0: "the same", exitDiffers: "different", exitTrouble: "invalid, or internal"},
}

func helperPage() string {
	p := newPage("mount.peelfs", "8", "mount a container image by mount(8) or fstab")
	p.section("SYNOPSIS")
	p.verbatim("mount -t peelfs REF DIR [-o OPTIONS]\nmount.peelfs REF DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]")
	p.section("DESCRIPTION")
	p.text(`Mounts the image REF on DIR as "peelfs mount" does, and returns when the mount
answers. It is what mount(8) runs for the types peelfs and fuse.peelfs.

OPTIONS are the flags of peelfs-mount(1), with or without a value; _ stands for -
as well. Those that are customary in fstab(5) are accepted. A value with commas is
quoted by double quotes, or each comma by a backslash. env.NAME=VALUE sets a
variable of the environment.`)
	p.section("OPTIONS")
	p.item("-s", "options that are not known are no error")
	p.item("-f", "do everything but mount")
	p.item("-n", "for mount(8); means nothing")
	p.item("-v", "say more")
	p.item("-N NAMESPACE", "mount in this mount namespace: a path, or the id of a process in it")
	p.section("ENVIRONMENT")
	p.item("PATH, HOME", "mount(8) may clear them: name the cache by an option, as cache_dir=DIR, and other variables by env.NAME=VALUE")
	p.section("FILES")
	p.item("/sbin/mount.peelfs, /sbin/mount.fuse.peelfs", "links to peelfs")
	p.item("/etc/fstab", "where mounts may be written down")
	p.section("EXIT STATUS")
	for _, e := range []struct {
		code int
		text string
	}{
		{0, "mounted"}, {mountUsage, "wrong options or arguments"}, {mountSystem, "no FUSE, or no place for the cache"},
		{mountBug, "a bug"}, {mountInterrupted, "interrupted"}, {mountFailed, "the image could not be had or mounted"},
	} {
		p.item(fmt.Sprint(e.code), e.text)
	}
	p.section("EXAMPLES")
	p.verbatim(`mount -t peelfs docker.io/library/debian:12 /mnt/debian
docker.io/library/debian:12 /mnt/debian peelfs ro,noauto,nofail,_netdev,x-systemd.automount,x-systemd.idle-timeout=10min 0 0`)
	p.section("SEE ALSO")
	p.text("peelfs(1), peelfs-mount(1), mount(8), fstab(5), systemd.mount(5)")
	return p.String()
}
