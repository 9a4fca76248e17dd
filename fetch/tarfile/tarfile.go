// Package tarfile gives random access to the members of a tar file that holds
// an image.
//
// The archive is read once, by seeking from header to header, and its members
// are then sections of the file: nothing is unpacked. A compressed archive
// cannot be sought in and is spooled, decompressed, to a temporary file that has
// no name. No member name, and no symlink, leads out of the archive.
package tarfile

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/peelfs/peelfs/fetch/image"
	"github.com/peelfs/peelfs/internal/errkind"
)

const (
	maxMembers  = 1 << 17 // an archive of an image has a few hundred
	maxSymlinks = 10
)

// ErrNotExist is what a missing member's error wraps.
var ErrNotExist = fs.ErrNotExist

type member struct {
	off, size int64
	link      string // cleaned target of a link, "" for files
}

// File is an indexed archive. It is safe for concurrent use.
type File struct {
	f       *os.File
	label   string // names the archive's state: changes when the file does
	members map[string]member
}

// Open indexes the archive at name. A compressed one is spooled into tmpDir ("",
// the system's), which needs room for the whole. Errors: NotFound, Corrupt,
// Unsupported, LocalFull, or as ctx ends.
func Open(ctx context.Context, name, tmpDir string) (*File, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errkind.New(errkind.NotFound, "no archive %s: %w", name, err)
	}
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = errkind.New(errkind.Invalid, "%s is not a regular file", name)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return open(ctx, f, labelOf(name, st), tmpDir)
}

// LabelOf names the state of the archive at path: it changes when the file does.
func LabelOf(path string) (string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	return labelOf(path, st), nil
}

func labelOf(path string, st fs.FileInfo) string {
	return fmt.Sprintf("%s@%d.%d", path, st.Size(), st.ModTime().UnixNano())
}

// Spool reads an archive from a stream into a nameless file and indexes it.
// label names the archive in Blob labels.
func Spool(ctx context.Context, r io.Reader, label, tmpDir string) (*File, error) {
	f, err := spool(ctx, r, tmpDir)
	if err != nil {
		return nil, err
	}
	return open(ctx, f, label, tmpDir)
}

// open takes ownership of f.
func open(ctx context.Context, f *os.File, label, tmpDir string) (*File, error) {
	plain, err := decompressed(ctx, f, tmpDir)
	if err != nil {
		f.Close()
		return nil, err
	}
	t := &File{f: plain, label: label, members: map[string]member{}}
	if err := t.index(ctx); err != nil {
		plain.Close()
		return nil, err
	}
	return t, nil
}

// decompressed is f itself, or what f decompresses to; then f is closed.
func decompressed(ctx context.Context, f *os.File, tmpDir string) (*os.File, error) {
	r, err := Decompress(io.NewSectionReader(f, 0, 1<<62))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if !r.Compressed {
		return f, nil
	}
	out, err := spool(ctx, r, tmpDir)
	if err != nil {
		return nil, err
	}
	f.Close()
	return out, nil
}

// Decompressor is a stream of which the compression was recognised and undone.
type Decompressor struct {
	io.Reader
	Compressed bool
	close      func()
}

// Close releases the decoder; the source is the caller's.
func (d *Decompressor) Close() { d.close() }

// Decompress recognises gzip and zstd by their first bytes; anything else passes
// through.
func Decompress(r io.Reader) (*Decompressor, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	magic, _ := br.Peek(4)
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		zr, err := gzip.NewReader(br)
		if err != nil {
			return nil, errkind.Wrap(errkind.Corrupt, err)
		}
		return &Decompressor{corrupting{zr}, true, func() { zr.Close() }}, nil
	case isZstd(magic):
		zr, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			return nil, errkind.Wrap(errkind.Corrupt, err)
		}
		return &Decompressor{corrupting{zr}, true, zr.Close}, nil
	}
	return &Decompressor{br, false, func() {}}, nil
}

func isZstd(magic []byte) bool {
	return bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}) ||
		len(magic) == 4 && magic[0]&0xf0 == 0x50 && bytes.Equal(magic[1:], []byte{0x2a, 0x4d, 0x18})
}

// corrupting types the errors of a decoder.
type corrupting struct{ r io.Reader }

func (c corrupting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err != nil && err != io.EOF {
		err = errkind.Wrap(errkind.Corrupt, err)
	}
	return n, err
}

// spool copies r to a file that has no name.
func spool(ctx context.Context, r io.Reader, dir string) (*os.File, error) {
	if dir != "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, errkind.Wrap(errkind.LocalFull, err)
		}
	}
	f, err := os.CreateTemp(dir, "archive-*")
	if err != nil {
		return nil, errkind.Wrap(errkind.LocalFull, err)
	}
	os.Remove(f.Name())
	if _, err := io.Copy(f, ctxReader{ctx, r}); err != nil {
		f.Close()
		return nil, fmt.Errorf("decompress archive: %w", err)
	}
	return f, nil
}

type ctxReader struct {
	ctx context.Context // of one copy
	r   io.Reader
}

