package archive

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/fetch/image"
	"github.com/peelfs/peelfs/fetch/manifest"
	"github.com/peelfs/peelfs/fetch/tarfile"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/tarstream"
)

// saveManifest is the file that "docker save" writes since 1.10.
const saveManifest = "manifest.json"

// ErrNoManifest is what OpenDocker's error wraps if there is no manifest.json:
// the archive may be older than that.
var ErrNoManifest = errors.New("no manifest.json")

// Docker is an archive of "docker save" or of one of its imitators. Its
// manifest.json decides about the order of layers, also where an OCI layout lies
// beside it: docker 25.0.0 wrote that one in random order.
type Docker struct {
	files *tarfile.File
	label string
	list  []saved
}

// saved is one image as manifest.json has it.
type saved struct {
	Config   string
	RepoTags []string
	Layers   []string

	raw json.RawMessage
}

// OpenDocker reads the manifest of the archive; label names it in messages.
func OpenDocker(files *tarfile.File, label string) (*Docker, error) {
	raw, err := files.ReadFile(saveManifest, maxIndex)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errkind.WithHint(errkind.New(errkind.Invalid, "%s is not an archive of docker save: %w", label, ErrNoManifest),
			"archives of OCI layouts are oci-archive:FILE")
	}
	if err != nil {
		return nil, err
	}
	if err := manifest.CheckParts(raw); err != nil {
		return nil, errkind.New(errkind.Of(err), "%s in %s: %w", saveManifest, label, err)
	}
	var entries []json.RawMessage
	if err := json.Unmarshal(raw, &entries); err != nil {
		return nil, errkind.New(errkind.Corrupt, "%s in %s: %w", saveManifest, label, err)
	}
	d := &Docker{files: files, label: label, list: make([]saved, len(entries))}
	for i := range entries {
		d.list[i].raw = entries[i]
		if err := json.Unmarshal(entries[i], &d.list[i]); err != nil {
			return nil, errkind.New(errkind.Corrupt, "%s in %s: %w", saveManifest, label, err)
		}
	}
	return d, nil
}

// Image finds an image by its digest, if that is not "", or else by a name, a
// tag, the beginning of its ID, or @N for the Nth; the empty name is for an
// archive of one image. The image's digest is that of its configuration, which is
// what docker calls the image ID: an archive has no manifest that a registry would
// know.
func (d *Docker) Image(ctx context.Context, name string, want digest.Digest) (*image.Image, error) {
	find := func() (saved, error) { return d.find(name) }
	if want != "" {
		find = func() (saved, error) { return d.byDigest(ctx, want) }
	}
	s, err := find()
	if err != nil {
		return nil, err
	}
	config, err := d.files.ReadFile(s.Config, manifest.MaxConfig)
	if err != nil {
		return nil, errkind.New(errkind.Of(err), "configuration: %w", err)
	}
	id := digest.FromBytes(config)
	if want != "" {
		id = want
	}
	parsed, err := manifest.ParseConfig(config, len(s.Layers))
	if err != nil {
		return nil, err
	}
	img := &image.Image{
		Digest: id, ManifestDigest: id, MediaType: manifest.DockerManifest,
		RawManifest: s.raw, RawConfig: config, Config: parsed,
		Platform: image.Normalize(parsed.Platform), History: parsed.History,
	}
	for i, name := range s.Layers {
		l, err := d.layer(ctx, name, parsed.RootFS.DiffIDs[i])
		if err != nil {
			return nil, errkind.New(errkind.Of(err), "layer %d of %d: %w", i+1, len(s.Layers), err)
		}
		img.Layers = append(img.Layers, l)
		img.Size += l.Descriptor.Size
	}
	return img, nil
}

// layer describes one member. If it is not compressed, its digest is its diffID;
// else its name may tell, and at worst it has only an alias.
func (d *Docker) layer(ctx context.Context, name string, diffID digest.Digest) (image.Layer, error) {
	blob, err := d.files.Blob(name)
	if err != nil {
		return image.Layer{}, err
	}
	packed, err := compression(ctx, blob)
	if err != nil {
		return image.Layer{}, err
	}
	size, _ := blob.Size()
	l := image.Layer{DiffID: diffID, Blob: blob,
		Descriptor: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer + packed, Size: size}}
	switch named := blobDigest(name); {
	case packed == "":
		l.Descriptor.Digest = diffID
	case named != "":
		l.Descriptor.Digest = named
	default:
		l.Alias = "docker-archive:" + d.files.Label(name)
	}
	return l, nil
}

