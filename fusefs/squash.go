package fusefs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Squash shows other owners and permissions than the image has. nil fields leave
// things as they are.
//
// Under a mask the permissions are those of a tree made anew with that umask:
// directories and whatever somebody may execute have 0777, other files 0666,
// less the mask; set-id and sticky bits are gone. Devices and pipes are files.
type Squash struct {
	UID, GID     *uint32
	FMask, DMask *uint32 // for files and for directories
}

func (s *Squash) apply(a *fuse.Attr) {
	if s.UID != nil {
		a.Uid = *s.UID
	}
	if s.GID != nil {
		a.Gid = *s.GID
	}
	switch kind := a.Mode & syscall.S_IFMT; {
	case kind == syscall.S_IFLNK:
	case kind == syscall.S_IFDIR && s.DMask != nil:
		a.Mode = kind | 0o777&^*s.DMask
	case kind != syscall.S_IFDIR && s.FMask != nil:
		all := uint32(0o666)
		if a.Mode&0o111 != 0 {
			all = 0o777
		}
		a.Mode = kind | all&^*s.FMask
	}
}
