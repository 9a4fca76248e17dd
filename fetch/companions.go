package fetch

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/fetch/blobcache"
	"github.com/peelfs/peelfs/fetch/image"
	"github.com/peelfs/peelfs/fetch/manifest"
	"github.com/peelfs/peelfs/fetch/registry"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/flight"
)

// Media types and annotations of SOCI indexes (soci-snapshotter,
// docs/soci-index-manifest-v2.md).
const (
	sociV1          = "application/vnd.amazon.soci.index.v1+json"
	sociV2          = "application/vnd.amazon.soci.index.v2+json"
	sociIndexDigest = "com.amazon.soci.index-digest"
	sociLayerDigest = "com.amazon.soci.image-layer-digest"
)

// stargzLayer names, in an image of tables of contents, the layer that a table is
// about (stargz-snapshotter, docs/external-toc.md).
const (
	stargzLayer  = "containerd.io/snapshot/stargz/layer.digest"
	stargzSuffix = "-esgztoc"
)

// Limits on what lies beside an image.
const (
	maxZtoc      = 256 << 20 // bytes
	maxTableBlob = 64 << 20
	maxIndexes   = 4 // SOCI indexes of one image that are looked at

	searchTimeout = 30 * time.Second // of finding something; the layers themselves do without
	searchMemory  = time.Minute      // how long a failure to find it stays one
)

// companions are the artifacts that others have put beside an image to make its
// layers readable piece by piece: SOCI indexes, and images of tables of contents.
// Nothing is asked for before a layer needs it.
type companions struct {
	client *Client
	ref    Reference
	image  digest.Digest // of the image's manifest
	raw    []byte        // that manifest

	coveredOnly   bool // SOCI indexes are used only if the image's digest covers them
	ztocs, tables *search
}

// search is one search for all layers of an image. What it found, or that there is
// nothing, stays; a failure does for searchMemory.
type search = flight.Group[struct{}, found]

func newSearch() *search { return &search{KeepValue: flight.Forever, KeepError: searchMemory} }

// attach gives the layers of img the ways to what lies beside it.
func (c *Client) attach(img *Image, ref Reference) {
	if c.cfg.SOCI == "off" {
		for i := range img.Layers {
			img.Layers[i].OnlyZtoc = func(context.Context) (digest.Digest, error) { return "", nil }
		}
	}
	switch ref.Transport() {
	case image.Docker, image.OCI, image.OCIArchive:
	default:
		return
	}
	if !manifest.IsImage(img.MediaType) {
		return
	}
	own := &companions{client: c, ref: ref, image: img.ManifestDigest, raw: img.RawManifest,
		coveredOnly: c.cfg.SOCI == "v2" || c.cfg.SOCI == "auto" && ref.Pinned(),
		ztocs:       newSearch(), tables: newSearch()}
	for i := range img.Layers {
		d := img.Layers[i].Descriptor.Digest
		if c.cfg.SOCI != "off" {
			img.Layers[i].Ztoc = func(ctx context.Context) ([]byte, error) {
				return own.get(ctx, own.ztocs, own.findZtocs, d, maxZtoc)
			}
		}
		if own.coveredOnly {
			img.Layers[i].ZtocIndex, _ = own.namedIndex() // the search tells the error
			img.Layers[i].OnlyZtoc = func(ctx context.Context) (digest.Digest, error) {
				all, err := own.search(ctx, own.ztocs, own.findZtocs)
				return all[d].Digest, err
			}
		}
		if ref.Tag() != "" {
			img.Layers[i].Table = func(ctx context.Context) ([]byte, error) {
				return own.get(ctx, own.tables, own.findTables, d, maxTableBlob)
			}
		}
	}
}

// found is where something about each layer lies.
type found map[digest.Digest]Descriptor

// namedIndex is the digest of the SOCI index that the image's manifest names, or "".
func (c *companions) namedIndex() (digest.Digest, error) {
	var m ocispec.Manifest
	if err := json.Unmarshal(c.raw, &m); err != nil {
		return "", errkind.New(errkind.Corrupt, "manifest: %w", err)
	}
	return digest.Digest(m.Annotations[sociIndexDigest]), nil
}

// get returns what the search finds about a layer, verified; nil if nothing.
func (c *companions) get(ctx context.Context, s *search, find func(context.Context, source) (found, error), layer digest.Digest, limit int64) ([]byte, error) {
	all, err := c.search(ctx, s, find)
	d, ok := all[layer]
	if err != nil || !ok {
		return nil, err
	}
	src, err := c.client.source(ctx, c.ref)
	if err != nil {
		return nil, err
	}
	return blobOf(ctx, src, d, limit)
}

// search is what the search finds, be it now or before.
func (c *companions) search(ctx context.Context, s *search, find func(context.Context, source) (found, error)) (found, error) {
	return s.Do(ctx, struct{}{}, func(ctx context.Context) (found, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, searchTimeout, errkind.New(errkind.Timeout, "no answer in %v", searchTimeout))
		defer cancel()
		src, err := c.client.source(ctx, c.ref)
		if err != nil {
			return nil, err
		}
		return find(ctx, src)
	})
}