// blobDigest reads the digest out of the name of a layout's blob.
func blobDigest(name string) digest.Digest {
	parts := strings.Split(name, "/")
	if len(parts) < 3 || parts[len(parts)-3] != ocispec.ImageBlobsDir {
		return ""
	}
	d := digest.NewDigestFromEncoded(digest.Algorithm(parts[len(parts)-2]), parts[len(parts)-1])
	if d.Validate() != nil {
		return ""
	}
	return d
}

// compression is the suffix of the media type that the first bytes call for.
func compression(ctx context.Context, blob image.Blob) (string, error) {
	size, _ := blob.Size()
	body, _, err := blob.ReadRange(ctx, 0, min(size, tarstream.HeadSize))
	if err != nil {
		return "", err
	}
	defer body.Close()
	head, err := io.ReadAll(body)
	if err != nil {
		return "", err
	}
	if packed := tarstream.Detect(head); packed != tarstream.None {
		return "+" + packed.String(), nil
	}
	return "", nil
}

func (d *Docker) find(name string) (saved, error) {
	if name == "" {
		if len(d.list) == 1 {
			return d.list[0], nil
		}
		return saved{}, choices(errkind.New(errkind.Invalid, "%s holds %d images", d.label, len(d.list)), d.Names())
	}
	if n, err := strconv.Atoi(strings.TrimPrefix(name, "@")); err == nil && strings.HasPrefix(name, "@") && n >= 0 && n < len(d.list) {
		return d.list[n], nil
	}
	id := strings.TrimPrefix(name, "sha256:")
	if i := slices.IndexFunc(d.list, func(s saved) bool { return s.has(func(t string) bool { return sameRef(t, name) }) }); i >= 0 {
		return d.list[i], nil
	}
	for _, fits := range []func(saved) bool{
		func(s saved) bool { return s.has(func(t string) bool { return tagOf(t) == name }) },
		func(s saved) bool { return len(id) >= 4 && strings.HasPrefix(s.id(), id) },
	} {
		i := slices.IndexFunc(d.list, fits)
		if i < 0 {
			continue
		}
		if slices.ContainsFunc(d.list[i+1:], func(s saved) bool { return fits(s) && s.Config != d.list[i].Config }) {
			return saved{}, choices(errkind.New(errkind.Invalid, "%q means several images of %s", name, d.label), d.Names())
		}
		return d.list[i], nil
	}
	return saved{}, choices(errkind.New(errkind.NotFound, "%s has no image %q", d.label, name), d.Names())
}

// byDigest finds the image whose configuration has a digest. Those are looked at
// first that are named so; each configuration is read once at most, and together
// no more bytes than the archive has, whatever its list and its sparse members say.
func (d *Docker) byDigest(ctx context.Context, want digest.Digest) (saved, error) {
	if err := manifest.CheckDigest(want); err != nil {
		return saved{}, errkind.Wrap(errkind.Invalid, err)
	}
	left, seen := d.files.Size(), map[string]bool{}
	for _, named := range []bool{true, false} {
		for _, s := range d.list {
			target, err := d.files.Target(s.Config)
			if err != nil || seen[target] || named && s.id() != want.Encoded() {
				continue
			}
			seen[target] = true
			raw, err := d.files.ReadFile(target, min(left, manifest.MaxConfig))
			if err != nil {
				continue // it is not the one, or the image cannot be used
			}
			if want.Algorithm().FromBytes(raw) == want {
				return s, nil
			}
			left -= int64(len(raw))
			if err := ctx.Err(); err != nil {
				return saved{}, err
			}
		}
	}
	return saved{}, choices(errkind.New(errkind.NotFound, "%s has no image of the digest %s", d.label, want), d.Names())
}

// has reports whether one of the image's names fits.
func (s saved) has(fits func(string) bool) bool { return slices.ContainsFunc(s.RepoTags, fits) }

// id is the image's ID as the name of its configuration has it.
func (s saved) id() string {
	base := s.Config[strings.LastIndexByte(s.Config, '/')+1:]
	return strings.TrimSuffix(base, ".json")
}

// sameRef compares references that may be short or complete.
func sameRef(a, b string) bool {
	na, err1 := reference.ParseDockerRef(a)
	nb, err2 := reference.ParseDockerRef(b)
	return a == b || err1 == nil && err2 == nil && na.String() == nb.String()
}

// Names lists the tags of the archive; an image without one shows its ID.
func (d *Docker) Names() []string {
	var names []string
	for _, s := range d.list {
		if len(s.RepoTags) == 0 {
			names = append(names, s.id())
		}
		names = append(names, s.RepoTags...)
	}
	return names
}
