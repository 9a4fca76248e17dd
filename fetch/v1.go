package fetch

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/peelfs/peelfs/fetch/image"
	"github.com/peelfs/peelfs/fetch/login"
	"github.com/peelfs/peelfs/fetch/registryv1"
	"github.com/peelfs/peelfs/fetch/schema1"
	"github.com/peelfs/peelfs/internal/errkind"
)

// onlyV1 reports whether ref is to be read by the first protocol and no other:
// as the user says, or because its digest is that of a record made by it.
func (c *Client) onlyV1(ref Reference) bool {
	if ref.Transport() != image.Docker || c.cfg.RegistryAPI == "v2" {
		return false
	}
	if c.cfg.RegistryAPI == "v1" || ref.Digest() == "" {
		return c.cfg.RegistryAPI == "v1"
	}
	raw, ok := c.cache.Get(ref.Digest(), registryv1.MaxManifest)
	return ok && registryv1.IsManifest(raw)
}

// tryV1 reports whether an error of the second protocol is a reason to try the
// first: the registry knows nothing, and has not even the second one.
func (c *Client) tryV1(ctx context.Context, ref Reference, err error) bool {
	return ref.Transport() == image.Docker && c.cfg.RegistryAPI == "auto" && ref.Digest() == "" &&
		errkind.Is(err, errkind.NotFound) && !c.repository(ref).SpeaksV2(ctx)
}

// bothFailed is the error where neither protocol worked: that of the first, unless
// it is as little there as the second.
func bothFailed(v2, v1 error) error {
	if !errkind.Is(v1, errkind.NotFound) {
		return v1
	}
	return errkind.New(errkind.Of(v2), "%w; nor by the first registry protocol: %w", v2, v1)
}

func (c *Client) sessionV1(ref Reference) (*registryv1.Session, error) {
	return registryv1.New(registryv1.Options{
		Host: ref.Domain(), Repository: ref.Repository(), Network: c.net, UserAgent: c.cfg.UserAgent, Logger: c.log,
		Credentials: func(ctx context.Context) (string, string, string, error) {
			cred, source, err := c.find.Find(ctx, ref.Domain(), ref.Repository())
			return cred.Username, cred.Password, login.Describe(cred, source), err
		},
		Policy: c.cfg.Retry, Retried: c.shared.Retried,
	})
}

// resolveV1 reads an image by the first protocol. Its manifest is our own record
// of what the registry said, kept under its digest like any other: a reference
// with that digest is resolved from the cache, and from nowhere else.
func (c *Client) resolveV1(ctx context.Context, ref Reference) (*Image, error) {
	s, err := c.sessionV1(ref)
	if err != nil {
		return nil, err
	}
	m, err := c.manifestV1(ctx, s, ref)
	if err != nil {
		return nil, err
	}
	raw, err := m.Encode()
	if err != nil {
		return nil, err
	}
	config, _, err := m.Config()
	if err != nil {
		return nil, err
	}
	d := digest.FromBytes(raw)
	img := &Image{Digest: d, ManifestDigest: d, MediaType: registryv1.MediaType, RawManifest: raw, RawConfig: config, OldID: m.ID}
	for _, l := range m.Layers {
		blob := s.Layer(l)
		img.Layers = append(img.Layers, Layer{Descriptor: unnamed("", l.Size), Blob: blob, Alias: blob.Alias()})
		img.Size += max(l.Size, 0)
	}
	if err := c.cache.Put(d, raw); err != nil {
		return nil, err
	}
	return img, c.derived(img)
}

func (c *Client) manifestV1(ctx context.Context, s *registryv1.Session, ref Reference) (*registryv1.Manifest, error) {
	if ref.Digest() == "" {
		return s.Resolve(ctx, ref.Tag())
	}
	raw, ok := c.cache.Get(ref.Digest(), registryv1.MaxManifest)
	if !ok {
		return nil, errkind.WithHint(errkind.New(errkind.NotFound, "%s is not in the cache, and a registry of the first protocol knows no digests", ref.Digest()),
			"use the tag alone")
	}
	m, err := registryv1.ParseManifest(raw)
	if err == nil && m.Registry != ref.Domain() {
		err = errkind.New(errkind.NotFound, "%s is an image of %s", ref.Digest(), m.Registry)
	}
	return m, err
}

