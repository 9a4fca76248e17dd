// Package layers turns the layers of images into indexes and bytes.
//
// A Layer is an immutable value named by the digest of its blob. Whatever its
// format, it becomes an index (package layers/index: what is in it and where)
// and data (package layers/spanfile: the uncompressed bytes, span by span), both
// in the cache directory, which all processes of a user share.
//
// Invariants: no byte of a layer is given to a reader before a digest that names
// it was verified; an index is published, by rename, only when it is whole; and
// everything in the cache directory may be deleted when no process is running.
package layers

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"
)

// Blob is where the compressed bytes of a layer come from. Methods are safe for
// concurrent use.
type Blob interface {
	// ReadRange opens the n bytes at off; a negative n means to the end. The
	// body begins at byte at of the blob: at off, or before it where a server
	// ignores ranges and sends the whole blob. The caller closes the body. A
	// body that ends early returns an error other than io.EOF.
	ReadRange(ctx context.Context, off, n int64) (body io.ReadCloser, at int64, err error)

	// Size is the length of the blob in bytes, if it is known.
	Size() (n int64, known bool)
}

// Source describes a layer as an image's manifest does.
type Source struct {
	// Digest of the blob as it is stored and sent; empty if nobody knows it
	// before the blob was read (Registry v1, some archives). Alias must then
	// name the blob, and the digest is learned at the first reading.
	Digest digest.Digest
	Alias  string

	// DiffID is the digest of the uncompressed tar; empty if unknown.
	DiffID digest.Digest

	MediaType   string
	Annotations map[string]string
	Blob        Blob

	// Table gets the blob that holds the table of contents of an eStargz layer
	// outside the layer; nil if there is none.
	Table func(ctx context.Context) ([]byte, error)

	// Ztoc gets the ztoc of a layer that somebody has indexed with SOCI; nil
	// bytes if there is none. It may be nil.
	Ztoc func(ctx context.Context) ([]byte, error)

	// OnlyZtoc gets the digest of the one ztoc that may be believed, also if the
	// cache has an index made from another; "" means that none may. It is nil if
	// all may.
	OnlyZtoc func(ctx context.Context) (digest.Digest, error)

	// ZtocIndex is the digest of the SOCI index by which OnlyZtoc answers; "" if it
	// believes none.
	ZtocIndex digest.Digest
}

// key names a source within a process. Two that believe other things of one blob are
// layers by themselves: each image is held to its own word.
func (s Source) key() string {
	name := string(s.Digest)
	if name == "" {
		name = "alias\x00" + s.Alias
	}
	if s.OnlyZtoc != nil {
		name += "\x00only " + string(s.ZtocIndex)
	}
	return name + "\x00" + string(s.DiffID)
}

// size is the length of the blob in bytes, or -1.
func (s Source) size() int64 {
	if n, ok := s.Blob.Size(); ok {
		return n
	}
	return -1
}

// contradict reports whether a and b cannot both be digests of the same bytes:
// they are of one algorithm and differ. Digests of two algorithms say nothing
// about each other, and neither does "".
func contradict(a, b digest.Digest) bool {
	return a != "" && b != "" && a.Algorithm() == b.Algorithm() && a != b
}
