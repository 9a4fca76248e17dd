package main

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/tagstore"
)

// openCount counts how often files of a directory are opened, by any process.
type openCount struct {
	t  *testing.T
	fd int
}

// countOpens watches dir until the test ends.
func countOpens(t *testing.T, dir string) *openCount {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Skipf("no inotify: %v", err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	// With the ends of reads no two events in a row are alike, which the kernel would
	// make one of.
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_OPEN|unix.IN_CLOSE); err != nil {
		t.Fatal(err)
	}
	return &openCount{t, fd}
}

// since returns how often each file was opened since the last call.
func (c *openCount) since() map[string]int {
	c.t.Helper()
	counts := map[string]int{}
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(c.fd, buf)
		if err == unix.EAGAIN || err == nil && n == 0 {
			return counts
		}
		if err != nil {
			c.t.Fatal(err)
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			mask := binary.NativeEndian.Uint32(b[4:])
			size := int(binary.NativeEndian.Uint32(b[12:]))
			name := strings.TrimRight(string(b[unix.SizeofInotifyEvent:][:size]), "\x00")
			if mask&unix.IN_OPEN != 0 && mask&unix.IN_ISDIR == 0 {
				counts[name]++
			}
			b = b[unix.SizeofInotifyEvent+size:]
		}
	}
}

// A command reads what is known of a name once; a command that notes what a registry
// says reads it once more, under the lock.
func TestTagRecordsAreReadOnce(t *testing.T) {
	d := newDesk(t)
	ref, other := d.reg.Ref("fixture:gzip"), d.reg.Ref("fixture:estargz")
	digest := strings.TrimSpace(d.must("pull", "-q", ref))
	d.must("pull", "-q", other)
	d.must("tag", ref, "mine:1")
	pinned := ref + digest[strings.LastIndexByte(digest, '@'):]
	id := digest[strings.LastIndexByte(digest, ':')+1:][:12]
	mnt := filepath.Join(t.TempDir(), "mnt")
	if err := os.Mkdir(mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	opens := countOpens(t, filepath.Join(d.cache, "tags", "names"))
	for _, image := range []string{ref, "mine:1", pinned, digest, id} {
		for _, args := range [][]string{
			{"ls", image}, {"cat", image + ":/etc/os-release"}, {"history", image}, {"inspect", image}, {"pull", "-q", image},
			{"index", "build", image}, {"tag", image, "again:1"}, {"mount", "-f", "-o", "fake", image, mnt},
		} {
			for policy, most := range []int{2, 0, 1, 1} {
				if most == 0 {
					continue // always: a name that was given here has no registry
				}
				policy := tagstore.Policy(policy).String()
				if args[0] == "tag" && policy != "auto" {
					continue // it asks nobody
				}
				words := args
				if args[0] != "tag" {
					words = append([]string{args[0], "--pull=" + policy}, args[1:]...)
				}
				if args[0] == "index" {
					words = []string{"index", "build", "--pull=" + policy, image}
				}
				opens.since()
				d.must(words...)
				seen := false
				for file, n := range opens.since() {
					if strings.HasPrefix(file, ".") || strings.Contains(file, "tmp") {
						continue
					}
					seen = true
					if n > most {
						t.Errorf("%s: %s was opened %d times", strings.Join(words, " "), file, n)
					}
				}
				if !seen {
					t.Errorf("%s: no record was read", strings.Join(words, " "))
				}
			}
		}
	}
}