// unnamed describes a layer of which the media type and, perhaps, the digest and
// the size are unknown before it is read.
func unnamed(d digest.Digest, size int64) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: d, Size: size}
}

// derived keeps the configuration of an image that has none of its own, so that
// all of what the image's name needs is in the cache as with any other, and
// decodes it.
func (c *Client) derived(img *Image) error {
	if err := c.cache.Put(digest.FromBytes(img.RawConfig), img.RawConfig); err != nil {
		return err
	}
	return decodeConfig(img)
}

// decodeConfig fills what follows from img.RawConfig.
func decodeConfig(img *Image) error {
	if err := json.Unmarshal(img.RawConfig, &img.Config); err != nil {
		return errkind.New(errkind.Corrupt, "configuration: %w", err)
	}
	img.Platform, img.History = image.Normalize(img.Config.Platform), img.Config.History
	return nil
}

// schema1 assembles what a manifest of the old schema describes. Its digest is
// over its payload, and the sizes of its layers are not in it.
func (w *walk) schema1(ctx context.Context, d Descriptor, mediaType string) (*Image, error) {
	m, err := schema1.Parse(d.Data)
	if err != nil {
		return nil, err
	}
	if err := matches(d, m); err != nil {
		return nil, err
	}
	if w.top == d.Digest {
		w.top = m.Digest
	}
	// What the digest covers is kept: the manifest less its signatures. If that is
	// what we have, it came from there, and nobody is to be asked.
	_, kept := w.c.cache.Get(m.Digest, int64(len(m.Payload)))
	if err := w.c.cache.Put(m.Digest, m.Payload); err != nil {
		return nil, err
	}
	img := &Image{Digest: w.top, ManifestDigest: m.Digest, MediaType: mediaType,
		RawManifest: d.Data, RawConfig: m.Config, OldID: m.ID}
	sizes := w.sizes(ctx, m.Layers, !kept || !bytes.Equal(d.Data, m.Payload))
	for i, l := range m.Layers {
		ld := unnamed(l.BlobSum, sizes[i])
		blob, err := w.src.Blob(ld)
		if err != nil {
			return nil, err
		}
		img.Layers = append(img.Layers, Layer{Descriptor: ld, Blob: blob})
		img.Size += max(sizes[i], 0)
	}
	return img, w.c.derived(img)
}

// sizer is a source that can be asked for the size of a blob.
type sizer interface {
	BlobSize(ctx context.Context, d digest.Digest) (int64, error)
}

// sizes asks for those of all layers at once. It is a courtesy to those who show
// progress and split downloads: -1 is as good, also without a network.
func (w *walk) sizes(ctx context.Context, layers []schema1.Layer, ask bool) []int64 {
	out := make([]int64, len(layers))
	src, ok := w.src.(sizer)
	ok = ok && ask
	var g errgroup.Group
	g.SetLimit(8)
	for i, l := range layers {
		out[i] = -1
		g.Go(func() error {
			if ok {
				if n, err := src.BlobSize(ctx, l.BlobSum); err == nil {
					out[i] = n
				}
			}
			return nil
		})
	}
	_ = g.Wait() // never fails
	return out
}

// matches checks the digest by which a schema 1 manifest was asked for or
// announced: that of its payload, or of all its bytes where nobody said one.
func matches(d Descriptor, m *schema1.Manifest) error {
	want := d.Digest
	if want.Validate() == nil && (want.Algorithm().FromBytes(m.Payload) == want || want.Algorithm().FromBytes(d.Data) == want) {
		return nil
	}
	return errkind.New(errkind.Corrupt, "manifest is %s and not %s", m.Digest, want)
}
