package fetch

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/fetch/image"
	"github.com/peelfs/peelfs/fetch/manifest"
	"github.com/peelfs/peelfs/fetch/registry"
	"github.com/peelfs/peelfs/internal/errkind"
)

// Annotations of SOCI indexes that only who writes them needs.
const (
	sociLayerType   = "com.amazon.soci.image-layer-mediaType"
	sociSpanSize    = "com.amazon.soci.span-size"
	sociBuildTool   = "com.amazon.soci.build-tool-identifier"
	sociImageDigest = "com.amazon.soci.image-manifest-digest"
)

// Ztoc is what a SOCI index is to say of one layer.
type Ztoc struct {
	Layer    Descriptor
	Bytes    []byte
	SpanSize int64 // bytes
}

// PushIndex writes a SOCI index of the image img to the repository of ref, as
// version 1: a manifest that refers to the image's, which stays as it is. Where
// the registry has no referrers API, the tag in its place is written too; two
// who write that at once may lose one of their entries.
func (c *Client) PushIndex(ctx context.Context, ref Reference, img *Image, ztocs []Ztoc) (Descriptor, error) {
	p, err := c.pusher(ref, img)
	if err != nil {
		return Descriptor{}, err
	}
	m, err := c.sociManifest(ctx, p, sociV1, ztocs)
	if err != nil {
		return Descriptor{}, err
	}
	m.Subject = &Descriptor{MediaType: img.MediaType, Digest: img.ManifestDigest, Size: int64(len(img.RawManifest))}
	raw, err := json.Marshal(m)
	if err != nil {
		return Descriptor{}, errkind.Wrap(errkind.Internal, err)
	}
	d, known, err := p.Manifest(ctx, "", m.MediaType, raw)
	if err != nil || known {
		return d, err
	}
	d.ArtifactType, d.Annotations = sociV1, m.Annotations
	return d, addReferrer(ctx, p, img.ManifestDigest, d)
}

// PushIndexedImage writes the image img once more under a tag, as version 2 of
// the SOCI format has it: an index of the image's manifest, which now names the
// SOCI index, and of that. The layers stay where they are.
func (c *Client) PushIndexedImage(ctx context.Context, ref Reference, img *Image, tag string, ztocs []Ztoc) (Descriptor, error) {
	p, err := c.pusher(ref, img)
	if err != nil {
		return Descriptor{}, err
	}
	m, err := c.sociManifest(ctx, p, sociV2, ztocs)
	if err != nil {
		return Descriptor{}, err
	}
	platform := img.Platform
	soci, err := pushJSON(ctx, p, "", m.MediaType, m)
	if err != nil {
		return Descriptor{}, err
	}
	annotated, err := withIndex(img, soci.Digest)
	if err != nil {
		return Descriptor{}, err
	}
	main, err := pushJSON(ctx, p, "", ocispec.MediaTypeImageManifest, annotated)
	if err != nil {
		return Descriptor{}, err
	}
	main.Platform, soci.Platform, soci.ArtifactType = &platform, &platform, sociV2
	main.Annotations = map[string]string{sociIndexDigest: soci.Digest.String()}
	soci.Annotations = map[string]string{sociImageDigest: main.Digest.String()}
	return pushJSON(ctx, p, tag, ocispec.MediaTypeImageIndex, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex, Manifests: []Descriptor{main, soci}})
}

// pusher is for writing what belongs to img beside it.
func (c *Client) pusher(ref Reference, img *Image) (*registry.Pusher, error) {
	if ref.Transport() != image.Docker {
		return nil, errkind.WithHint(errkind.New(errkind.Unsupported, "%s is not in a registry", ref.Familiar()),
			"an index can be pushed only to where the image is; move it with: peelfs index export")
	}
	if !manifest.IsImage(img.MediaType) {
		return nil, errkind.New(errkind.Unsupported, "an image of type %s has no digest that an index could name", img.MediaType)
	}
	return registry.OpenPusher(c.shared, ref), nil
}

// sociManifest pushes the blobs of a SOCI index and returns its manifest.
func (c *Client) sociManifest(ctx context.Context, p *registry.Pusher, version string, ztocs []Ztoc) (ocispec.Manifest, error) {
	tool := c.cfg.UserAgent
	if tool == "" {
		tool = "peelfs"
	}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Annotations: map[string]string{sociBuildTool: tool}}
	var err error
	if m.Config, err = p.Blob(ctx, []byte("{}")); err != nil {
		return m, err
	}
	m.Config.MediaType = version
	for _, z := range ztocs {
		d, err := p.Blob(ctx, z.Bytes)
		if err != nil {
			return m, err
		}
		d.Annotations = map[string]string{sociLayerDigest: z.Layer.Digest.String(), sociLayerType: z.Layer.MediaType,
			sociSpanSize: strconv.FormatInt(z.SpanSize, 10)}
		m.Layers = append(m.Layers, d)
	}
	return m, nil
}

func pushJSON(ctx context.Context, p *registry.Pusher, tag, mediaType string, v any) (Descriptor, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return Descriptor{}, errkind.Wrap(errkind.Internal, err)
	}
	d, _, err := p.Manifest(ctx, tag, mediaType, raw)
	return d, err
}

// ociTypes are docker's media types in OCI's terms: docker's manifests have no
// annotations.
var ociTypes = map[string]string{
	manifest.DockerConfig:                               ocispec.MediaTypeImageConfig,
	"application/vnd.docker.image.rootfs.diff.tar":      ocispec.MediaTypeImageLayer,
	"application/vnd.docker.image.rootfs.diff.tar.gzip": ocispec.MediaTypeImageLayerGzip,
	"application/vnd.docker.image.rootfs.diff.tar.zstd": ocispec.MediaTypeImageLayerZstd,
}

// withIndex is the manifest of img, as OCI has it, with the SOCI index named.
func withIndex(img *Image, soci digest.Digest) (ocispec.Manifest, error) {
	var m ocispec.Manifest
	if err := json.Unmarshal(img.RawManifest, &m); err != nil {
		return m, errkind.New(errkind.Corrupt, "manifest: %w", err)
	}
	m.MediaType = ocispec.MediaTypeImageManifest
	for _, d := range append([]*Descriptor{&m.Config}, pointers(m.Layers)...) {
		if t := ociTypes[d.MediaType]; t != "" {
			d.MediaType = t
		}
	}
	if m.Annotations == nil {
		m.Annotations = map[string]string{}
	}
	m.Annotations[sociIndexDigest] = soci.String()
	return m, nil
}

func pointers(list []Descriptor) []*Descriptor {
	out := make([]*Descriptor, len(list))
	for i := range list {
		out[i] = &list[i]
	}
	return out
}

// addReferrer adds d to the tag that lists what refers to subject.
func addReferrer(ctx context.Context, p *registry.Pusher, subject digest.Digest, d Descriptor) error {
	tag := registry.ReferrersTag(subject)
	x := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	have, err := p.Tagged(ctx, tag)
	if err == nil {
		if t, terr := manifest.Detect(have.Data, have.MediaType); terr != nil || !manifest.IsIndex(t) {
			return errkind.New(errkind.Unsupported, "the tag %s, which should list what refers to the image, is something else", tag)
		}
		err = json.Unmarshal(have.Data, &x)
	}
	if err != nil && !errkind.Is(err, errkind.NotFound) {
		return err
	}
	if slices.ContainsFunc(x.Manifests, func(e Descriptor) bool { return e.Digest == d.Digest }) {
		return nil
	}
	x.Manifests = append(x.Manifests, d)
	_, err = pushJSON(ctx, p, tag, ocispec.MediaTypeImageIndex, x)
	return err
}
