package layers

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/internal/flock"
)

// tempFile is a file of the cache's tmp directory that its process holds locked,
// so that others can tell it from what a killed process left behind.
type tempFile struct {
	*os.File
	renamed bool
}

func newTempFile(dir string) (*tempFile, error) {
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
			return &tempFile{File: f}, nil
		}
		f.Close() // a sweeper was faster than the lock
	}
}

// rename moves the file to path, where it stays.
func (t *tempFile) rename(path string) error {
	if err := os.Rename(t.Name(), path); err != nil {
		return err
	}
	t.renamed = true
	return nil
}

// discard closes the file, and removes it unless it was renamed.
func (t *tempFile) discard() {
	if !t.renamed {
		os.Remove(t.Name())
	}
	t.Close()
}

// sweep removes the temporary files of processes that are gone.
func sweep(dir string) {
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
