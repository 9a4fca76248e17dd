package archive

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/fetch/image"
	"github.com/peelfs/peelfs/fetch/manifest"
	"github.com/peelfs/peelfs/fetch/tarfile"
	"github.com/peelfs/peelfs/fetch/v1image"
	"github.com/peelfs/peelfs/internal/errkind"
)

// OldMediaType is that of an Old image's manifest, which is our own record: what
// docker saved then had none.
const OldMediaType = "application/vnd.peelfs.docker-save.v1.image+json"

const (
	repositories = "repositories" // {"name":{"tag":"id"}}; missing if images were saved by ID

	// maxOldJSON is how much image JSON an archive may have in all, bytes.
	maxOldJSON = 64 << 20
)

// Old is an archive of "docker save" up to docker 1.9: one directory for each
// layer, named by its image ID, with a json that names the parent and a
// layer.tar.
type Old struct {
	files  *tarfile.File
	label  string
	tags   map[string]string // NAME:TAG -> ID
	images map[string]*v1image.Image
}

// OpenOld reads all JSON of the archive; label names it in messages. An archive
// without a single image is of kind Invalid.
func OpenOld(files *tarfile.File, label string) (*Old, error) {
	o := &Old{files: files, label: label, tags: map[string]string{}, images: map[string]*v1image.Image{}}
	if err := o.readImages(); err != nil {
		return nil, err
	}
	if len(o.images) == 0 {
		return nil, errkind.New(errkind.Invalid, "%s holds no image", label)
	}
	return o, o.readTags()
}

func (o *Old) readImages() error {
	total := 0
	for _, name := range o.files.Names() {
		id, base := path.Split(name)
		id = strings.TrimSuffix(id, "/")
		if base != "json" || !v1image.ValidID(id) {
			continue
		}
		raw, err := o.files.ReadFile(name, v1image.MaxJSON)
		if err != nil {
			return err
		}
		if total += len(raw); total > maxOldJSON {
			return errkind.New(errkind.Unsupported, "%s has more than %d bytes of image JSON", o.label, maxOldJSON)
		}
		img, err := v1image.Parse(raw)
		if err != nil {
			return errkind.New(errkind.Of(err), "%s in %s: %w", name, o.label, err)
		}
		if img.ID != id {
			return errkind.New(errkind.Corrupt, "%s in %s is the JSON of image %s", name, o.label, img.ID)
		}
		img.Throwaway = false // means something in schema 1 only
		o.images[id] = img
	}
	return nil
}

func (o *Old) readTags() error {
	raw, err := o.files.ReadFile(repositories, maxIndex)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var repos map[string]map[string]string
	if err := json.Unmarshal(raw, &repos); err != nil {
		return errkind.New(errkind.Corrupt, "%s in %s: %w", repositories, o.label, err)
	}
	for repo, tags := range repos {
		for tag, id := range tags {
			if err := v1image.CheckID(id); err != nil {
				return errkind.New(errkind.Corrupt, "%s in %s, %s:%s: %w", repositories, o.label, repo, tag, err)
			}
			o.tags[repo+":"+tag] = id
		}
	}
	return nil
}

// Names lists the tags of the archive, and the IDs of images that have no tag and
// are not part of another.
func (o *Old) Names() []string {
	names := slices.Collect(maps.Keys(o.tags))
	tagged := slices.Collect(maps.Values(o.tags))
	for _, id := range o.tops() {
		if !slices.Contains(tagged, id) {
			names = append(names, id)
		}
	}
	slices.Sort(names)
	return names
}

