// Package archive reads images from files: OCI layouts, in a directory or a tar
// file, and what "docker save" writes.
//
// They answer the same questions as a registry, from a store that does not
// change while it is open. Nothing is unpacked, and documents are small or refused.
// No name leads out of an archive. In a directory the blobs may be links to
// anywhere, as layouts that share a store have them: their content is checked
// against their digests. The index, which nothing checks, must be inside.
package archive

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/fetch/image"
	"github.com/peelfs/peelfs/fetch/manifest"
	"github.com/peelfs/peelfs/internal/errkind"
)

// maxIndex is the largest index.json or manifest.json that is read, bytes.
const maxIndex = 20 << 20

// containerdName is where containerd and docker write the full reference.
const containerdName = "io.containerd.image.name"

// Files is the little that a store of files must do; *tarfile.File does.
type Files interface {
	ReadFile(name string, limit int64) ([]byte, error)
	Blob(name string) (image.Blob, error)
	Close() error
}

// Layout is an OCI image layout. It is safe for concurrent use.
type Layout struct {
	files Files
	label string // in messages
	raw   []byte // of the index
	index manifest.Index
}

// OpenLayout reads the index of a layout; label names it in messages.
func OpenLayout(files Files, label string) (*Layout, error) {
	raw, err := files.ReadFile(ocispec.ImageIndexFile, maxIndex)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errkind.WithHint(errkind.New(errkind.Invalid, "%s is not an OCI layout: it has no index.json", label),
			"archives of docker save are docker-archive:FILE")
	}
	if err != nil {
		return nil, err
	}
	x, err := manifest.ParseIndex(raw)
	if err != nil {
		return nil, errkind.New(errkind.Of(err), "%s: %w", label, err)
	}
	return &Layout{files: files, label: label, raw: raw, index: x}, nil
}

// Head finds what a name stands for: a tag, a full reference or its familiar
// form, or a digest. The empty name is for a layout that holds one image.
func (l *Layout) Head(_ context.Context, name string) (ocispec.Descriptor, error) {
	if name == "" {
		return l.only()
	}
	images := l.images()
	for _, fits := range []func(ref string) bool{
		func(ref string) bool { return ref == name },
		func(ref string) bool { return sameRef(ref, name) },
		func(ref string) bool { return tagOf(ref) == name },
	} {
		found := pick(images, func(d ocispec.Descriptor) bool {
			return fits(d.Annotations[ocispec.AnnotationRefName]) || fits(d.Annotations[containerdName])
		})
		if len(found) > 0 {
			return l.one(name, found)
		}
	}
	if found := pick(images, func(d ocispec.Descriptor) bool { return string(d.Digest) == name }); len(found) > 0 {
		return found[0], nil
	}
	return ocispec.Descriptor{}, choices(errkind.New(errkind.NotFound, "%s has no image %q", l.label, name), namesOf(images))
}

// one is the image that the entries of one name stand for. Several that differ in
// their platforms are one image; of others with that very name the first counts,
// but a tag that full references of several images share names none of them.
func (l *Layout) one(name string, found []ocispec.Descriptor) (ocispec.Descriptor, error) {
	switch {
	case sameImage(found):
		return found[0], nil
	case !slices.ContainsFunc(found, func(d ocispec.Descriptor) bool { return d.Platform == nil }):
		return indexOf(found)
	case slices.ContainsFunc(found, func(d ocispec.Descriptor) bool { return fullNameOf(d) != fullNameOf(found[0]) }):
		return ocispec.Descriptor{}, choices(errkind.New(errkind.Invalid, "%q means several images of %s", name, l.label), namesOf(found))
	}
	return found[0], nil
}

// images are the entries of the index that may be images.
func (l *Layout) images() []ocispec.Descriptor {
	return pick(l.index.Manifests, func(d ocispec.Descriptor) bool {
		return d.MediaType == "" || manifest.IsIndex(d.MediaType) || manifest.IsImage(d.MediaType)
	})
}

