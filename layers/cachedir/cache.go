package cachedir

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/internal/errkind"
)

// Cache is a cache directory with the layers in it. Methods are safe for concurrent
// use, also by other processes.
type Cache struct {
	dir string
	log *slog.Logger

	readOnly error // why nothing can be written, for people; nil if it can
}

// OpenCache opens the cache directory dir, an absolute path, and makes it if it is
// missing. A disk that is full is told to log, and so is a directory that can be read
// and not written; the error is LocalFull if it can be neither made nor read, and
// Unsupported on a network file system.
func OpenCache(dir string, log *slog.Logger) (*Cache, error) {
	c := &Cache{dir: dir, log: log}
	switch err := c.prepare(); {
	case err == nil:
	case IsFull(err):
		log.Warn("the cache's disk is full; what cannot be kept is fetched again and again", "error", err)
	case IsReadOnly(err) && canRead(dir):
		c.readOnly = err
		log.Info("the cache cannot be written; what it lacks is fetched again and again", "error", err)
		return c, nil
	default:
		return nil, err
	}
	c.sweep()
	return c, nil
}

// prepare makes the cache's directories and finds out whether they serve.
func (c *Cache) prepare() error {
	for _, d := range []string{LayersDir, AliasesDir, TempDir} {
		if err := os.MkdirAll(filepath.Join(c.dir, d), 0o700); err != nil {
			return c.Unusable(err)
		}
	}
	return c.checkWritable()
}

func (c *Cache) checkWritable() error {
	var st unix.Statfs_t
	if err := unix.Statfs(c.dir, &st); err != nil {
		return c.Unusable(err)
	}
	switch uint32(st.Type) {
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.CEPH_SUPER_MAGIC, unix.V9FS_MAGIC:
		return errkind.WithHint(errkind.New(errkind.Unsupported, "cache directory %s is on a network file system", c.dir),
			"name a local directory with --cache-dir or $PEELFS_CACHE")
	}
	f, err := c.TempFile()
	if err != nil {
		return c.Unusable(err)
	}
	f.Discard()
	return nil
}

// Unusable says that the cache directory does not serve, and what to do about it.
func (c *Cache) Unusable(err error) error {
	if IsReadOnly(err) {
		err = fmt.Errorf("it cannot be written: %w", err)
	}
	return errkind.WithHint(errkind.New(errkind.LocalFull, "cache directory %s: %w", c.dir, err),
		"name a directory that you may write to with --cache-dir or $PEELFS_CACHE")
}

// LayerDir is the directory of the layer with blob digest d. A digest that is not
// well-formed has none, and is Invalid: it would become a path.
func (c *Cache) LayerDir(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil {
		return "", errkind.New(errkind.Invalid, "layer digest %q: %w", d, err)
	}
	return filepath.Join(c.dir, LayersDir, d.Algorithm().String(), d.Encoded()), nil
}

// RemoveIfThere removes a file of the cache. It does not matter if there is none.
func RemoveIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove from the cache: %w", err)
	}
	return nil
}
