//go:build interop

package interop

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The commands that need no mount, on a real Debian: what they find, write and
// add up is what the usual programs make of the mount.
func TestDebianWithoutAMount(t *testing.T) {
	ref := sharedDebian(t).ref
	b := newBox(t)
	mnt := b.mount(ref)
	t.Run("find", func(t *testing.T) {
		for _, test := range [][]string{
			nil, {"-perm", "/6000"}, {"-perm", "-4000"}, {"-perm", "755"}, {"-type", "l"}, {"-type", "d,p"}, {"-size", "+1M"}, {"-size", "-3c"}, {"-size", "0"},
			{"-name", "*.so.*"}, {"-iname", "READ*"}, {"-path", "*/share/*pl"}, {"-newer", "/etc/debian_version"}, {"-gid", "42"}, {"-maxdepth", "2"},
		} {
			theirs := []string{mnt}
			for _, arg := range test {
				if strings.HasPrefix(arg, "/etc/") {
					arg = mnt + arg
				}
				theirs = append(theirs, arg)
			}
			if len(test) > 0 && test[0] == "-path" {
				theirs[2] = mnt + "/" + test[1]
			}
			want := paths(must(t, "find", append(theirs, "-print0")...), mnt)
			got := paths(b.peelfs(append(append([]string{"find", ref}, test...), "-print0")...), "")
			if !slices.Equal(got, want) {
				t.Errorf("%v: %d paths, want %d", test, len(got), len(want))
			}
		}
	})
	t.Run("du", func(t *testing.T) {
		bytes := int64(0)
		seen := map[string]bool{}
		for _, line := range strings.Fields(must(t, "find", mnt, "-type", "f", "-printf", "%i:%s\n")) {
			if ino, size, _ := strings.Cut(line, ":"); !seen[ino] {
				seen[ino] = true
				n, _ := strconv.ParseInt(size, 10, 64)
				bytes += n
			}
		}
		if got := strings.Fields(b.peelfs("du", "-s", ref))[0]; got != strconv.FormatInt(bytes, 10) {
			t.Errorf("%s bytes, want %d", got, bytes)
		}
	})
	ours, _ := dump(t, mnt)
	t.Run("export to a directory", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "rootfs")
		b.peelfs("export", ref, dir)
		copied, _ := dump(t, dir)
		compare(t, "the directory", ours, copied, nil)
	})
	t.Run("export to a tar", func(t *testing.T) {
		dir := t.TempDir()
		file := filepath.Join(dir, "root.tar")
		b.peelfs("export", ref, file)
		tree := filepath.Join(dir, "tree")
		if err := os.Mkdir(tree, 0o755); err != nil {
			t.Fatal(err)
		}
		must(t, "tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-C", tree, "-xpf", file)
		copied, _ := dump(t, tree)
		compare(t, "the tar", ours, copied, nil)
	})
	t.Run("diff", func(t *testing.T) {
		if out := b.peelfs("diff", ref, ref); out != "" {
			t.Errorf("from itself: %s", out)
		}
	})
	b.umount(mnt)
}

// paths are the names that end in NUL, without what is before the root, sorted.
func paths(list, mnt string) []string {
	var out []string
	for _, p := range strings.Split(strings.TrimSuffix(list, "\x00"), "\x00") {
		if p = strings.TrimPrefix(p, mnt); p == "" {
			p = "/"
		}
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}
