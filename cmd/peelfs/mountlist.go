package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/peelfs/peelfs/cmd/peelfs/mounttab"
	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/fusefs"
)

// mountList tells what this user has mounted. The kernel says what there is, and
// records, wherever the user's sessions keep theirs, add to it.
type mountList struct {
	console     *output.Console
	table       *mounttab.Table
	recordsOnly bool // mounts without a record are none of ours: the user named a directory of records
}

// listedMount is one mount.
type listedMount struct {
	mounttab.Mount
	entry *mounttab.Entry // nil if it has no record
	place mountPlace
}

// mountPlace is where a mount can be seen.
type mountPlace int

const (
	here      mountPlace = iota // in this mount namespace
	elsewhere                   // in that of its process
	nowhere                     // it is gone
	unknown                     // its process cannot be looked at: it runs in another container, perhaps
)

// all lists the mounts that are served. Mounts and records of processes that
// are gone are cleared on the way; one that cannot be cleared does not end the list.
func (l *mountList) all(ctx context.Context) ([]listedMount, error) {
	kernel, err := fusefs.List()
	if err != nil {
		return nil, err
	}
	recorded, err := l.recorded(kernel)
	if err != nil || l.recordsOnly {
		return recorded, err
	}
	for _, k := range kernel {
		if !hasMount(recorded, k.ID) {
			if m, ok := l.unrecorded(ctx, k); ok {
				recorded = append(recorded, m)
			}
		}
	}
	return recorded, nil
}

// recorded are the mounts that have a record.
func (l *mountList) recorded(kernel []fusefs.Mounted) (list []listedMount, err error) {
	entries, err := l.table.List()
	for _, e := range entries {
		if !e.Alive {
			l.clear(e)
			continue
		}
		if place := placeOf(e.Mount, kernel); place != nowhere {
			list = append(list, listedMount{e.Mount, &e, place})
		}
	}
	return list, err
}

func (l *mountList) clear(e mounttab.Entry) {
	if err := clearMount(l.table, e); err != nil {
		l.console.Warn("%s was left by a process that is gone: %s", e.Mountpoint, err)
		return
	}
	l.console.Say("cleared %s: its process %d is gone", e.Mountpoint, e.PID)
}

// placeOf tells where the mount of a process can be seen that lives.
func placeOf(m mounttab.Mount, kernel []fusefs.Mounted) mountPlace {
	for _, k := range kernel {
		if k.Mountpoint == m.Mountpoint && (k.ID == m.MountID || m.MountID == 0) {
			return here
		}
	}
	switch there, err := fusefs.MountedIn(m.PID, m.Mountpoint, m.MountID); {
	case err != nil:
		return unknown
	case there:
		return elsewhere
	}
	return nowhere
}

func hasMount(list []listedMount, id int) bool {
	for _, m := range list {
		if m.place == here && m.MountID == id && id != 0 {
			return true
		}
	}
	return false
}

// statusTime is how long a mount without a record may take to tell about itself.
const statusTime = 2 * time.Second

// unrecorded describes a mount without a record, as far as it tells itself. A dead
// one is cleared, and not ok.
func (l *mountList) unrecorded(ctx context.Context, k fusefs.Mounted) (m listedMount, ok bool) {
	if dead, _ := fusefs.Dead(k.Mountpoint); dead && !k.Covered {
		if err := fusefs.ClearDead(k.Mountpoint); err != nil {
			l.console.Warn("%s was left by a process that is gone: %s", k.Mountpoint, err)
			return m, false
		}
		l.console.Say("cleared %s: its process is gone", k.Mountpoint)
		return m, false
	}
	m.Mountpoint, m.MountID = k.Mountpoint, k.ID
	m.Reference, m.Digest, _ = strings.Cut(strings.TrimPrefix(k.Source, "peelfs:"), "@")
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	if st, err := readStatus(ctx, k.Mountpoint); err == nil && !k.Covered {
		m.Reference, m.Digest, m.Platform, m.PID, m.Since, m.Log = st.Reference, st.Digest, st.Platform, st.PID, st.Since, st.Log
	}
	return m, true
}

// record is the record of the mount with a number at a path, in this mount
// namespace; nil if it has none.
func (l *mountList) record(path string, id int) (*mounttab.Entry, error) {
	entries, err := l.table.List()
	for _, e := range entries {
		if e.Mountpoint == path && (e.MountID == id || e.MountID == 0) && e.Alive {
			return &e, nil
		}
	}
	return nil, err
}

// left are the records of path whose mounts are not to be seen here: of processes
// that are gone, and of mounts in other mount namespaces.
func (l *mountList) left(path string) (dead []mounttab.Entry, away []listedMount, err error) {
	kernel, err := fusefs.List()
	if err != nil {
		return nil, nil, err
	}
	entries, err := l.table.List()
	for _, e := range entries {
		if e.Mountpoint != path {
			continue
		}
		if !e.Alive {
			dead = append(dead, e)
		} else if place := placeOf(e.Mount, kernel); place == elsewhere || place == unknown {
			away = append(away, listedMount{e.Mount, &e, place})
		}
	}
	return dead, away, err
}

// clearMount removes what a killed process left: the dead mount, the directory
// made for it, its log and its record.
func clearMount(table *mounttab.Table, e mounttab.Entry) error {
	dead, err := fusefs.Dead(e.Mountpoint)
	if dead {
		err = fusefs.ClearDead(e.Mountpoint)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if e.Made {
		_ = os.Remove(e.Mountpoint) // it stays if somebody has put something there
	}
	if e.OwnLog() {
		_ = os.Remove(e.Log)
	}
	return table.Forget(e)
}

// clearStale clears records of dir whose processes are gone.
func clearStale(table *mounttab.Table, dir string) error {
	e, known, err := table.At(canonicalDir(dir))
	if err != nil || !known || e.Alive {
		return err
	}
	return clearMount(table, e)
}