// maxLooks is how many manifests are read to find the one image of a layout.
const maxLooks = 64

// only is the one image of the layout. Signatures and other things that refer to
// an image do not count: they are told by their descriptors or, where these do not
// tell, by their manifests. Entries without names that differ in their platforms
// are one image for several.
func (l *Layout) only() (ocispec.Descriptor, error) {
	images := l.images()
	rest := pick(images, func(d ocispec.Descriptor) bool { return !aboutAnother(d) })
	if len(rest) > 1 && !sameImage(rest) && len(rest) <= maxLooks {
		rest = pick(rest, l.mayBeImage)
	}
	if len(rest) == 0 {
		rest = images // one that looks like something else may still be an image
	}
	nameless := !slices.ContainsFunc(rest, func(d ocispec.Descriptor) bool { return d.Platform == nil || nameOf(d) != "" })
	switch {
	case len(rest) == 0:
		return ocispec.Descriptor{}, errkind.New(errkind.NotFound, "%s holds no image", l.label)
	case sameImage(rest):
		return rest[0], nil
	case nameless && len(rest) == len(l.index.Manifests):
		return l.whole(), nil
	case nameless:
		return indexOf(rest)
	}
	return ocispec.Descriptor{}, choices(errkind.New(errkind.Invalid, "%s holds several images", l.label), namesOf(rest))
}

// aboutAnother reports whether an entry is marked as something that refers to an
// image: a signature, an attestation, a list of what is known of it.
func aboutAnother(d ocispec.Descriptor) bool {
	artifact := d.ArtifactType != "" && d.ArtifactType != ocispec.MediaTypeImageConfig && d.ArtifactType != manifest.DockerConfig
	kind := d.Annotations[cosignKind]
	return artifact || d.Annotations[manifest.Attestation] != "" || kind != "" && !strings.HasPrefix(kind, cosignImage) ||
		referrersName.MatchString(d.Annotations[ocispec.AnnotationRefName])
}

// What cosign says of an entry: cosignImage, with "Index" behind it for one of
// several platforms, or what the entry is about an image.
const (
	cosignKind  = "kind"
	cosignImage = "dev.cosignproject.cosign/image"
)

// referrersName is a tag that stands for what refers to the image of a digest.
var referrersName = regexp.MustCompile(`^sha(256|384|512)-[0-9a-f]{64}(\.[a-z]+)?$`)

// mayBeImage looks into the manifest of an entry: what has a subject, or no layer
// that is a file system, is no image of its own. What cannot be read may be one.
func (l *Layout) mayBeImage(d ocispec.Descriptor) bool {
	raw, err := l.files.ReadFile(blobName(d.Digest), manifest.MaxManifest)
	if err != nil || manifest.CheckDigest(d.Digest) != nil {
		return true
	}
	var m struct{ Subject *ocispec.Descriptor }
	if json.Unmarshal(raw, &m) == nil && m.Subject != nil {
		return false
	}
	if t, err := manifest.Detect(raw, d.MediaType); err != nil || !manifest.IsImage(t) {
		return true
	}
	_, err = manifest.ParseImage(raw)
	return !errkind.Is(err, errkind.Unsupported)
}

// whole is the layout's index as an image index.
func (l *Layout) whole() ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromBytes(l.raw), Size: int64(len(l.raw)), Data: l.raw}
}

// sameImage reports whether all entries have one digest.
func sameImage(entries []ocispec.Descriptor) bool {
	return !slices.ContainsFunc(entries, func(d ocispec.Descriptor) bool { return d.Digest != entries[0].Digest })
}

// indexOf is an image index of entries of the layout, which has none for them.
func indexOf(entries []ocispec.Descriptor) (ocispec.Descriptor, error) {
	x := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: entries}
	raw, err := json.Marshal(x)
	if err != nil {
		return ocispec.Descriptor{}, errkind.Wrap(errkind.Internal, err)
	}
	return ocispec.Descriptor{MediaType: x.MediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw)), Data: raw}, nil
}

