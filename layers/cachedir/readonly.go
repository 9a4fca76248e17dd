package cachedir

import (
	"os"
	"path/filepath"

	"github.com/peelfs/peelfs/internal/flock"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/spanfile"
)

// Writable is nil if the cache can be written, else an error of kind LocalFull that
// says why not and what to do. It was found out when the cache was opened.
func (c *Cache) Writable() error { return c.readOnly }

// canRead reports whether dir is a directory that can be listed.
func canRead(dir string) bool {
	_, err := os.ReadDir(dir)
	return err == nil
}

// LeaseReadOnly takes the shared lease on the layer in dir without writing, so that
// processes that can write leave its files alone. It returns nil if the lock file
// cannot be read or is locked. Nothing depends on it: files that are removed stay
// readable for those who have them open.
func LeaseReadOnly(dir string) *flock.File {
	lock, err := flock.OpenReadOnly(filepath.Join(dir, LockName))
	if err != nil {
		return nil
	}
	if got, err := lock.TryRLock(leaseLock, 1); err != nil || !got {
		lock.Close()
		return nil
	}
	return lock
}

// inUseReadOnly reports whether a process uses the layer in dir, as far as can be
// seen without writing.
func inUseReadOnly(dir string) bool {
	lock, err := flock.OpenReadOnly(filepath.Join(dir, LockName))
	if err != nil {
		return false
	}
	defer lock.Close()
	locked, err := lock.IsLocked(leaseLock, 1)
	return err == nil && locked
}

// Look opens what is in the directory of a layer, as the function of that name does,
// whether the cache can be written or not.
func (c *Cache) Look(dir string) (*Files, error) {
	if c.readOnly != nil {
		return lookReadOnly(dir)
	}
	return Look(dir)
}

func lookReadOnly(dir string) (*Files, error) {
	idx, err := index.Open(filepath.Join(dir, IndexName))
	if err != nil {
		return nil, err
	}
	data, err := spanfile.OpenReadOnly(dir, LayoutOf(idx))
	if err != nil {
		idx.Close()
		return nil, err
	}
	return &Files{Dir: dir, Index: idx, Data: data}, nil
}
