package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/peelfs/peelfs/internal/errkind"
)

func TestHelperCommandLine(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"debian:12 /mnt", "-- debian:12 /mnt"},
		{"debian:12 /mnt -o rw", "-- debian:12 /mnt"},
		{"peelfs#debian:12 /mnt -sfnv -t fuse.peelfs", "--fake --verbose -- debian:12 /mnt"},
		{"a /mnt -o ro,noauto,nofail,_netdev,x-systemd.automount,x-systemd.idle-timeout=10min,cache_dir=/c,comment=x", "--cache-dir=/c -- a /mnt"},
		{"a /mnt -o allow_other,uid=5,umask=022,platform=linux/arm64,subpath=/usr", "--allow-other --uid=5 --umask=022 --platform=linux/arm64 --subpath=/usr -- a /mnt"},
		{"a /mnt -o noexec,nosuid,nodev,user -o suid,dev", "--noexec --suid --dev -- a /mnt"},
		{"a /mnt -o extra_dirs", "--extra-dirs -- a /mnt"},
		{`a /mnt -o extra_dirs="proc,sys",pull=never`, "--extra-dirs=proc,sys --pull=never -- a /mnt"},
		{`a /mnt -o extra-dirs=proc\,sys,,pull=never,`, "--extra-dirs=proc,sys --pull=never -- a /mnt"},
		{"-o pull=missing -n -- a /mnt", "--pull=missing -- a /mnt"},
		{"a /mnt -s -o nosuchoption,whatever=1,pull=never", "--pull=never -- a /mnt"},
		{"a /mnt -o env.HTTPS_PROXY=http://p:1,env.A=", "-- a /mnt"},
		{"oci:/a,b /mnt", "-- oci:/a,b /mnt"},
	} {
		h, err := parseHelper(strings.Fields(c.args))
		if err != nil {
			t.Errorf("%s: %v", c.args, err)
			continue
		}
		got, err := commandLine(newApp(nil, nil, nil, nil), h)
		if want := append([]string{"mount", "--progress=none"}, strings.Fields(c.want)...); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s:\n%q, want\n%q (%v)", c.args, got, want, err)
		}
	}
}

func TestHelperRefuses(t *testing.T) {
	for _, args := range []string{
		"", "a", "a b c", "a /mnt -q", "a /mnt -o nosuchoption", "a /mnt -o cache_dir", "a /mnt -o foreground", `a /mnt -o x="open`, "a /mnt -o",
	} {
		h, err := parseHelper(strings.Fields(args))
		if err == nil {
			_, err = commandLine(newApp(nil, nil, nil, nil), h)
		}
		if !errkind.Is(err, errkind.Invalid) {
			t.Errorf("%s: %v", args, err)
		}
	}
}

func TestHelperEnvironment(t *testing.T) {
	h, err := parseHelper(strings.Fields("a /mnt -o env.HTTPS_PROXY=http://p:1,ro,env.A="))
	if err != nil || !slices.Equal(h.env, [][2]string{{"HTTPS_PROXY", "http://p:1"}, {"A", ""}}) {
		t.Errorf("%q, %v", h.env, err)
	}
}

// mount(8) has a code for every way to fail, and 0 for none.
func TestMountExit(t *testing.T) {
	want := map[errkind.Kind]int{
		errkind.Internal: 4, errkind.Invalid: 1, errkind.NoFUSE: 2, errkind.LocalFull: 2, errkind.Canceled: 8,
	}
	for k := errkind.Internal; k <= errkind.Canceled; k++ {
		w, ok := want[k]
		if !ok {
			w = 32
		}
		if got := mountExit(k.ExitCode()); got != w {
			t.Errorf("%s: %d, want %d", k, got, w)
		}
	}
	if mountExit(0) != 0 {
		t.Error("success is a failure")
	}
}

func TestIsHelper(t *testing.T) {
	for line, want := range map[string]bool{
		"/sbin/mount.peelfs a /mnt": true, "mount.fuse.peelfs a /mnt": true, "peelfs mount a /mnt": false,
		"peelfs a:1 /mnt -o ro": true, "peelfs mount a -o /mnt": false, "peelfs --quiet /mnt -o x": false, "peelfs": false,
	} {
		if got := isHelper(strings.Fields(line)); got != want {
			t.Errorf("%s: %v", line, got)
		}
	}
}

func FuzzSplitOptions(f *testing.F) {
	for _, s := range []string{"", "a,b=c", `a="x,y",b`, `a\,b`, `"`, `\`, ",,,=,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, list string) {
		options, err := splitOptions(list)
		if err != nil {
			return
		}
		for _, o := range options {
			if o.name == "" || strings.Contains(o.name, "=") || !o.valued && o.value != "" {
				t.Errorf("%q has %+v", list, o)
			}
		}
		// What is escaped whole comes back whole.
		word := "n=" + strings.NewReplacer(`\`, `\\`, `,`, `\,`, `"`, `\"`).Replace(list)
		back, err := splitOptions(word)
		if err != nil || len(back) != 1 || back[0].value != list {
			t.Errorf("%q came back as %+v, %v", list, back, err)
		}
	})
}
