package fusefs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// maxUsers bounds how many processes a message names.
const maxUsers = 5

// usersOf names the processes that have something of the mount m as a working
// directory, root, open file or mapping, as far as we may look. This process is
// not among them: it has its working directory from the shell that is.
func usersOf(m *mountinfo.Info) []string {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	self := "/proc/" + strconv.Itoa(os.Getpid())
	var users []string
	for _, dir := range dirs {
		if dir == self || !uses(dir, m) {
			continue
		}
		if len(users) == maxUsers {
			return append(users, "others")
		}
		users = append(users, processName(filepath.Base(dir)))
	}
	return users
}

// processName is a process as people know it: "less (1234)".
func processName(pid string) string {
	name, err := os.ReadFile("/proc/" + pid + "/comm")
	if err != nil {
		return "process " + pid
	}
	return fmt.Sprintf("%s (%s)", bytes.TrimSpace(name), pid)
}

// uses reads links and never follows them: the mount may not answer.
func uses(proc string, m *mountinfo.Info) bool {
	for _, link := range []string{"cwd", "root", "exe"} {
		if linksBelow(proc+"/"+link, m.Mountpoint) {
			return true
		}
	}
	fds, err := os.ReadDir(proc + "/fd")
	if err != nil {
		return false
	}
	for _, fd := range fds {
		if linksBelow(proc+"/fd/"+fd.Name(), m.Mountpoint) {
			return true
		}
	}
	return mapsFrom(proc, m)
}

func linksBelow(link, dir string) bool {
	target, err := os.Readlink(link)
	return err == nil && (target == dir || strings.HasPrefix(target, dir+"/"))
}

// mapsFrom looks for the mount's device among the process's mappings.
func mapsFrom(proc string, m *mountinfo.Info) bool {
	text, err := os.ReadFile(proc + "/maps")
	if err != nil {
		return false
	}
	device := fmt.Sprintf(" %02x:%02x ", m.Major, m.Minor)
	return bytes.Contains(text, []byte(device))
}

// processOf names the process to which the thread tid belongs.
func processOf(tid uint32) string {
	if tid == 0 {
		return "the kernel"
	}
	return processName(strconv.FormatUint(uint64(tid), 10))
}
