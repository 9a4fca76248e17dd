// Package userns tells whether this process is root of the machine or only of a
// user namespace, in which user 0 is somebody else outside.
package userns

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// everybody is how many users there are where no user namespace is.
const everybody = math.MaxUint32

// span is a line of uid_map: count users from inside on are those from outside on
// of the namespace around this one.
type span struct{ inside, outside, count uint64 }

// Inside reports whether the process is in a user namespace other than the
// machine's own, as far as /proc tells.
func Inside() bool {
	m := spans()
	return len(m) > 0 && m[0] != span{0, 0, everybody}
}

// Outside is the number that the user uid has in the namespace around this one;
// uid itself if it has none there.
func Outside(uid int) int {
	return outside(spans(), uid)
}

func outside(m []span, uid int) int {
	for _, s := range m {
		if u := uint64(uid); u >= s.inside && u-s.inside < s.count {
			return int(u - s.inside + s.outside)
		}
	}
	return uid
}

func spans() []span {
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return nil
	}
	return parse(string(text))
}

func parse(text string) (m []span) {
	for line := range strings.Lines(text) {
		var s span
		if n, _ := fmt.Sscan(line, &s.inside, &s.outside, &s.count); n == 3 {
			m = append(m, s)
		}
	}
	return m
}

// OwnsSystem reports whether the process is root and may use dir, one of root's
// own directories: outside of user namespaces always, inside one only if dir, or
// the directory in which it would be made, can be written.
func OwnsSystem(dir string) bool {
	return os.Geteuid() == 0 && (!Inside() || Writable(dir))
}

// Writable reports whether files can be made in dir, or dir itself where it does
// not exist.
func Writable(dir string) bool {
	for {
		err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
		if err != unix.ENOENT || dir == filepath.Dir(dir) {
			return err == nil
		}
		dir = filepath.Dir(dir)
	}
}
