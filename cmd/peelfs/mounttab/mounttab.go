// Package mounttab records what is mounted where, and by which process.
//
// The invariant: a record whose process lives is locked by that process, from
// before the record appears until after it is removed. So a process that can take
// the lock has a record that its process left behind, be it killed or the machine's
// directory older than its last boot; process numbers, which come around again,
// are never asked.
//
// There is one file for each mount, in the user's runtime directory. Which mounts
// there are is for the kernel to say: a record adds what the kernel does not know.
package mounttab

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/flock"
	"github.com/peelfs/peelfs/internal/userns"
)

// Mount is one record. The JSON keys are those of `peelfs mounts`.
type Mount struct {
	Mountpoint string            `json:"mountpoint"` // absolute, without symbolic links
	Reference  string            `json:"reference"`
	Digest     string            `json:"digest"`
	Platform   string            `json:"platform"`
	PID        int               `json:"pid"`
	Since      time.Time         `json:"since"`
	Options    map[string]string `json:"options"`
	MountID    int               `json:"mountID"`           // as in /proc/PID/mountinfo; 0 if unknown
	Made       bool              `json:"made"`              // the directory was made for the mount and goes with it
	Log        string            `json:"log,omitempty"`     // where the process writes its log
	Digests    []string          `json:"digests,omitempty"` // blobs that the mount needs: manifests, config, layers
	Aliases    []string          `json:"aliases,omitempty"` // names in the layer cache of layers whose digests were not known
}

// Entry is a record as it was found.
type Entry struct {
	Mount
	Alive bool // its process holds it
	file  string
}

// Table is a directory of records, and others in which sessions of the same user
// may have left theirs.
type Table struct {
	dir  string   // where records are added; "" if nowhere
	also []string // only looked into
}

// maxRecord is the longest record that is read, in bytes.
const maxRecord = 1 << 20

const suffix = ".json"

// Explicit reports whether the environment names one directory of records, beside
// which no other counts.
func Explicit(getenv func(string) string) bool { return getenv("PEELFS_RUNTIME") != "" }

// Dirs are the directories in which records of the calling user may be, by
// preference: $PEELFS_RUNTIME and no other; else /run/peelfs for root of the
// machine or of a container, then $XDG_RUNTIME_DIR/peelfs, then one in the
// directory for temporary files, and last where other sessions have theirs.
func Dirs(getenv func(string) string) []string {
	if Explicit(getenv) {
		return []string{getenv("PEELFS_RUNTIME")}
	}
	var dirs []string
	add := func(dir string) {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	if userns.OwnsSystem(systemDir) {
		add(systemDir)
	}
	user := userns.Outside(os.Geteuid())
	if base := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(base) && isOurs(base) == nil {
		add(filepath.Join(base, "peelfs"))
	}
	add(filepath.Join(os.TempDir(), fmt.Sprintf("peelfs-%d", user)))
	add(filepath.Join("/run/user", fmt.Sprint(user), "peelfs"))
	return dirs
}

const systemDir = "/run/peelfs"

// Open returns the table in dir and makes the directory if it is missing. A
// directory that belongs to somebody else is refused: they could invent mounts.
func Open(dir string) (*Table, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, runtimeError(dir, err)
	}
	if err := isOurs(dir); err != nil {
		return nil, runtimeError(dir, err)
	}
	if !userns.Writable(dir) {
		return nil, runtimeError(dir, fs.ErrPermission)
	}
	return &Table{dir: dir}, nil
}

// OpenFirst opens the table in the first of dirs that can be used, and looks into
// the others as well.
func OpenFirst(dirs []string) (t *Table, err error) {
	for i, dir := range dirs {
		var failed error
		if t, failed = Open(dir); failed == nil {
			t.also = ours(slices.Delete(slices.Clone(dirs), i, i+1))
			return t, nil
		}
		if err == nil {
			err = failed
		}
	}
	return nil, err
}

// Look returns what can be read of the tables in dirs. It makes nothing, and
// nothing can be added.
func Look(dirs []string) *Table { return &Table{also: ours(dirs)} }

// ours are those of dirs that exist and belong to this user.
func ours(dirs []string) []string {
	return slices.DeleteFunc(slices.Clone(dirs), func(dir string) bool { return isOurs(dir) != nil })
}

