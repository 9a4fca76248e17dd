package fetch

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/fetch/archive"
	"github.com/peelfs/peelfs/fetch/blobcache"
	"github.com/peelfs/peelfs/fetch/image"
	"github.com/peelfs/peelfs/fetch/manifest"
	"github.com/peelfs/peelfs/fetch/registry"
	"github.com/peelfs/peelfs/fetch/tarfile"
	"github.com/peelfs/peelfs/internal/errkind"
)

// maxNesting is how deep indexes may lie within each other, and maxVisited how
// many manifests one resolution may read.
const (
	maxNesting = 4
	maxVisited = 32
)

// source is a place that holds documents and blobs by digest, and names for some
// of them. What it returns is not verified yet.
type source interface {
	Head(ctx context.Context, target string) (Descriptor, error)    // of a tag or a digest; with Data if the manifest was read
	Manifest(ctx context.Context, d Descriptor) (Descriptor, error) // d with Data, and what the source says of its media type
	Bytes(ctx context.Context, d Descriptor, limit int64) ([]byte, error)
	Blob(d Descriptor) (Blob, error)
	Tags(ctx context.Context, pages int) ([]string, error)
}

// Head says what ref means now: one HEAD request, or GET where HEAD fails.
func (c *Client) Head(ctx context.Context, ref Reference) (Descriptor, error) {
	d, err := c.headOf(ctx, ref)
	d.Data = nil
	return d, err
}

func (c *Client) headOf(ctx context.Context, ref Reference) (Descriptor, error) {
	switch ref.Transport() {
	case image.DockerArchive, image.DockerDaemon:
		img, err := c.dockerArchive(ctx, ref)
		if err != nil {
			return Descriptor{}, err
		}
		return Descriptor{MediaType: img.MediaType, Digest: img.Digest, Size: int64(len(img.RawManifest))}, nil
	}
	if c.onlyV1(ref) {
		img, err := c.resolveV1(ctx, ref)
		if err != nil {
			return Descriptor{}, err
		}
		return Descriptor{MediaType: img.MediaType, Digest: img.Digest, Size: int64(len(img.RawManifest))}, nil
	}
	src, err := c.source(ctx, ref)
	if err != nil {
		return Descriptor{}, err
	}
	top, err := c.top(ctx, src, ref)
	if c.tryV1(ctx, ref, err) {
		img, err1 := c.resolveV1(ctx, ref)
		if err1 == nil {
			return Descriptor{MediaType: img.MediaType, Digest: img.Digest, Size: int64(len(img.RawManifest))}, nil
		}
		return Descriptor{}, bothFailed(err, err1)
	}
	return top, err
}

// Resolve finds the image that ref names for a platform: its manifest and its
// configuration, from the cache where they are there. With a digest that is in
// the cache it sends nothing.
func (c *Client) Resolve(ctx context.Context, ref Reference, platform Platform) (*Image, error) {
	img, err := c.resolve(ctx, ref, platform)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref.Familiar(), err)
	}
	img.Reference = ref
	c.attach(img, ref)
	if err := c.checkPlatform(img, platform); err != nil {
		return nil, fmt.Errorf("%s: %w", ref.Familiar(), err)
	}
	return img, nil
}

func (c *Client) resolve(ctx context.Context, ref Reference, platform Platform) (*Image, error) {
	if platform.Architecture == "" {
		platform = image.DefaultPlatform()
	}
	switch ref.Transport() {
	case "":
		return nil, errkind.New(errkind.Invalid, "empty reference")
	case image.DockerArchive, image.DockerDaemon:
		img, err := c.dockerArchive(ctx, ref)
		if !errors.Is(err, archive.ErrNoManifest) || ref.Transport() == image.DockerDaemon {
			return img, err
		}
		// A path without a word may be that of a layout in a tar.
		f, openErr := c.tarFile(ctx, ref.Path())
		if openErr == nil {
			_, openErr = archive.OpenLayout(f, ref.Path())
		}
		if openErr != nil {
			return nil, err
		}
		return c.resolve(ctx, ref.As(image.OCIArchive), platform)
	}
	if c.onlyV1(ref) {
		return c.resolveV1(ctx, ref)
	}
	src, err := c.source(ctx, ref)
	if err != nil {
		return nil, err
	}
	top, err := c.top(ctx, src, ref)
	if c.tryV1(ctx, ref, err) {
		img, err1 := c.resolveV1(ctx, ref)
		if err1 != nil {
			return nil, bothFailed(err, err1)
		}
		return img, nil
	}
	if err != nil {
		return nil, err
	}
	w := &walk{c: c, src: src, want: image.Normalize(platform), top: top.Digest}
	return w.visit(ctx, top, 0)
}

// checkPlatform: an image without an index is taken as it is by who asked for no
// platform, or for this machine's, but not silently. Who asked for another one
// does not get it.
func (c *Client) checkPlatform(img *Image, want Platform) error {
	own := image.DefaultPlatform()
	if want.Architecture == "" {
		want = own
	}
	have := img.Platform
	if have.Architecture == "" || have.OS == want.OS && have.Architecture == want.Architecture {
		return nil
	}
	if want.OS != own.OS || want.Architecture != own.Architecture {
		return manifest.NoPlatform(want, []string{FormatPlatform(have)})
	}
	c.log.Warn("the image is for another platform", "image", img.Reference.Familiar(),
		"platform", FormatPlatform(have), "wanted", FormatPlatform(want))
	return nil
}

