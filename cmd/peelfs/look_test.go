package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/peelfs/peelfs/layers"
)

func TestHistoryAsJSON(t *testing.T) {
	d := appDesk(t)
	var rows []historyRow
	d.into(&rows, "history", "--format", "json", d.expand("{1}"))
	var steps []string
	for _, r := range rows {
		steps = append(steps, r.CreatedBy)
		if (r.Layer < 0) != (r.Digest == "") || r.Layer < 0 && r.Size != 0 || r.Layer >= 0 && r.Size <= 0 {
			t.Errorf("%+v", r)
		}
	}
	if !slices.Equal(steps, []string{"COPY top /", "ENV A=1", "RUN configure", "base"}) || rows[0].Layer != 2 || rows[1].Layer != -1 || rows[3].Layer != 0 {
		t.Errorf("%+v", rows)
	}
	if rows[2].Comment != "second" {
		t.Errorf("the comment is %q", rows[2].Comment)
	}
}

func TestInspectAsJSON(t *testing.T) {
	d := appDesk(t)
	var whole inspected
	d.into(&whole, "inspect", d.expand("{1}"))
	if whole.Reference != d.expand("{1}") || whole.Digest != whole.Manifest || whole.Platform != "linux/amd64" || len(whole.Layers) != 3 || !strings.Contains(string(whole.Config), `"rootfs"`) {
		t.Errorf("%+v", whole)
	}
	var size int64
	for _, l := range whole.Layers {
		size += l.Size
		if l.State != layers.Cold || l.Proof != "none" || l.Fetched != 0 {
			t.Errorf("nothing was fetched, yet %+v", l)
		}
	}
	if whole.Size != size {
		t.Errorf("the size is %d, of layers with %d", whole.Size, size)
	}
	d.must("pull", d.expand("{1}"))
	var all []layerRow
	d.into(&all, "inspect", "--layers", "--format", "json", d.expand("{1}"))
	for i, l := range all {
		if l.State != layers.Complete || l.Format != "gzip" || l.Present != l.Uncompressed || l.Digest != whole.Layers[i].Digest {
			t.Errorf("layer %d after a pull: %+v", i, l)
		}
	}
	manifest, config := d.must("inspect", "--raw", d.expand("{1}")), d.must("inspect", "--config", d.expand("{1}"))
	if !strings.Contains(manifest, `"schemaVersion":2`) || !strings.Contains(config, `"diff_ids"`) {
		t.Errorf("%s\n%s", manifest, config)
	}
	d.try([]call{
		{line: "inspect --raw --config {1}", code: 2, diag: []string{"only one of"}},
		{line: "inspect --layers --raw {1}", code: 2, diag: []string{"only one of"}},
		{line: "inspect {repo}:no", code: 3, diag: []string{"{repo}:no"}},
		{line: "inspect --platform linux/s390x {1}", code: 6, diag: []string{"linux/s390x"}},
	})
}

func TestStatAsJSON(t *testing.T) {
	d := appDesk(t)
	var all []fullEntry
	d.into(&all, "stat", "--format", "json", d.expand("{1}:/etc/conf"), d.expand("{1}:/link"), d.expand("{1}:/pipe"))
	if len(all) != 3 {
		t.Fatalf("%+v", all)
	}
	conf, link, pipe := all[0], all[1], all[2]
	if conf.Path != "/etc/conf" || conf.Type != "file" || conf.Mode != "4750" || conf.UID != 5 || conf.GID != 6 || conf.Size != 4 || conf.Links != 2 ||
		conf.Layer != 1 || conf.CreatedBy != "RUN configure" || conf.Xattrs["user.k"] != "76" || conf.Inode == 0 || !strings.HasPrefix(conf.LayerDigest, "sha256:") {
		t.Errorf("%+v", conf)
	}
	if link.Type != "symlink" || link.Target != "etc/conf" || pipe.Type != "fifo" || pipe.Layer != 2 {
		t.Errorf("%+v, %+v", link, pipe)
	}
	if d.into(&all, "stat", "-L", "--format", "json", d.expand("{1}:/link")); all[0].Type != "file" || all[0].Inode != conf.Inode {
		t.Errorf("%+v", all[0])
	}
	d.try([]call{
		{line: "stat {1}:/etc/conf", out: []string{"4750 -rwsr-x---", "owner     5:6", "layer     1 sha256:", "made by   RUN configure", "xattr     user.k 0x76"}},
		{line: "stat {1}:/link {1}:/pipe", out: []string{"/link -> etc/conf", "\n\npath      /pipe", "fifo"}},
		{line: "stat {1}:/nosuch {1}:/link", code: 3, out: []string{"/link"}, diag: []string{"/nosuch"}},
		{line: "stat {1}", out: []string{"type      dir"}},
	})
}

