package fusefs

import (
	"fmt"
	"sync/atomic"
)

// opNames are the kernel's names of its operations (include/uapi/linux/fuse.h).
var opNames = [...]string{
	1: "LOOKUP", 2: "FORGET", 3: "GETATTR", 4: "SETATTR", 5: "READLINK", 6: "SYMLINK", 8: "MKNOD",
	9: "MKDIR", 10: "UNLINK", 11: "RMDIR", 12: "RENAME", 13: "LINK", 14: "OPEN", 15: "READ",
	16: "WRITE", 17: "STATFS", 18: "RELEASE", 20: "FSYNC", 21: "SETXATTR", 22: "GETXATTR",
	23: "LISTXATTR", 24: "REMOVEXATTR", 25: "FLUSH", 27: "OPENDIR", 28: "READDIR", 29: "RELEASEDIR",
	30: "FSYNCDIR", 31: "GETLK", 32: "SETLK", 33: "SETLKW", 34: "ACCESS", 35: "CREATE", 39: "IOCTL",
	43: "FALLOCATE", 44: "READDIRPLUS", 45: "RENAME2", 46: "LSEEK", 47: "COPY_FILE_RANGE", 51: "TMPFILE", 52: "STATX",
}

const opForget = 2

func opName(op uint32) string {
	if op < uint32(len(opNames)) && opNames[op] != "" {
		return opNames[op]
	}
	return fmt.Sprintf("operation %d", op)
}

// counters count what was asked and answered.
type counters struct {
	ops       [len(opNames)]atomic.Uint64
	bytesRead atomic.Uint64
	failed    atomic.Uint64
}

func (c *counters) count(op uint32) {
	if op < uint32(len(c.ops)) {
		c.ops[op].Add(1)
	}
}

func (c *counters) requests() map[string]uint64 {
	m := map[string]uint64{}
	for op := range c.ops {
		if n := c.ops[op].Load(); n > 0 {
			m[opName(uint32(op))] = n
		}
	}
	return m
}
