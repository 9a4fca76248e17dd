package cachedir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/internal/flock"
)

// TempFile is a file of the cache's tmp directory that its process holds locked,
// so that others can tell it from files that a killed process left behind. Discard
// ends its use.
type TempFile struct {
	*os.File
	renamed bool
}

// TempFile makes a temporary file, and the directory for it if somebody removed that.
func (c *Cache) TempFile() (*TempFile, error) {
	dir := filepath.Join(c.dir, TempDir)
	for {
		f, err := os.CreateTemp(dir, "new-*")
		if errors.Is(err, fs.ErrNotExist) { // somebody removed the cache
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		if ok, err := flock.New(f).TryLock(0, 1); err != nil {
			f.Close()
			os.Remove(f.Name())
			return nil, err
		} else if ok && linked(f) {
			return &TempFile{File: f}, nil
		}
		f.Close() // a sweeper was faster than the lock
	}
}

// Rename moves the file to path, where it stays.
func (t *TempFile) Rename(path string) error {
	if err := os.Rename(t.Name(), path); err != nil {
		return err
	}
	t.Moved()
	return nil
}

// Moved notes that somebody else gave the file the name that it keeps.
func (t *TempFile) Moved() { t.renamed = true }

// Discard closes the file, and removes it unless it was renamed.
func (t *TempFile) Discard() {
	if !t.renamed {
		os.Remove(t.Name())
	}
	t.Close()
}

// sweep removes the temporary files of processes that are gone.
func (c *Cache) sweep() {
	dir := filepath.Join(c.dir, TempDir)
	names, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, n := range names {
		sweepOne(filepath.Join(dir, n.Name()))
	}
}

func sweepOne(path string) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if ok, err := flock.New(f).TryLock(0, 1); ok && err == nil {
		os.Remove(path)
	}
}

func linked(f *os.File) bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && st.Nlink > 0
}
