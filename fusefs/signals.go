package fusefs

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// stopSignals are those by which somebody means "stop". Others (timers,
// profilers, children, the Go runtime's own) arrive all the time, and a program
// whose stat fails with EINTR for one of them is broken by us.
const stopSignals = 1<<(unix.SIGHUP-1) | 1<<(unix.SIGINT-1) | 1<<(unix.SIGQUIT-1) |
	1<<(unix.SIGTERM-1) | 1<<(unix.SIGKILL-1)

// wantsToStop says whether the thread tid has a stop signal pending that it does
// not block. It does if it is gone, or out of our sight.
func wantsToStop(tid uint32) bool {
	if tid == 0 {
		return true
	}
	status, err := os.ReadFile("/proc/" + strconv.FormatUint(uint64(tid), 10) + "/status")
	return err != nil || stopPending(status)
}

// stopPending reads the text of /proc/PID/status.
func stopPending(status []byte) bool {
	pending, ok1 := signalSet(status, "SigPnd:")
	shared, ok2 := signalSet(status, "ShdPnd:")
	blocked, ok3 := signalSet(status, "SigBlk:")
	if !ok1 || !ok2 || !ok3 {
		return true
	}
	return (pending|shared)&^blocked&stopSignals != 0
}

func signalSet(status []byte, field string) (uint64, bool) {
	for line := range bytes.Lines(status) {
		if rest, ok := bytes.CutPrefix(line, []byte(field)); ok {
			set, err := strconv.ParseUint(string(bytes.TrimSpace(rest)), 16, 64)
			return set, err == nil
		}
	}
	return 0, false
}