// source opens where ref points to.
func (c *Client) source(ctx context.Context, ref Reference) (source, error) {
	switch ref.Transport() {
	case image.Docker:
		return repository{c.repository(ref)}, nil
	case image.OCI:
		d, err := c.dir(ref.Path())
		if err != nil {
			return nil, err
		}
		return layout(archive.OpenLayout(d, ref.Path()))
	case image.OCIArchive:
		f, err := c.tarFile(ctx, ref.Path())
		if err != nil {
			return nil, hintColon(ref, err)
		}
		return layout(archive.OpenLayout(f, ref.Path()))
	}
	return nil, errkind.New(errkind.Unsupported, "%s: no such transport", ref.Transport())
}

// hintColon says how a file with a colon in its name is named, where a file is
// missing and something follows a colon.
func hintColon(ref Reference, err error) error {
	if errkind.Is(err, errkind.NotFound) && ref.Transport() != image.DockerDaemon && ref.Tag() != "" {
		return errkind.WithHint(err, "check the path; the colon in front of %q ends the file's name, as no file has a longer one", ref.Tag())
	}
	return err
}

func layout(l *archive.Layout, err error) (source, error) {
	if err != nil {
		return nil, err
	}
	return l, nil
}

// repository gives a registry's repository the shape of a source.
type repository struct{ *registry.Repository }

func (r repository) Blob(d Descriptor) (Blob, error) { return r.Repository.Blob(d), nil }

// top is the descriptor of what ref names. A digest needs no request.
func (c *Client) top(ctx context.Context, src source, ref Reference) (Descriptor, error) {
	if ref.Digest() == "" {
		d, err := src.Head(ctx, ref.Tag())
		if errkind.Is(err, errkind.NotFound) && ref.Transport() == image.Docker {
			err = c.hintTags(ctx, src, ref, err)
		}
		return d, err
	}
	if err := manifest.CheckDigest(ref.Digest()); err != nil {
		return Descriptor{}, errkind.Wrap(errkind.Invalid, err)
	}
	d := Descriptor{Digest: ref.Digest()}
	if raw, ok := c.cache.Get(d.Digest, manifest.MaxManifest); ok {
		d.Data, d.Size = raw, int64(len(raw))
		return d, nil
	}
	return src.Manifest(ctx, d)
}

// walk finds one image below a manifest, which may be an index.
type walk struct {
	c       *Client
	src     source
	want    Platform
	top     digest.Digest
	have    []string // platforms met on the way
	visited int
}

func (w *walk) visit(ctx context.Context, d Descriptor, depth int) (*Image, error) {
	if w.visited++; depth > maxNesting || w.visited > maxVisited {
		return nil, errkind.New(errkind.Unsupported, "indexes within indexes, too many or deeper than %d", maxNesting)
	}
	d, mediaType, err := w.document(ctx, d)
	if err != nil {
		return nil, err
	}
	switch {
	case manifest.IsIndex(mediaType):
		return w.index(ctx, d.Data, depth)
	case manifest.IsSchema1(mediaType):
		return w.schema1(ctx, d, mediaType)
	}
	return w.image(ctx, d, mediaType)
}

// document gets the bytes of a manifest, verified, and its type.
func (w *walk) document(ctx context.Context, d Descriptor) (Descriptor, string, error) {
	expected := d.MediaType
	if d.Size > manifest.MaxManifest {
		return d, "", errkind.New(errkind.Unsupported, "manifest of %d bytes is larger than %d", d.Size, manifest.MaxManifest)
	}
	if d.Data == nil {
		if raw, ok := w.c.cache.Get(d.Digest, manifest.MaxManifest); ok {
			d.Data = raw
		}
	}
	if d.Data == nil {
		size := d.Size
		var err error
		if d, err = w.src.Manifest(ctx, d); err != nil {
			return d, "", err
		}
		if size > 0 && d.Size != size && !manifest.IsSchema1(expected) {
			return d, "", errkind.New(errkind.Corrupt, "manifest %s has %d bytes instead of %d", d.Digest, d.Size, size)
		}
	}
	mediaType, err := manifest.Detect(d.Data, d.MediaType)
	if err == nil && expected != "" && expected != d.MediaType {
		_, err = manifest.Detect(d.Data, expected)
	}
	if err != nil {
		return d, "", err
	}
	if manifest.IsSchema1(mediaType) {
		return d, mediaType, nil // verified by its own rule
	}
	return d, mediaType, w.c.cache.Put(d.Digest, d.Data)
}

