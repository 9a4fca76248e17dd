package cachedir

import (
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
)

// Pin makes Prune leave the layer d alone, Unpin takes that back.
func (c *Cache) Pin(d digest.Digest) error {
	if c.readOnly != nil {
		return c.readOnly
	}
	dir, err := c.LayerDir(d)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return c.Unusable(err)
	}
	if err := os.WriteFile(filepath.Join(dir, PinName), nil, 0o600); err != nil {
		return WriteError(err)
	}
	return nil
}

// Unpin undoes Pin. It does not matter if the layer was not pinned.
func (c *Cache) Unpin(d digest.Digest) error {
	if c.readOnly != nil {
		return c.readOnly
	}
	dir, err := c.LayerDir(d)
	if err != nil {
		return err
	}
	return RemoveIfThere(filepath.Join(dir, PinName))
}

// pinned reports whether the layer in dir is pinned.
func pinned(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, PinName))
	return err == nil
}
