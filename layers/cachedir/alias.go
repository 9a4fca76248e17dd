package cachedir

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/atomicfile"
	"github.com/peelfs/peelfs/internal/flock"
)

// alias is what is remembered of a layer whose digest was learned by reading it.
type alias struct {
	Alias  string        `json:"alias"`
	Digest digest.Digest `json:"digest"`
}

func (c *Cache) aliasPath(name string) string {
	sum := sha256.Sum256([]byte(name))
	return filepath.Join(c.dir, AliasesDir, hex.EncodeToString(sum[:]))
}

// Learned is the digest that the layer with an alias turned out to have when it
// was read; "" if it was not read here.
func (c *Cache) Learned(name string) digest.Digest {
	b, err := os.ReadFile(c.aliasPath(name))
	if err != nil {
		return ""
	}
	var a alias
	if json.Unmarshal(b, &a) != nil || a.Alias != name || a.Digest.Validate() != nil {
		return ""
	}
	return a.Digest
}

// Learn keeps that the layer with an alias has the digest d.
func (c *Cache) Learn(name string, d digest.Digest) error {
	if c.readOnly != nil {
		return c.readOnly
	}
	b, err := json.Marshal(alias{name, d})
	if err != nil {
		return err
	}
	return atomicfile.Write(c.aliasPath(name), b, 0o600)
}

// AliasLock opens the file of which a lock on byte 0 is held by the process that
// reads the layer with an alias. The caller closes it.
func (c *Cache) AliasLock(name string) (*flock.File, error) {
	if c.readOnly != nil {
		return nil, c.readOnly
	}
	path := c.aliasPath(name) + aliasLockSuffix
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	return flock.Open(path)
}