func TestWhichAsJSON(t *testing.T) {
	d := appDesk(t)
	for _, c := range []struct {
		path, real string
		exists     bool
		acts       string // layer and what it does, top first
	}{
		{"/etc/conf", "/etc/conf", true, "1 has >, 0 has hidden"},
		{"/top", "/top", true, "2 has >"},
		{"/old/gone", "/old/gone", false, "1 whiteout, 0 has hidden"},
		{"link", "/link", true, "1 has >"},
	} {
		var r whichReport
		d.into(&r, "which", "--format", "json", d.expand("{1}"), c.path)
		var acts []string
		for _, l := range r.Layers {
			act := []string{string(rune('0' + l.Layer)), l.Act}
			if l.Decides {
				act = append(act, ">")
			}
			if l.Hidden {
				act = append(act, "hidden")
			}
			acts = append(acts, strings.Join(act, " "))
		}
		if got := strings.Join(acts, ", "); got != c.acts || r.Exists != c.exists || r.Real != c.real {
			t.Errorf("%s: %s, %+v", c.path, got, r)
		}
	}
	d.try([]call{
		{line: "which {1} /old/gone", out: []string{"is not in the image: an upper layer takes it away", "deletes /old"}},
		{line: "which {1}:/etc/conf", out: []string{"> ", "has a file, hidden", "RUN configure"}},
		{line: "which {1} /never", code: 3, diag: []string{"/never"}},
		{line: "which {1}", code: 2, diag: []string{"REF:/PATH"}},
	})
}

func TestUsageAsJSON(t *testing.T) {
	d := appDesk(t)
	var rows []duRow
	d.into(&rows, "du", "--format", "json", d.expand("{1}"))
	sums := map[string]duRow{}
	for _, r := range rows {
		sums[r.Path] = r
	}
	if etc := sums["/etc"]; etc.Bytes != 4 || etc.Files != 1 || etc.Entries != 3 || etc.Type != "dir" {
		t.Errorf("a file with two names counts once: %+v", etc)
	}
	if root := sums["/"]; root.Bytes != 100_000+4+4 || len(rows) != 2 {
		t.Errorf("%+v", rows)
	}
	var byLayer []duLayer
	d.into(&byLayer, "du", "--layers", "--format", "json", d.expand("{1}"))
	if len(byLayer) != 3 || byLayer[0].Layer != 2 || byLayer[2].Hidden != 304 || byLayer[2].Duplicated != 4 || byLayer[2].CreatedBy != "base" || byLayer[1].Hidden != 0 {
		t.Errorf("%+v", byLayer)
	}
	d.try([]call{
		{line: "du -s {1}", out: []string{"100008  /\n"}},
		{line: "du -s -h {1}:/etc", out: []string{"4 B  /etc\n"}},
		{line: "du -a {1}:/etc", out: []string{"/etc/conf\n"}},
		{line: "du -0 {1}:/etc", out: []string{"/etc\x00"}},
		{line: "du --layers {1}", out: []string{"HIDDEN", "DUPLICATED", "all "}},
		{line: "du {1}:/nosuch", code: 3, diag: []string{"/nosuch"}},
	})
}

