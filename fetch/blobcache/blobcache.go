// Package blobcache keeps manifests and configurations by their digest.
//
// What Get returns has the digest that it was asked for: every read is verified,
// and what does not match is removed. The cache may be lost, shared between
// processes, or full; none of that makes a caller fail.
package blobcache

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	_ "crypto/sha256" // the digests that can be verified
	_ "crypto/sha512"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/atomicfile"
	"github.com/peelfs/peelfs/internal/errkind"
)

// Cache is a directory blobs/ALG/HEX. The zero value keeps nothing.
type Cache struct{ dir string }

// New is the cache within dir; "" keeps nothing.
func New(dir string) Cache {
	if dir == "" {
		return Cache{}
	}
	return Cache{filepath.Join(dir, "blobs")}
}

func (c Cache) path(d digest.Digest) string {
	return filepath.Join(c.dir, d.Algorithm().String(), d.Encoded())
}

// Get returns the bytes with digest d, if they are here and at most limit.
func (c Cache) Get(d digest.Digest, limit int64) ([]byte, bool) {
	if c.dir == "" || d.Validate() != nil {
		return nil, false
	}
	f, err := os.Open(c.path(d))
	if err != nil {
		return nil, false
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil || int64(len(raw)) > limit {
		return nil, false
	}
	if d.Algorithm().FromBytes(raw) != d {
		os.Remove(c.path(d))
		return nil, false
	}
	return raw, true
}

// Has reports whether there is a file for the blob d. It is verified only by Get.
func (c Cache) Has(d digest.Digest) bool {
	if c.dir == "" || d.Validate() != nil {
		return false
	}
	_, err := os.Stat(c.path(d))
	return err == nil
}

// Put keeps raw, whose digest is d; another digest is an error (Corrupt). That
// there is no room is none.
func (c Cache) Put(d digest.Digest, raw []byte) error {
	if err := Verify(d, raw); err != nil {
		return err
	}
	if c.dir == "" {
		return nil
	}
	if known, ok := c.Get(d, int64(len(raw))); ok && bytes.Equal(known, raw) {
		return nil
	}
	path := c.path(d)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil
	}
	_ = atomicfile.Write(path, raw, 0o644) // the next one will read it again
	return nil
}

var errDigest = errors.New("digest does not match")

// Verify is nil if raw has the digest d, else of kind Corrupt, or Unsupported for
// a digest that cannot be computed.
func Verify(d digest.Digest, raw []byte) error {
	switch err := d.Validate(); {
	case errors.Is(err, digest.ErrDigestUnsupported):
		return errkind.New(errkind.Unsupported, "digest %q: unknown algorithm", d)
	case err != nil:
		return errkind.New(errkind.Corrupt, "digest %q: %w", d, err)
	}
	if got := d.Algorithm().FromBytes(raw); got != d {
		return errkind.New(errkind.Corrupt, "%w: these are %s and not %s", errDigest, got, d)
	}
	return nil
}

// Prune removes the blobs that keep does not want and that nobody stored
// since the given time, and returns the bytes freed. Whoever resolves an image
// meanwhile may find a blob gone, and asks for it again. With dryRun nothing goes.
func (c Cache) Prune(keep func(digest.Digest) bool, since time.Time, dryRun bool) (freed int64, err error) {
	if c.dir == "" {
		return 0, nil
	}
	files, err := filepath.Glob(filepath.Join(c.dir, "*", "*"))
	var errs []error
	for _, path := range files {
		d := digest.NewDigestFromEncoded(digest.Algorithm(filepath.Base(filepath.Dir(path))), filepath.Base(path))
		fi, err := os.Lstat(path)
		if err != nil || !fi.Mode().IsRegular() || fi.ModTime().After(since) || d.Validate() == nil && keep(d) {
			continue
		}
		if !dryRun {
			if err := os.Remove(path); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		freed += fi.Size()
	}
	return freed, errors.Join(append(errs, err)...)
}