// tops are the images that are no other's parent, sorted.
func (o *Old) tops() []string {
	parents := map[string]bool{}
	for _, img := range o.images {
		parents[img.Parent] = true
	}
	var out []string
	for id := range o.images {
		if !parents[id] {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// Image finds an image by its digest, if that is not "", or else by a name, a
// tag, an ID or the beginning of one; the empty name is for an archive with one
// image.
func (o *Old) Image(ctx context.Context, name string, want digest.Digest) (*image.Image, error) {
	if want != "" {
		return o.byDigest(ctx, want)
	}
	id, err := o.find(name)
	if err != nil {
		return nil, err
	}
	chain, err := o.chain(id)
	if err != nil {
		return nil, err
	}
	return o.assemble(ctx, chain)
}

// byDigest finds the image with a digest among those that have a tag or are not
// part of another. The digest is that of our own record of an image, so records
// are made until it is met, and together no longer than the archive is.
func (o *Old) byDigest(ctx context.Context, want digest.Digest) (*image.Image, error) {
	if err := manifest.CheckDigest(want); err != nil {
		return nil, errkind.Wrap(errkind.Invalid, err)
	}
	ids := o.tagged(func(string) bool { return true })
	for _, id := range o.tops() {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	left := o.files.Size()
	for _, id := range ids {
		chain, err := o.chain(id)
		if err != nil {
			continue
		}
		img, err := o.assemble(ctx, chain)
		if err == nil && want.Algorithm().FromBytes(img.RawManifest) == want {
			img.Digest, img.ManifestDigest = want, want
			return img, nil
		}
		if err == nil {
			left -= int64(len(img.RawManifest))
		}
		if left < 0 || ctx.Err() != nil {
			break
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return nil, choices(errkind.New(errkind.NotFound, "%s has no image of the digest %s", o.label, want), o.Names())
}

func (o *Old) find(name string) (string, error) {
	if name == "" {
		return o.only()
	}
	for _, fits := range []func(tag string) bool{
		func(tag string) bool { return sameRef(tag, name) },
		func(tag string) bool { return tagOf(tag) == name },
	} {
		if ids := o.tagged(fits); len(ids) > 0 {
			return o.one(name, ids)
		}
	}
	var ids []string
	for id := range o.images {
		if id == name || len(name) >= 4 && strings.HasPrefix(id, name) {
			ids = append(ids, id)
		}
	}
	if len(ids) > 0 {
		slices.Sort(ids)
		return o.one(name, ids)
	}
	return "", choices(errkind.New(errkind.NotFound, "%s has no image %q", o.label, name), o.Names())
}

// tagged are the IDs, each once, of the tags that fit.
func (o *Old) tagged(fits func(string) bool) []string {
	var ids []string
	for tag, id := range o.tags {
		if fits(tag) && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func (o *Old) one(name string, ids []string) (string, error) {
	if len(ids) > 1 {
		return "", choices(errkind.New(errkind.Invalid, "%q means %d images of %s", name, len(ids), o.label), ids)
	}
	return ids[0], nil
}

// only is the image of an archive that holds one: by its tags, or by its layers
// where it has none.
func (o *Old) only() (string, error) {
	ids := o.tagged(func(string) bool { return true })
	if len(ids) == 0 {
		ids = o.tops()
	}
	if len(ids) != 1 {
		return "", choices(errkind.New(errkind.Invalid, "%s holds %d images", o.label, len(ids)), o.Names())
	}
	return ids[0], nil
}

// chain follows the parents; base first.
func (o *Old) chain(id string) ([]*v1image.Image, error) {
	var out []*v1image.Image
	for below := ""; id != ""; below = out[len(out)-1].ID {
		img := o.images[id]
		if img == nil && below == "" {
			return nil, errkind.New(errkind.Corrupt, "%s does not hold image %s, which it has a tag for", o.label, id)
		}
		if img == nil {
			return nil, errkind.New(errkind.Corrupt, "%s does not hold image %s, the parent of %s", o.label, id, below)
		}
		if len(out) >= v1image.MaxDepth {
			return nil, errkind.New(errkind.Unsupported, "image %s has more than %d layers, or is its own parent", out[0].ID, v1image.MaxDepth)
		}
		out = append(out, img)
		id = img.Parent
	}
	slices.Reverse(out)
	return out, nil
}

// record is the manifest that we write for an old image.
type record struct {
	SchemaVersion int           `json:"schemaVersion"`
	MediaType     string        `json:"mediaType"`
	Layers        []recordLayer `json:"layers"` // base first
}

type recordLayer struct {
	ID   string `json:"id"`
	JSON []byte `json:"json"`
	Size int64  `json:"size"`
}

func (o *Old) assemble(ctx context.Context, chain []*v1image.Image) (*image.Image, error) {
	img := &image.Image{MediaType: OldMediaType, History: v1image.History(chain), OldID: chain[len(chain)-1].ID}
	rec := record{SchemaVersion: 1, MediaType: OldMediaType}
	for _, c := range chain {
		l, err := o.layer(ctx, c.ID)
		if err != nil {
			return nil, err
		}
		rec.Layers = append(rec.Layers, recordLayer{c.ID, c.Raw, l.Descriptor.Size})
		img.Layers = append(img.Layers, l)
		img.Size += l.Descriptor.Size
	}
	var err error
	if img.RawManifest, err = json.Marshal(rec); err != nil {
		return nil, errkind.Wrap(errkind.Internal, err)
	}
	img.Digest = digest.FromBytes(img.RawManifest)
	img.ManifestDigest = img.Digest
	if img.RawConfig, err = v1image.Config(chain, img.History, nil); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(img.RawConfig, &img.Config); err != nil {
		return nil, errkind.New(errkind.Corrupt, "configuration: %w", err)
	}
	img.Platform = image.Normalize(img.Config.Platform)
	return img, nil
}

// layer describes one layer.tar. It has no digest anywhere: only where it lies
// names it.
func (o *Old) layer(ctx context.Context, id string) (image.Layer, error) {
	name := id + "/layer.tar"
	target, err := o.files.Target(name)
	if errors.Is(err, fs.ErrNotExist) {
		return image.Layer{}, errkind.New(errkind.Corrupt, "%s lacks the layer of image %s", o.label, id)
	}
	if err != nil {
		return image.Layer{}, err
	}
	blob, err := o.files.Blob(name)
	if err != nil {
		return image.Layer{}, err
	}
	packed, err := compression(ctx, blob)
	if err != nil {
		return image.Layer{}, err
	}
	size, _ := blob.Size()
	return image.Layer{
		Descriptor: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer + packed, Size: size},
		Blob:       blob,
		Alias:      "docker-archive:" + o.files.Label(target),
	}, nil
}