func (c ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

func (t *File) index(ctx context.Context) error {
	st, err := t.f.Stat()
	if err != nil {
		return err
	}
	sr := io.NewSectionReader(t.f, 0, st.Size())
	tr := tar.NewReader(sr)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := tr.Next()
		if err == io.EOF {
			return t.notEmpty()
		}
		if err != nil {
			return errkind.New(errkind.Corrupt, "%s is not a tar archive of an image: %w", t.name(), err)
		}
		off, _ := sr.Seek(0, io.SeekCurrent)
		if err := t.add(h, off, st.Size()); err != nil {
			return err
		}
	}
}

func (t *File) name() string { name, _, _ := strings.Cut(t.label, "@"); return filepath.Base(name) }

func (t *File) notEmpty() error {
	if len(t.members) == 0 {
		return errkind.New(errkind.Corrupt, "%s is an empty archive", t.name())
	}
	return nil
}

func (t *File) add(h *tar.Header, off, fileSize int64) error {
	name := clean(h.Name)
	if name == "" {
		return nil // outside of the archive: nothing can refer to it
	}
	if len(t.members) >= maxMembers {
		return errkind.New(errkind.Unsupported, "%s has more than %d members", t.name(), maxMembers)
	}
	switch h.Typeflag {
	case tar.TypeReg:
		if h.Size > fileSize-off {
			return errkind.New(errkind.Corrupt, "%s ends within its member %s", t.name(), name)
		}
		t.members[name] = member{off: off, size: h.Size}
	case tar.TypeSymlink:
		if path.IsAbs(h.Linkname) {
			return nil
		}
		t.addLink(name, path.Join(path.Dir(name), h.Linkname))
	case tar.TypeLink:
		t.addLink(name, h.Linkname)
	}
	return nil
}

func (t *File) addLink(name, target string) {
	if target = clean(target); target != "" && target != name {
		t.members[name] = member{link: target}
	}
}

// clean is a member name without "./", or "" if it leads out of the archive.
func clean(name string) string {
	name = path.Clean(name)
	if path.IsAbs(name) || name == "." || name == ".." || strings.HasPrefix(name, "../") {
		return ""
	}
	return name
}

func (t *File) find(name string) (member, error) {
	next := clean(name)
	for range maxSymlinks {
		m, ok := t.members[next]
		if !ok || next == "" {
			break
		}
		if m.link == "" {
			return m, nil
		}
		next = m.link
	}
	return member{}, errkind.New(errkind.NotFound, "%s has no member %s: %w", t.name(), name, ErrNotExist)
}

// Has reports whether name is there, as a file or as a link to one.
func (t *File) Has(name string) bool {
	_, err := t.find(name)
	return err == nil
}

// Target is where the content of name lies: the name of the member behind all
// links. Two names with one target are one file.
func (t *File) Target(name string) (string, error) {
	want, err := t.find(name)
	if err != nil {
		return "", err
	}
	next := clean(name)
	for t.members[next] != want {
		next = t.members[next].link
	}
	return next, nil
}

// Names lists all members that are files or links, sorted.
func (t *File) Names() []string {
	names := make([]string, 0, len(t.members))
	for name := range t.members {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// ReadFile reads a small member; one over limit bytes is Unsupported.
func (t *File) ReadFile(name string, limit int64) ([]byte, error) {
	m, err := t.find(name)
	if err != nil {
		return nil, err
	}
	if m.size > limit {
		return nil, errkind.New(errkind.Unsupported, "member %s of %s has %d bytes, more than %d", name, t.name(), m.size, limit)
	}
	p := make([]byte, m.size)
	if _, err := t.f.ReadAt(p, m.off); err != nil {
		return nil, errkind.New(errkind.Corrupt, "read member %s of %s: %w", name, t.name(), err)
	}
	return p, nil
}

// Blob is a member as the blob of a layer, good until Close.
func (t *File) Blob(name string) (image.Blob, error) {
	m, err := t.find(name)
	if err != nil {
		return nil, err
	}
	return section{t.f, m}, nil
}

// Label names the state of the archive and a member of it: two blobs with the
// same label have the same bytes.
func (t *File) Label(name string) string { return t.label + "/" + name }

// Close ends all access.
func (t *File) Close() error { return t.f.Close() }

type section struct {
	f *os.File
	m member
}

func (s section) Size() (int64, bool) { return s.m.size, true }

func (s section) ReadRange(ctx context.Context, off, n int64) (io.ReadCloser, int64, error) {
	return ReadRangeAt(ctx, io.NewSectionReader(s.f, s.m.off, s.m.size), off, n)
}

// ReadRangeAt is a ReadRange over bytes at hand: it checks the range and ends
// with ctx.
func ReadRangeAt(ctx context.Context, sr *io.SectionReader, off, n int64) (io.ReadCloser, int64, error) {
	if n < 0 {
		n = sr.Size() - off
	}
	if off < 0 || n < 0 || off > sr.Size()-n {
		return nil, 0, errkind.New(errkind.Corrupt, "range %d+%d is outside of a blob of %d bytes", off, n, sr.Size())
	}
	return io.NopCloser(&whole{ctxReader{ctx, io.NewSectionReader(sr, off, n)}, n}), off, nil
}

// whole fails when its source ends before n bytes, because somebody cut the file.
type whole struct {
	ctxReader
	left int64
}

func (w *whole) Read(p []byte) (int, error) {
	n, err := w.ctxReader.Read(p)
	w.left -= int64(n)
	if err == io.EOF && w.left > 0 {
		err = errkind.Wrap(errkind.Corrupt, io.ErrUnexpectedEOF)
	}
	return n, err
}