// blobOf reads a blob of at most limit bytes and verifies it.
func blobOf(ctx context.Context, src source, d Descriptor, limit int64) ([]byte, error) {
	if err := manifest.CheckDescriptor(d); err != nil {
		return nil, err
	}
	if d.Size > limit {
		return nil, errkind.New(errkind.Unsupported, "blob %s of %d bytes is larger than %d", d.Digest, d.Size, limit)
	}
	raw, err := src.Bytes(ctx, d, d.Size)
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) != d.Size {
		return nil, errkind.New(errkind.Corrupt, "%s has %d bytes instead of %d", d.Digest, len(raw), d.Size)
	}
	return raw, blobcache.Verify(d.Digest, raw)
}

// findZtocs finds the image's SOCI index: the one that its manifest names, or,
// unless only what the image's digest covers is wanted, one that names the
// manifest.
func (c *companions) findZtocs(ctx context.Context, src source) (found, error) {
	named, err := c.namedIndex()
	if err != nil {
		return nil, err
	}
	if named != "" {
		return c.readIndex(ctx, src, Descriptor{Digest: named}, sociV2)
	}
	if c.coveredOnly {
		return nil, nil
	}
	list, err := c.referrers(ctx, src)
	if err != nil {
		return nil, err
	}
	all := found{}
	for _, d := range list[:min(len(list), maxIndexes)] {
		more, err := c.readIndex(ctx, src, d, sociV1)
		if errkind.Is(err, errkind.NotFound) || errkind.Is(err, errkind.Corrupt) || errkind.Is(err, errkind.Unsupported) {
			c.client.log.Warn("a SOCI index is not used", "image", c.ref.Familiar(), "index", d.Digest, "reason", err)
			continue
		}
		if err != nil {
			return nil, err
		}
		for layer, z := range more {
			if _, ok := all[layer]; !ok {
				all[layer] = z
			}
		}
	}
	return all, nil
}

// referrers are the SOCI indexes that name the image's manifest.
func (c *companions) referrers(ctx context.Context, src source) ([]Descriptor, error) {
	if r, ok := src.(repository); ok {
		list, err := r.Referrers(ctx, c.image, sociV1)
		if !errkind.Is(err, errkind.NotFound) {
			return list, err
		}
	}
	d, err := tagged(ctx, src, registry.ReferrersTag(c.image))
	if errkind.Is(err, errkind.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if t, err := manifest.Detect(d.Data, d.MediaType); err != nil || !manifest.IsIndex(t) {
		return nil, nil
	}
	x, err := manifest.ParseIndex(d.Data)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(x.Manifests, func(d Descriptor) bool { return d.ArtifactType != sociV1 }), nil
}

// tagged reads the manifest that a tag of src names.
func tagged(ctx context.Context, src source, tag string) (Descriptor, error) {
	if r, ok := src.(repository); ok {
		return r.Tagged(ctx, tag)
	}
	d, err := src.Head(ctx, tag)
	if err != nil || d.Data != nil {
		return d, err
	}
	return verified(ctx, src, d)
}

// verified reads the manifest d and checks its digest.
func verified(ctx context.Context, src source, d Descriptor) (Descriptor, error) {
	if err := manifest.CheckDigest(d.Digest); err != nil {
		return d, err
	}
	d, err := src.Manifest(ctx, d)
	if err != nil {
		return d, err
	}
	return d, blobcache.Verify(d.Digest, d.Data)
}

// readIndex reads a SOCI index of the given version.
func (c *companions) readIndex(ctx context.Context, src source, d Descriptor, version string) (found, error) {
	cached, ok := c.client.cache.Get(d.Digest, manifest.MaxManifest)
	if ok {
		d.Data = cached
	} else {
		var err error
		if d, err = verified(ctx, src, d); err != nil {
			return nil, err
		}
		if err := c.client.cache.Put(d.Digest, d.Data); err != nil {
			return nil, err
		}
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(d.Data, &m); err != nil {
		return nil, errkind.New(errkind.Corrupt, "SOCI index: %w", err)
	}
	if m.ArtifactType != version && m.Config.MediaType != version {
		return nil, errkind.New(errkind.Unsupported, "%s is no SOCI index of type %s", d.Digest, version)
	}
	if version == sociV1 && (m.Subject == nil || m.Subject.Digest != c.image) {
		return nil, errkind.New(errkind.Corrupt, "SOCI index %s is about another image", d.Digest)
	}
	return byAnnotation(m.Layers, sociLayerDigest), nil
}

// byAnnotation sorts blobs by the layer that an annotation of theirs names. The
// first that names a layer is the one for it.
func byAnnotation(blobs []Descriptor, key string) found {
	all := found{}
	for _, d := range blobs {
		layer := digest.Digest(d.Annotations[key])
		if _, ok := all[layer]; !ok && layer != "" {
			all[layer] = d
		}
	}
	return all
}

// findTables finds the image that holds the tables of contents of eStargz layers.
// It is beside the image's tag, and what it says is checked against the digest in
// the layer's descriptor.
func (c *companions) findTables(ctx context.Context, src source) (found, error) {
	d, err := tagged(ctx, src, c.ref.Tag()+stargzSuffix)
	if errkind.Is(err, errkind.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var m ocispec.Manifest
	if t, err := manifest.Detect(d.Data, d.MediaType); err != nil || !manifest.IsImage(t) {
		return nil, nil
	}
	if err := json.Unmarshal(d.Data, &m); err != nil {
		return nil, errkind.New(errkind.Corrupt, "image of tables: %w", err)
	}
	return byAnnotation(m.Layers, stargzLayer), nil
}
