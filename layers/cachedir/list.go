package cachedir

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/flock"
	"github.com/peelfs/peelfs/layers/spanfile"
)

// Stored is a layer's directory as it was on disk at one moment. Sizes are in bytes.
type Stored struct {
	Dir    string
	Digest digest.Digest
	Index  int64     // length of the index, 0 if there is none
	Data   int64     // disk space of the data files
	Used   time.Time // when the layer's content was needed last
	Pinned bool      // Prune leaves it alone
}

// InUse reports whether some process uses the layer d now.
func (c *Cache) InUse(d Stored) bool {
	if c.readOnly != nil {
		return inUseReadOnly(d.Dir)
	}
	return !Alone(d.Dir, func(*flock.File) {})
}

// List returns the layers in the cache, least recently used first.
func (c *Cache) List() []Stored {
	dirs, _ := filepath.Glob(filepath.Join(c.dir, LayersDir, "*", "*"))
	var all []Stored
	for _, dir := range dirs {
		all = append(all, stat(dir))
	}
	slices.SortStableFunc(all, func(a, b Stored) int { return cmp.Compare(a.Used.UnixNano(), b.Used.UnixNano()) })
	return all
}

// stat looks at a layer's directory. Files that are missing count as nothing.
func stat(dir string) Stored {
	d := Stored{Dir: dir, Digest: digestOf(dir), Pinned: pinned(dir), Data: dataOf(dir)}
	if fi, err := os.Stat(filepath.Join(dir, IndexName)); err == nil {
		d.Index = fi.Size()
	}
	if fi, err := os.Stat(filepath.Join(dir, LockName)); err == nil {
		d.Used = fi.ModTime()
	}
	return d
}

// dataOf is the disk space of the data files in dir, in bytes.
func dataOf(dir string) (n int64) {
	for _, name := range spanfile.Names(dir) {
		n += spanfile.DiskSpace(dir, name)
	}
	return n
}

// digestOf is the digest of the layer whose directory is dir.
func digestOf(dir string) digest.Digest {
	return digest.NewDigestFromEncoded(digest.Algorithm(filepath.Base(filepath.Dir(dir))), filepath.Base(dir))
}

// HasIndex reports whether the layer d has an index in the cache.
func (c *Cache) HasIndex(d digest.Digest) bool {
	dir, err := c.LayerDir(d)
	if err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join(dir, IndexName))
	return err == nil
}

// incoming is the disk space of what is being written, in bytes.
func (c *Cache) incoming() (n int64) {
	names, _ := filepath.Glob(filepath.Join(c.dir, TempDir, "*"))
	for _, name := range names {
		n += spanfile.Allocated(name)
	}
	return n
}
