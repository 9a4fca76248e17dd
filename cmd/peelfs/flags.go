package main

import (
	"log/slog"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/internal/errkind"
)

// globalFlags are those of all commands. --quiet is the console's.
type globalFlags struct {
	cacheDir, logFile, logLevel string
	verbose                     int
}

func (g *globalFlags) define(c *output.Console, f *pflag.FlagSet) {
	f.SortFlags = false
	f.StringVar(&g.cacheDir, "cache-dir", "", "the cache (default $PEELFS_CACHE, else the user's cache directory)")
	f.StringVar(&g.logFile, "log-file", "", "append the log to this file instead of stderr")
	f.StringVar(&g.logLevel, "log-level", "", "debug, info, warn or error (default warn)")
	f.BoolVarP(&c.Quiet, "quiet", "q", false, "no progress, no warnings")
	f.CountVarP(&g.verbose, "verbose", "v", "say more; twice for much more")
}

// level is the least severe level that is logged.
func (g *globalFlags) level(quiet bool) (level slog.Level, err error) {
	switch {
	case g.logLevel != "":
		if err := level.UnmarshalText([]byte(g.logLevel)); err != nil {
			return level, errkind.WithHint(errkind.New(errkind.Invalid, "log level %q is not known", g.logLevel),
				"use debug, info, warn or error")
		}
		return level, nil
	case g.verbose > 1:
		return slog.LevelDebug, nil
	case g.verbose == 1:
		return slog.LevelInfo, nil
	case quiet:
		return slog.LevelError, nil
	}
	return slog.LevelWarn, nil
}

// absolute makes paths good in any directory: the process behind a mount does
// not stay where it was started.
func absolute(paths ...*string) error {
	for _, path := range paths {
		if *path == "" {
			continue
		}
		abs, err := absolutePath(*path)
		if err != nil {
			return err
		}
		*path = abs
	}
	return nil
}

// registryFlags are those of all commands that may ask a registry.
type registryFlags struct {
	platform, pull        string
	plainHTTP, tlsVerify  bool
	caFile, creds         string
	authFile, registryAPI string
	anonymous             bool
	soci                  string
	ioTimeout             time.Duration

	set *pflag.FlagSet // that has them: it knows which were given
}

// https reports whether the user demands TLS of every registry, this machine's
// included, by giving one of two defaults.
func (r *registryFlags) https() bool {
	return r.set != nil && (r.set.Changed("plain-http") && !r.plainHTTP || r.set.Changed("tls-verify") && r.tlsVerify && !r.plainHTTP)
}

func (r *registryFlags) define(f *pflag.FlagSet) {
	f.SortFlags = false
	r.set = f
	f.StringVar(&r.platform, "platform", "", "os/arch[/variant] of the image (default this machine's)")
	f.StringVar(&r.pull, "pull", "auto", "ask the registry what the name means: auto|always|missing|never")
	f.BoolVar(&r.plainHTTP, "plain-http", false, "speak http with the registry (loopback needs no flag; =false demands https of it too)")
	f.BoolVar(&r.tlsVerify, "tls-verify", true, "check the registry's certificate; =false also follows redirects to http")
	f.StringVar(&r.caFile, "ca-file", "", "PEM file of further certificate authorities")
	f.StringVar(&r.creds, "creds", "", "user:password for the registry")
	f.StringVar(&r.authFile, "authfile", "", "credentials as docker and podman write them")
	f.BoolVar(&r.anonymous, "anonymous", false, "use no credentials")
	f.StringVar(&r.registryAPI, "registry-api", "auto", "auto|v1|v2")
	f.StringVar(&r.soci, "soci", "auto", "SOCI indexes: off|v2: those that the image names|on: all|auto: on, v2 with a digest")
	f.DurationVar(&r.ioTimeout, "io-timeout", 0, "how long a read waits for data before it fails (default 5m of all, 1m of silence)")
}

// sessionFlags are what a session is opened with.
type sessionFlags struct {
	registryFlags
	cacheSize string
	symlinks  string // "" for commands that look into an image: they show what it has
}

// defaultSession are the flags of commands that offer none of them.
func defaultSession() *sessionFlags {
	f := &sessionFlags{}
	f.define(pflag.NewFlagSet("", pflag.ContinueOnError))
	return f
}

// define adds the flags about registries and about the size of the cache.
func (s *sessionFlags) define(f *pflag.FlagSet) {
	s.registryFlags.define(f)
	f.StringVar(&s.cacheSize, "cache-size", "", "keep at most this much layer data, as 2GiB (default: no bound)")
}

// lookFlags gives a command that looks into an image the flags that all of those
// have. Where the command means something else by -h, help is --help alone.
func lookFlags(cmd *cobra.Command, s *sessionFlags) {
	if cmd.Flags().ShorthandLookup("h") != nil {
		cmd.Flags().Bool("help", false, "what is said here")
	}
	cmd.Flags().SortFlags = false
	s.define(cmd.Flags())
	briefHelp(cmd)
}

func progressFlag(f *pflag.FlagSet, mode *string) {
	f.StringVar(mode, "progress", "auto", "auto|bar|plain|none")
}

func formatFlag(c *output.Console, f *pflag.FlagSet) {
	f.StringVar(&c.Format, "format", "table", "table|json")
}

// parseSize reads 500MB, 2GiB, 1.5g or a number of bytes; "" and "0" are 0.
func parseSize(s string) (int64, error) {
	number := strings.TrimRightFunc(s, func(r rune) bool { return unicode.IsLetter(r) || r == ' ' })
	unit := strings.ToLower(strings.TrimSpace(s[len(number):]))
	factor, ok := map[string]float64{
		"": 1, "b": 1,
		"k": 1 << 10, "kib": 1 << 10, "kb": 1e3,
		"m": 1 << 20, "mib": 1 << 20, "mb": 1e6,
		"g": 1 << 30, "gib": 1 << 30, "gb": 1e9,
		"t": 1 << 40, "tib": 1 << 40, "tb": 1e12,
	}[unit]
	if s == "" {
		return 0, nil
	}
	value, err := strconv.ParseFloat(number, 64)
	if err != nil || !ok || !(value >= 0 && value*factor < 1<<62) {
		return 0, errkind.WithHint(errkind.New(errkind.Invalid, "size %q is malformed", s), "write it as 2GiB or 500MB")
	}
	return int64(value * factor), nil
}