func isOurs(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || ok && int(stat.Uid) != os.Geteuid() {
		return errors.New("it belongs to somebody else")
	}
	return nil
}

func runtimeError(dir string, err error) error {
	return errkind.WithHint(errkind.New(errkind.LocalFull, "cannot keep records of mounts in %s: %w", dir, err),
		"name another directory in PEELFS_RUNTIME")
}

// Path is where a file of the process pid is kept beside its record.
func (t *Table) Path(pid int, suffix string) string {
	return filepath.Join(t.dir, fmt.Sprint(pid)+suffix)
}

// Lease is a record of this process. Release it when the mount is gone.
type Lease struct {
	f    *os.File
	path string
}

// Add records m, of this process. The record appears whole and locked.
func (t *Table) Add(m Mount) (*Lease, error) {
	data, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(t.dir, ".new-*")
	if err != nil {
		return nil, runtimeError(t.dir, err)
	}
	l := &Lease{f, t.Path(m.PID, suffix)}
	if err := l.publish(data); err != nil {
		os.Remove(f.Name())
		f.Close()
		return nil, runtimeError(t.dir, err)
	}
	return l, nil
}

func (l *Lease) publish(data []byte) error {
	if _, err := flock.New(l.f).TryLock(0, 1); err != nil {
		return err
	}
	if _, err := l.f.Write(append(data, '\n')); err != nil {
		return err
	}
	return os.Rename(l.f.Name(), l.path)
}

// Release removes the record.
func (l *Lease) Release() error {
	return errors.Join(os.Remove(l.path), l.f.Close())
}

// List returns all records by mountpoint. Files that make no sense are left out.
func (t *Table) List() ([]Entry, error) {
	var entries []Entry
	for _, dir := range append([]string{t.dir}, t.also...) {
		files, err := os.ReadDir(dir)
		if err != nil && dir == t.dir && dir != "" {
			return nil, runtimeError(dir, err)
		}
		for _, f := range files {
			if strings.HasPrefix(f.Name(), ".") || !strings.HasSuffix(f.Name(), suffix) {
				continue
			}
			if e, err := read(filepath.Join(dir, f.Name())); err == nil {
				entries = append(entries, e)
			}
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int {
		return cmp.Or(strings.Compare(a.Mountpoint, b.Mountpoint), a.Since.Compare(b.Since))
	})
	return entries, nil
}

func read(path string) (Entry, error) {
	f, err := os.Open(path)
	if err != nil {
		return Entry{}, err
	}
	defer f.Close() // drops the lock, if it was free
	data, err := io.ReadAll(io.LimitReader(f, maxRecord))
	if err != nil {
		return Entry{}, err
	}
	e := Entry{file: path}
	if err := json.Unmarshal(data, &e.Mount); err != nil {
		return Entry{}, errkind.New(errkind.Corrupt, "record %s: %w", path, err)
	}
	free, err := flock.New(f).TryRLock(0, 1)
	e.Alive = err == nil && !free
	return e, err
}

// At returns the record of the mount at an absolute path; of several, dead ones
// perhaps, the newest.
func (t *Table) At(mountpoint string) (e Entry, ok bool, err error) {
	entries, err := t.List()
	for _, have := range entries { // oldest first
		if have.Mountpoint == mountpoint {
			e, ok = have, true
		}
	}
	return e, ok, err
}

// OwnLog reports whether the log of e was made beside its record, and goes with it.
func (e Entry) OwnLog() bool {
	return e.Log != "" && e.Log == strings.TrimSuffix(e.file, suffix)+".log"
}

// Forget removes the record of a process that is gone. A record that somebody
// holds stays.
func (t *Table) Forget(e Entry) error {
	f, err := os.Open(e.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	free, err := flock.New(f).TryRLock(0, 1)
	if err != nil || !free {
		return err
	}
	if !sameFile(f, e.file) { // the number came around, and the new one's record is there
		return nil
	}
	return os.Remove(e.file)
}

func sameFile(f *os.File, path string) bool {
	a, errA := f.Stat()
	b, errB := os.Stat(path)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// WaitGone waits until the process of e has let go of its record.
func (t *Table) WaitGone(ctx context.Context, e Entry) error {
	f, err := os.Open(e.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return flock.New(f).RLock(ctx, 0, 1)
}
