// Package archive reads images from files: OCI layouts, in a directory or a tar
// file, and what "docker save" writes.
//
// They answer the same questions as a registry, from a store that does not
// change while it is open. Nothing is unpacked, no name leads out of the layout
// or archive, and documents are small or refused.
package archive

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/fetch/image"
	"github.com/peelfs/peelfs/fetch/manifest"
	"github.com/peelfs/peelfs/fetch/tarfile"
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
	raw   []byte
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

// Head finds what a name stands for: a tag, a full reference, or a digest. The
// empty name is for a layout that holds one image.
func (l *Layout) Head(_ context.Context, name string) (ocispec.Descriptor, error) {
	images := l.images()
	if name == "" {
		return l.only(images)
	}
	for _, fits := range []func(ocispec.Descriptor) bool{
		func(d ocispec.Descriptor) bool { return d.Annotations[ocispec.AnnotationRefName] == name },
		func(d ocispec.Descriptor) bool { return d.Annotations[containerdName] == name },
		func(d ocispec.Descriptor) bool { return string(d.Digest) == name },
		func(d ocispec.Descriptor) bool { return tagOf(d.Annotations[ocispec.AnnotationRefName]) == name },
		func(d ocispec.Descriptor) bool { return tagOf(d.Annotations[containerdName]) == name },
	} {
		if i := slices.IndexFunc(images, fits); i >= 0 {
			return images[i], nil
		}
	}
	return ocispec.Descriptor{}, choices(errkind.New(errkind.NotFound, "%s has no image %q", l.label, name), l.names())
}

// images are the entries of the index that may be images.
func (l *Layout) images() []ocispec.Descriptor {
	return slices.DeleteFunc(slices.Clone(l.index.Manifests), func(d ocispec.Descriptor) bool {
		return !manifest.IsIndex(d.MediaType) && !manifest.IsImage(d.MediaType)
	})
}

// only is the one image of the layout. Entries without names that differ in
// their platforms are one image for several.
func (l *Layout) only(images []ocispec.Descriptor) (ocispec.Descriptor, error) {
	first := slices.IndexFunc(images, func(d ocispec.Descriptor) bool { return d.ArtifactType == "" })
	switch {
	case first < 0:
		return ocispec.Descriptor{}, errkind.New(errkind.NotFound, "%s holds no image", l.label)
	case !slices.ContainsFunc(images, func(d ocispec.Descriptor) bool { return d.Digest != images[first].Digest }):
		return images[first], nil
	case !slices.ContainsFunc(images, func(d ocispec.Descriptor) bool { return d.Platform == nil || nameOf(d) != "" }):
		return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromBytes(l.raw),
			Size: int64(len(l.raw)), Data: l.raw}, nil
	}
	return ocispec.Descriptor{}, choices(errkind.New(errkind.Invalid, "%s holds several images", l.label), l.names())
}

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

func (l *Layout) names() []string {
	var names []string
	for _, d := range l.images() {
		if n := nameOf(d); n != "" {
			names = append(names, n)
		} else {
			names = append(names, d.Digest.String())
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
	var tags []string
	for _, d := range l.images() {
		if n := nameOf(d); n != "" {
			tags = append(tags, n)
		}
	}
	slices.Sort(tags)
	return slices.Compact(tags), nil
}

func blobName(d digest.Digest) string {
	return path.Join(ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// Manifest reads the manifest that d describes, unverified.
func (l *Layout) Manifest(ctx context.Context, d ocispec.Descriptor) (ocispec.Descriptor, error) {
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

// Dir is a directory as Files. Symlinks that lead out of it are refused.
type Dir struct {
	root *os.Root
	name string
}

// OpenDir opens a directory. Errors: NotFound, Invalid.
func OpenDir(name string) (*Dir, error) {
	root, err := os.OpenRoot(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errkind.WithHint(errkind.New(errkind.NotFound, "no directory %s", name),
			"check the path; a layout in one file is oci-archive:FILE")
	}
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "open layout: %w", err)
	}
	return &Dir{root, name}, nil
}

func (d *Dir) open(name string) (*os.File, int64, error) {
	f, err := d.root.OpenFile(name, unix.O_NONBLOCK, 0) // a fifo would wait for who writes to it
	if err != nil {
		return nil, 0, errkind.New(errkind.NotFound, "layout %s: %w", d.name, err)
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = errkind.New(errkind.Corrupt, "layout %s: %s is not a file", d.name, name)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, st.Size(), nil
}

// ReadFile implements Files.
func (d *Dir) ReadFile(name string, limit int64) ([]byte, error) {
	f, size, err := d.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > limit {
		return nil, errkind.New(errkind.Unsupported, "%s in %s has %d bytes, more than %d", name, d.name, size, limit)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// Blob implements Files.
func (d *Dir) Blob(name string) (image.Blob, error) {
	f, size, err := d.open(name)
	if err != nil {
		return nil, err
	}
	f.Close()
	return dirBlob{d, name, size}, nil
}

// Close implements Files.
func (d *Dir) Close() error { return d.root.Close() }

// dirBlob opens its file for each range: a layout may have many layers, and a
// mount lives long.
type dirBlob struct {
	dir  *Dir
	name string
	size int64
}

func (b dirBlob) Size() (int64, bool) { return b.size, true }

func (b dirBlob) ReadRange(ctx context.Context, off, n int64) (io.ReadCloser, int64, error) {
	f, _, err := b.dir.open(b.name)
	if err != nil {
		return nil, 0, err
	}
	r, at, err := tarfile.ReadRangeAt(ctx, io.NewSectionReader(f, 0, b.size), off, n)
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return fileRange{r, f}, at, nil
}

type fileRange struct {
	io.Reader
	f *os.File
}

func (r fileRange) Close() error { return r.f.Close() }