func TestTopAsJSON(t *testing.T) {
	d := appDesk(t)
	var r topReport
	d.into(&r, "top", "-n", "1", "--format", "json", d.expand("{1}"))
	if len(r.Layers) != 3 || len(r.Files) != 1 || r.Files[0].Path != "/big" || len(r.Directories) != 1 || r.Directories[0].Path != "/" {
		t.Errorf("%+v", r)
	}
	if len(r.Hidden) != 1 || r.Hidden[0].Path != "/old/gone" || r.Hidden[0].Size != 300 || r.Hidden[0].Layer != 0 || r.Hidden[0].By != 1 || r.Hidden[0].Duplicated {
		t.Errorf("%+v", r.Hidden)
	}
	if d.into(&r, "top", "--format", "json", d.expand("{1}")); len(r.Hidden) != 2 || !r.Hidden[1].Duplicated {
		t.Errorf("%+v", r.Hidden)
	}
	d.try([]call{
		{line: "top -n 0 {1}", code: 2, diag: []string{"-n 0: use 1 to"}},
		{line: "top -n 10001 {1}", code: 2, diag: []string{"use 1 to"}},
		{line: "top {1}", out: []string{"/big", "/old/gone"}},
	})
}

func TestDiffAsJSON(t *testing.T) {
	d := appDesk(t)
	var changes []difference
	out, _, code := d.run("diff", "--format", "json", d.expand("{1}"), d.expand("{2}"))
	if code != exitDiffers {
		t.Fatalf("exit code %d", code)
	}
	decode(t, out, &changes)
	if len(changes) != 1 || changes[0].Path != "/top" || changes[0].Change != "changed" || len(changes[0].Aspects) != 1 || changes[0].Old.Size != 4 || changes[0].New.Size != 5 {
		t.Errorf("%+v", changes)
	}
	var stats []diffStat
	out, _, _ = d.run("diff", "--stat", "--format", "json", d.expand("{1}"), d.expand("{2}"))
	decode(t, out, &stats)
	if len(stats) != 1 || stats[0] != (diffStat{Directory: "/", Changed: 1, Bytes: 1}) {
		t.Errorf("%+v", stats)
	}
	d.try([]call{
		{line: "diff {1} {1}"},
		{line: "diff --format json {1} {1}", out: []string{"[]\n"}},
		{line: "diff --stat {1} {1}"},
		{line: "diff {1} {2} /etc"},
		{line: "diff --stat {2} {1}", code: 1, out: []string{"DIRECTORY", "-1 B", "all"}},
		{line: "diff -0 {1} {2}", code: 1, out: []string{"C /top\x00"}},
		{line: "diff {1} {2} /nosuch", code: 3, diag: []string{"/nosuch"}},
		{line: "diff {1} {repo}:no", code: 3, diag: []string{"{repo}:no"}},
		{line: "diff --platform a,b,c {1}", code: 2, diag: []string{"more than two platforms"}},
		{line: "diff {1}", code: 2, diag: []string{"two images are needed"}},
	})
}

func TestListsAsJSON(t *testing.T) {
	d := appDesk(t)
	for line, want := range map[string]string{
		"ls {1}":                    "/big /etc /link /pipe /top",
		"ls -d {1}:/etc":            "/etc",
		"ls -R {1}:/etc":            "/etc/conf /etc/twin",
		"tree -L 1 {1}":             "/ /big /etc /link /pipe /top",
		"tree -d {1}":               "/ /etc",
		"find {1} -type f -links 2": "/etc/conf /etc/twin",
		"find {1}:/etc -name t*":    "/etc/twin",
		"find {1} -layer 2 -type p": "/pipe",
	} {
		var all []entry
		command, rest, _ := strings.Cut(d.expand(line), " ")
		d.into(&all, append([]string{command, "--format", "json"}, strings.Fields(rest)...)...)
		var paths []string
		for _, e := range all {
			paths = append(paths, e.Path)
			if e.Type == "" || len(e.Mode) != 4 || e.MTime == "" {
				t.Errorf("%s: %+v", line, e)
			}
		}
		if got := strings.Join(paths, " "); got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
}
