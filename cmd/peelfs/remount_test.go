package main

import (
	"bytes"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/peelfs/peelfs/cmd/peelfs/mounttab"
)

// A remount succeeds if it changes nothing, and is refused otherwise. Options come
// from fstab, from the user, and from the kernel's list, which mount(8) adds.
func TestRemount(t *testing.T) {
	const kernel = "ro,nosuid,nodev,relatime,remount,user_id=0,group_id=0,max_read=1048576"
	for _, c := range []struct {
		mounted, options string
		code             int
		diag             string
	}{
		{"", "remount", 0, ""},
		{"", "remount,ro,nosuid,nodev,defaults,x-systemd.automount", 0, ""},
		{"", kernel, 0, ""},
		{"", kernel + ",rootmode=40000,default_permissions", 0, ""},
		{"--noexec", kernel + ",noexec", 0, ""},
		{"--suid --dev", "remount,suid,dev", 0, ""},
		{"--uid=7 --umask=022", kernel + ",uid=7,umask=022", 0, ""},
		{"--extra-dirs=proc,sys", `remount,extra_dirs="proc,sys"`, 0, ""},
		{"--allow-other", kernel + ",allow_other", 0, ""},
		{"", "remount,symlinks=rewrite,cache_dir=/elsewhere,io_timeout=5s,platform=linux/arm64", 0, ""},
		{"--subpath=/etc", "remount,subpath=/etc", 0, ""},
		{"", "remount,noexec", 32, "the option noexec of a mount cannot be changed"},
		{"", "remount,suid", 32, "the option suid of a mount cannot be changed"},
		{"", "remount,allow_other", 32, "the option allow_other of a mount cannot be changed"},
		{"--uid=7", "remount,uid=8", 32, "the option uid of a mount cannot be changed"},
		{"", "remount,symlinks=raw", 32, "the option symlinks of a mount cannot be changed"},
		{"--subpath=/etc", "remount,subpath=/usr", 32, "unmount it, and mount it anew"},
		{"", "remount,nosuch", 1, "the mount option nosuch is not known"},
		{"", "remount,uid", 1, "the mount option uid needs a value"},
	} {
		diag, code := remountOf(t, c.mounted, "-o", c.options)
		if code != c.code || !strings.Contains(diag, c.diag) || c.diag == "" && diag != "" {
			t.Errorf("%s, then %s: exit code %d, want %d: %s", c.mounted, c.options, code, c.code, diag)
		}
	}
	if diag, code := remountOf(t, "", "-s", "-o", "remount,nosuch"); code != 0 {
		t.Errorf("sloppy: exit code %d: %s", code, diag)
	}
}

// remountOf is what the helper says of a mount with flags that it is to remount.
func remountOf(t *testing.T, flags string, args ...string) (diag string, code int) {
	t.Helper()
	var f mountFlags
	runtime, dir := t.TempDir(), t.TempDir()
	env := func(name string) string { return map[string]string{"PEELFS_RUNTIME": runtime}[name] }
	var stderr bytes.Buffer
	a := newApp(strings.NewReader(""), &bytes.Buffer{}, &stderr, env)
	table, err := a.mounts()
	if err != nil {
		t.Fatal(err)
	}
	lease, err := table.Add(mounttab.Mount{Mountpoint: dir, PID: os.Getpid(), Since: time.Now(), Options: recorded(t, &f, flags)})
	if err != nil {
		t.Fatal(err)
	}
	defer lease.Release()
	code = helperMain(a, append([]string{"peelfs:a@sha256:0", dir}, args...))
	return stderr.String(), code
}

// recorded are the options in the record of a mount with flags.
func recorded(t *testing.T, f *mountFlags, flags string) map[string]string {
	t.Helper()
	set := pflag.NewFlagSet("mount", pflag.ContinueOnError)
	f.define(set)
	if err := set.Parse(strings.Fields(flags)); err != nil {
		t.Fatal(err)
	}
	return f.recorded()
}

func TestRemountOfNothing(t *testing.T) {
	var stderr bytes.Buffer
	runtime := t.TempDir()
	a := newApp(nil, &bytes.Buffer{}, &stderr, func(name string) string { return map[string]string{"PEELFS_RUNTIME": runtime}[name] })
	if code := helperMain(a, []string{"a", t.TempDir(), "-o", "remount"}); code != 32 || !strings.Contains(stderr.String(), "is not a peelfs mount") {
		t.Errorf("exit code %d: %s", code, &stderr)
	}
}

func TestRecordedOptions(t *testing.T) {
	always := map[string]string{"symlinks": "rewrite", "prefetch": "auto", "pull": "auto"}
	for flags, want := range map[string]map[string]string{
		"":                              {},
		"--noexec --suid --dev":         {"noexec": "true", "suid": "true", "dev": "true"},
		"--noexec=false":                {},
		"--allow-other --uid=5 --gid=6": {"allowOther": "true", "uid": "5", "gid": "6"},
		"--umask=022 --fmask=1 --dmask=2 --subpath=/etc --layers=1": {"umask": "022", "fmask": "1", "dmask": "2", "subpath": "/etc", "layers": "1"},
		"--extra-dirs":       {"extraDirs": "usual"},
		"--symlinks=raw":     {"symlinks": "raw"},
		"--creds=joe:secret": {},
	} {
		all := maps.Clone(always)
		maps.Copy(all, want)
		var f mountFlags
		if got := recorded(t, &f, flags); !maps.Equal(got, all) {
			t.Errorf("%s: %v, want %v", flags, got, slices.Sorted(maps.Keys(all)))
		}
	}
}