// index tries the entries that fit, best first. One that turns out to hold
// nothing for the platform leads to the next.
func (w *walk) index(ctx context.Context, raw []byte, depth int) (*Image, error) {
	x, err := manifest.ParseIndex(raw)
	if err != nil {
		return nil, err
	}
	w.have = append(w.have, x.Platforms()...)
	for _, d := range x.Candidates(w.want) {
		if err := manifest.CheckDescriptor(d); err != nil {
			return nil, err
		}
		if err := inline(&d); err != nil {
			return nil, err
		}
		img, err := w.visit(ctx, d, depth+1)
		artifact := manifest.PerhapsArtifact(d) && errkind.Is(err, errkind.Unsupported)
		if !errkind.Is(err, errkind.Platform) && !artifact {
			return img, err
		}
	}
	slices.Sort(w.have)
	return nil, manifest.NoPlatform(w.want, slices.Compact(slices.Clone(w.have)))
}

// inline checks the content that a descriptor may carry; none stays none.
func inline(d *Descriptor) error {
	if len(d.Data) == 0 {
		d.Data = nil
		return nil
	}
	if int64(len(d.Data)) != d.Size {
		return errkind.New(errkind.Corrupt, "inline data of %s has %d bytes instead of %d", d.Digest, len(d.Data), d.Size)
	}
	return blobcache.Verify(d.Digest, d.Data)
}

// image assembles what an image manifest describes.
func (w *walk) image(ctx context.Context, d Descriptor, mediaType string) (*Image, error) {
	m, err := manifest.ParseImage(d.Data)
	if err != nil {
		return nil, err
	}
	raw, err := w.config(ctx, m.Config)
	if err != nil {
		return nil, errkind.New(errkind.Of(err), "configuration: %w", err)
	}
	config, err := manifest.ParseConfig(raw, len(m.Layers))
	if err != nil {
		return nil, err
	}
	img := &Image{
		Digest: w.top, ManifestDigest: d.Digest, MediaType: mediaType,
		RawManifest: d.Data, RawConfig: raw, Config: config,
		Platform: image.Normalize(config.Platform), History: config.History,
	}
	for i, ld := range m.Layers {
		blob, err := w.blob(ld)
		if err != nil {
			return nil, errkind.New(errkind.Of(err), "layer %d of %d: %w", i+1, len(m.Layers), err)
		}
		ld.Data = nil
		img.Layers = append(img.Layers, Layer{Descriptor: ld, DiffID: config.RootFS.DiffIDs[i], Blob: blob})
		img.Size += ld.Size
	}
	return img, nil
}

func (w *walk) blob(d Descriptor) (Blob, error) {
	if err := inline(&d); err != nil {
		return nil, err
	}
	if d.Data != nil {
		return memory(d.Data), nil
	}
	return w.src.Blob(d)
}

// config gets the configuration's bytes, verified.
func (w *walk) config(ctx context.Context, d Descriptor) ([]byte, error) {
	if err := inline(&d); err != nil {
		return nil, err
	}
	if d.Data != nil {
		return d.Data, nil
	}
	if raw, ok := w.c.cache.Get(d.Digest, manifest.MaxConfig); ok {
		return raw, nil
	}
	raw, err := w.src.Bytes(ctx, d, manifest.MaxConfig)
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) != d.Size {
		return nil, errkind.New(errkind.Corrupt, "%s has %d bytes instead of %d", d.Digest, len(raw), d.Size)
	}
	return raw, w.c.cache.Put(d.Digest, raw)
}

// dockerArchive resolves what an archive of docker save, or the daemon, has.
func (c *Client) dockerArchive(ctx context.Context, ref Reference) (*Image, error) {
	open, name := c.daemonFile, ""
	if ref.Transport() == image.DockerArchive {
		name = ref.Tag()
		open = func(ctx context.Context, ref Reference) (*tarfile.File, error) { return c.tarFile(ctx, ref.Path()) }
	}
	f, err := open(ctx, ref)
	if err != nil {
		return nil, hintColon(ref, err)
	}
	a, err := archive.OpenDocker(f, ref.Name())
	var img *Image
	switch {
	case errors.Is(err, archive.ErrNoManifest):
		img, err = oldArchive(ctx, f, ref, name, err)
	case err == nil:
		img, err = a.Image(ctx, name, ref.Digest())
	}
	return img, err
}

// archiveNames lists the images of an archive.
func (c *Client) archiveNames(ctx context.Context, ref Reference) ([]string, error) {
	f, err := c.tarFile(ctx, ref.Path())
	if err != nil {
		return nil, err
	}
	a, err := archive.OpenDocker(f, ref.Name())
	if errors.Is(err, archive.ErrNoManifest) {
		if old, oerr := archive.OpenOld(f, ref.Name()); oerr == nil {
			return old.Names(), nil
		}
	}
	if err != nil {
		return nil, err
	}
	return a.Names(), nil
}

// oldArchive resolves what docker saved before manifest.json came. Where nothing
// of that is there either, why is the answer.
func oldArchive(ctx context.Context, f *tarfile.File, ref Reference, name string, why error) (*Image, error) {
	old, err := archive.OpenOld(f, ref.Name())
	if errkind.Is(err, errkind.Invalid) {
		return nil, why
	}
	if err != nil {
		return nil, err
	}
	return old.Image(ctx, name, ref.Digest())
}
