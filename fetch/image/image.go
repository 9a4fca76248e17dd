// Package image holds the values that fetching is about: a reference, a
// platform, and the image that the two of them name.
//
// All of them are immutable once shared. The package does no I/O but to look whether
// a bare path is a directory, so that every kind of source (registries of both generations, layouts, archives) can speak
// in the same terms without importing each other.
package image

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Blob is the content of one layer, wherever it lies. It is safe for use by
// several goroutines.
type Blob interface {
	// ReadRange opens the n bytes at off; n < 0 means up to the end. at is the
	// offset of the body's first byte: off, or 0 when a server ignored the range
	// and sends everything from the start. A body that ends before its last byte
	// ends with an error and never with io.EOF. The bytes are not verified: that
	// is for who sees all of them. The caller closes the body.
	ReadRange(ctx context.Context, off, n int64) (body io.ReadCloser, at int64, err error)

	// Size is the length in bytes, if it is known without asking.
	Size() (int64, bool)
}

// Layer is one layer of an image and the way to its bytes.
type Layer struct {
	Descriptor ocispec.Descriptor // Digest is "" when unknown until the blob was read; Size is -1 then too if unknown
	DiffID     digest.Digest      // of the uncompressed tar; "" if the image does not say
	Blob       Blob
	Alias      string // names the blob within its source when Descriptor.Digest is ""

	// Ztoc gets what a SOCI index beside the image says of the layer, and Table
	// the table of contents of an eStargz layer that lies in another image. Both
	// are verified as far as their digests go; nil bytes mean that there is none.
	// Either function may be nil.
	Ztoc, Table func(ctx context.Context) ([]byte, error)

	// OnlyZtoc gets the digest of the one ztoc that may be believed about the
	// layer, "" if none may; it is nil if all may.
	OnlyZtoc func(ctx context.Context) (digest.Digest, error)

	// ZtocIndex is the digest of the SOCI index by which OnlyZtoc answers, if any.
	ZtocIndex digest.Digest
}

// Image is a manifest and its configuration: all that is read eagerly.
type Image struct {
	Reference      Reference
	Digest         digest.Digest // what the reference names: an index or a manifest
	ManifestDigest digest.Digest // the manifest for the platform; Digest if there is no index
	MediaType      string        // of the manifest
	RawManifest    []byte
	RawConfig      []byte
	Config         ocispec.Image
	Platform       ocispec.Platform // as the configuration says, variant included
	Layers         []Layer          // base first
	History        []ocispec.History
	Size           int64  // sum of the compressed sizes that are known, bytes
	OldID          string // docker's id from before images had digests, 64 or 16 hex digits; "" if it has none
}

// LayerHistory gives for each layer the history entry that made it, or nil when
// the history is absent or does not match the layers: it is only a comment.
func (img *Image) LayerHistory() []*ocispec.History {
	out := make([]*ocispec.History, len(img.Layers))
	n := 0
	for i := range img.History {
		if img.History[i].EmptyLayer {
			continue
		}
		if n < len(out) {
			out[n] = &img.History[i]
		}
		n++
	}
	if n != len(out) {
		clear(out)
	}
	return out
}