// pick is the entries that keep wants.
func pick(entries []ocispec.Descriptor, keep func(ocispec.Descriptor) bool) []ocispec.Descriptor {
	var out []ocispec.Descriptor
	for _, d := range entries {
		if keep(d) {
			out = append(out, d)
		}
	}
	return out
}

// nameOf is the name that the layout gives an entry, "" for none.
func nameOf(d ocispec.Descriptor) string {
	if n := d.Annotations[ocispec.AnnotationRefName]; n != "" {
		return n
	}
	return d.Annotations[containerdName]
}

// tagOf is the tag of a full reference, "" if there is none.
func tagOf(ref string) string {
	i := strings.LastIndexByte(ref, ':')
	if i < 0 || strings.Contains(ref[i:], "/") {
		return ""
	}
	return ref[i+1:]
}

// fullNameOf is the name with most in it that the layout gives an entry.
func fullNameOf(d ocispec.Descriptor) string {
	if n := d.Annotations[containerdName]; n != "" {
		return n
	}
	return d.Annotations[ocispec.AnnotationRefName]
}

// namesOf is what the entries can be called by: a name, the full one where several
// share the other, or else the digest.
func namesOf(entries []ocispec.Descriptor) []string {
	count := map[string]int{}
	for _, d := range entries {
		count[nameOf(d)]++
	}
	var names []string
	for _, d := range entries {
		switch n := nameOf(d); {
		case n == "":
			names = append(names, d.Digest.String())
		case count[n] > 1:
			names = append(names, fullNameOf(d))
		default:
			names = append(names, n)
		}
	}
	return names
}

// choices adds to err the names that would have been right.
func choices(err error, names []string) error {
	const most = 20
	if len(names) == 0 {
		return err
	}
	more := ""
	if len(names) > most {
		names, more = names[:most], ", …"
	}
	return errkind.WithHint(err, "choose one of: %s%s", strings.Join(names, ", "), more)
}

// Tags lists the names of the images.
func (l *Layout) Tags(context.Context, int) ([]string, error) {
	tags := namesOf(pick(l.images(), func(d ocispec.Descriptor) bool { return nameOf(d) != "" }))
	slices.Sort(tags)
	return slices.Compact(tags), nil
}

func blobName(d digest.Digest) string {
	return path.Join(ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// Manifest reads the manifest that d describes, unverified. The layout's index has
// a digest too, which its images may be known by.
func (l *Layout) Manifest(ctx context.Context, d ocispec.Descriptor) (ocispec.Descriptor, error) {
	if whole := l.whole(); whole.Digest == d.Digest {
		return whole, nil
	}
	raw, err := l.Bytes(ctx, d, manifest.MaxManifest)
	d.Data, d.Size = raw, int64(len(raw))
	return d, err
}

// Bytes reads a whole small blob, unverified.
func (l *Layout) Bytes(_ context.Context, d ocispec.Descriptor, limit int64) ([]byte, error) {
	if err := manifest.CheckDigest(d.Digest); err != nil {
		return nil, err
	}
	return l.files.ReadFile(blobName(d.Digest), limit)
}

// Blob is the way to a layer. That it is missing, or of another size, shows at
// once.
func (l *Layout) Blob(d ocispec.Descriptor) (image.Blob, error) {
	if err := manifest.CheckDigest(d.Digest); err != nil {
		return nil, err
	}
	b, err := l.files.Blob(blobName(d.Digest))
	if err != nil {
		return nil, copyAgain(err)
	}
	if n, ok := b.Size(); ok && d.Size >= 0 && n != d.Size {
		return nil, copyAgain(errkind.New(errkind.Corrupt, "blob %s in %s has %d bytes instead of %d", d.Digest, l.label, n, d.Size))
	}
	return b, nil
}

// copyAgain is the advice for a layout that lacks some of what it names.
func copyAgain(err error) error {
	return errkind.WithHint(err, "the copy of the image is not whole: make it again")
}

// Close ends all access, that of blobs too.
func (l *Layout) Close() error { return l.files.Close() }
