package cachedir

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/peelfs/peelfs/internal/flock"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/spanfile"
)

// The layout of the cache, below its directory. Package spanfile names the files of a
// layer's data; manifests and tags are files of other packages.
const (
	LayersDir       = "layers"     // layers/ALG/HEX is the directory of a layer
	AliasesDir      = "aliases"    // what layers without a digest turned out to have, by the SHA-256 of their alias
	TempDir         = "tmp"        // files that are being written, locked by their process
	aliasLockSuffix = ".lock"      // of the file beside an alias that is locked while its layer is read
	CleanLock       = "clean.lock" // held by the process that frees room

	// In the directory of a layer.
	IndexName    = "index"    // appears by rename, verified
	LockName     = "lock"     // byte-range locks; its time is when the layer was used last
	PinName      = "pinned"   // Prune leaves the layer alone
	PrefetchName = "prefetch" // how many of the first spans lie in front of the landmark, in decimal
	DiffIDPrefix = "diffid-"  // and an algorithm: the tar's digest by it, if that is not the index's own
)

// Bytes of a layer's lock file. Those between are spanfile's.
const (
	MakeLock  = 0       // held by the process that makes the index
	leaseLock = 1 << 50 // shared by the processes that use the layer
)

// How says what opening a layer's directory does to it.
type How int

const (
	// Peek looks at what is there. It takes no lease, moves no time, makes nothing
	// and removes nothing.
	Peek How = iota

	// Use makes the directory if it is missing, takes a lease on it, which keeps
	// others from removing it, and notes that the layer was used now, for the
	// choice of what to evict.
	Use
)

// Open opens the lock file of the layer whose directory is dir. With Use the lease
// lasts until the file is closed. With Peek the error is fs.ErrNotExist where
// nothing is; with Use it is ctx's while somebody is removing the layer.
func Open(ctx context.Context, dir string, how How) (*flock.File, error) {
	if how == Peek {
		return peek(dir)
	}
	for {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		lock, err := flock.Open(filepath.Join(dir, LockName))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed between the two steps
		}
		if err != nil {
			return nil, err
		}
		got, err := lease(lock, dir)
		if got {
			return lock, nil
		}
		lock.Close()
		if err != nil {
			return nil, err
		}
		select { // somebody removes the layer just now
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

func peek(dir string) (*flock.File, error) {
	path := filepath.Join(dir, LockName)
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	return flock.Open(path)
}

// lease takes a shared lease and moves the time, if lock is still the file in dir.
func lease(lock *flock.File, dir string) (bool, error) {
	got, err := lock.TryRLock(leaseLock, 1)
	if err != nil || !got {
		return false, err
	}
	path := filepath.Join(dir, LockName)
	if info, err := os.Stat(path); err != nil || !lock.Same(info) {
		return false, nil
	}
	now := time.Now()
	_ = os.Chtimes(path, now, now)
	return true, nil
}

// Alone runs fn with the layer's lock file if no process uses the layer, and keeps
// them all out while it runs. It reports whether fn ran.
func Alone(dir string, fn func(lock *flock.File)) bool {
	lock, err := peek(dir)
	if err != nil {
		return false
	}
	defer lock.Close()
	if got, err := lock.TryLock(leaseLock, 1); !got || err != nil {
		return false
	}
	fn(lock)
	return true
}

// Look opens what is in a layer's directory, as Peek does. The error is
// fs.ErrNotExist if there is no index, and Corrupt if there is a wrong one.
func Look(dir string) (*Files, error) {
	lock, err := peek(dir)
	if err != nil {
		return nil, err
	}
	idx, err := index.Open(filepath.Join(dir, IndexName))
	if err != nil {
		lock.Close()
		return nil, err
	}
	data, err := spanfile.Look(dir, LayoutOf(idx), lock)
	if err != nil {
		idx.Close()
		lock.Close()
		return nil, err
	}
	f := &Files{Dir: dir, Index: idx, Data: data, Lock: lock}
	f.looked.Store(true)
	return f, nil
}

// Use turns files that were only looked at into files that are used, as the How of
// that name says. It reports false if they are no longer those of the directory, or
// have no place for data: then the directory is to be opened anew.
func (f *Files) Use() (bool, error) {
	if !f.looked.Load() {
		return true, nil
	}
	got, err := lease(f.Lock, f.Dir)
	if err != nil || !got || !f.Data.Linked() {
		return false, err
	}
	f.looked.Store(false)
	return true, nil
}
