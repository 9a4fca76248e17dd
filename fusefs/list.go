package fusefs

import (
	"errors"
	"fmt"
	"os"

	"github.com/moby/sys/mountinfo"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/userns"
)

// Mounted is a mount of peelfs as the kernel lists it.
type Mounted struct {
	Mountpoint string
	Source     string // as in Options.FSName
	ID         int    // of the mount, in this mount namespace
	Covered    bool   // another mount lies upon it, or upon a directory above
}

// List lists the mounts of peelfs in this mount namespace that the calling user
// made, in the order in which they were made. It asks nothing of them.
func List() ([]Mounted, error) {
	all, err := mountinfo.GetMounts(mountinfo.FSTypeFilter(fsType))
	if err != nil {
		return nil, errkind.New(errkind.Internal, "read the list of mounts: %w", err)
	}
	var list []Mounted
	for _, m := range all {
		if !isMine(m) {
			continue
		}
		id, ok := mountID(m.Mountpoint)
		list = append(list, Mounted{Mountpoint: m.Mountpoint, Source: m.Source, ID: m.ID, Covered: ok && id != m.ID})
	}
	return list, nil
}

// ShownAt is the number of the mount that shows at the canonical path dir, 0 if none
// does, and whether it is one of peelfs.
func ShownAt(dir string) (id int, ours bool, err error) {
	m, err := mountAt(dir)
	if m == nil || err != nil {
		return 0, false, err
	}
	return m.ID, isOurs(m), nil
}

// isMine reports whether the calling user made the mount m. The kernel gives its
// user by the number that it has where the mount was made: that may be outside of
// our user namespace, and there 0 is another user than here.
func isMine(m *mountinfo.Info) bool {
	user, me := option(m, "user_id"), os.Geteuid()
	if !userns.Inside() {
		return user == me
	}
	return user == userns.Outside(me) || user == me && !isForeign(m)
}

// isForeign reports whether the server of m does not answer the calling user, or
// whether that user may not even come to where it is mounted.
func isForeign(m *mountinfo.Info) bool {
	_, err := isDead(m)
	return errors.Is(err, errForeign) || errors.Is(err, os.ErrPermission)
}

// MountedIn reports whether the mount with a number is at mountpoint in the mount
// namespace of the process pid. The error says that this cannot be told.
func MountedIn(pid int, mountpoint string, id int) (bool, error) {
	table, err := os.Open(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		return false, err
	}
	defer table.Close()
	all, err := mountinfo.GetMountsFromReader(table, nil)
	if err != nil {
		return false, err
	}
	for _, m := range all {
		if m.ID == id && isOurs(m) && m.Mountpoint == mountpoint {
			return true, nil
		}
	}
	return false, nil
}
