// Package tarfile gives random access to the members of a tar file that holds
// an image.
//
// The archive is read once, by seeking from header to header, and its members
// are then sections of the file: nothing is unpacked. A compressed archive
// cannot be sought in and is spooled, decompressed, to a temporary file that has
// no name. No member name, and no symlink, leads out of the archive: a leading
// "/" is the archive's own root.
package tarfile

import (
	"archive/tar"
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

	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/fetch/image"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/tarstream"
)

const (
	maxMembers  = 1 << 17 // an archive of an image has a few hundred
	maxExtents  = 1 << 20 // of all sparse members together
	maxSymlinks = 10
)

// ErrNotExist is what a missing member's error wraps.
var ErrNotExist = fs.ErrNotExist

// member is a file of the archive, or a link to one.
type member struct {
	name      string // under which the content is stored; "" for links
	off, size int64  // of the content in the archive, bytes; size is that of the file
	extents   []tarstream.Extent
	link      string // cleaned target of a link, "" for files
}

// File is an indexed archive. It is safe for concurrent use.
type File struct {
	f       *os.File
	size    int64  // of f, bytes
	label   string // names the archive's state: changes when the file does
	members map[string]member
	extents int // of all members
}

// Open indexes the archive at name. A compressed one is spooled into tmpDir ("",
// the system's), which needs room for the whole. Errors: NotFound, Invalid for
// what is not a file, Corrupt, Unsupported, LocalFull, or as ctx ends.
func Open(ctx context.Context, name, tmpDir string) (*File, error) {
	f, err := os.OpenFile(name, unix.O_NONBLOCK, 0) // a fifo would wait for its writer
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errkind.New(errkind.NotFound, "no archive %s: %w", name, err)
	}
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && st.IsDir() {
		err = errkind.WithHint(errkind.New(errkind.Invalid, "%s is a directory", name), "a layout in a directory is oci:DIR")
	} else if err == nil && !st.Mode().IsRegular() {
		err = errkind.WithHint(errkind.New(errkind.Invalid, "%s is not a regular file", name), "an archive is read more than once: store it in a file")
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

// Spool reads an archive from a stream into a nameless file in tmpDir and indexes
// it. label names the archive in Blob labels.
func Spool(ctx context.Context, r io.Reader, label, tmpDir string) (*File, error) {
	f, err := spool(ctx, r, tmpDir)
	if err != nil {
		return nil, err
	}
	return open(ctx, f, label, tmpDir)
}

// open takes ownership of f.
func open(ctx context.Context, f *os.File, label, tmpDir string) (*File, error) {
	t := &File{f: f, label: label, members: map[string]member{}}
	err := t.decompress(ctx, tmpDir)
	if err == nil {
		err = t.index(ctx)
	}
	if err != nil {
		t.f.Close()
		return nil, err
	}
	return t, nil
}

// index reads all headers of the archive.
func (t *File) index(ctx context.Context) error {
	st, err := t.f.Stat()
	if err != nil {
		return err
	}
	t.size = st.Size()
	tr := tarstream.NewReader(io.NewSectionReader(t.f, 0, t.size))
	last := ""
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		e, err := tr.Next()
		switch {
		case err == io.EOF && last == "":
			return copyAgain(errkind.New(errkind.Corrupt, "%s is an empty archive", t.name()))
		case err == io.EOF:
			return nil
		case errors.Is(err, io.ErrUnexpectedEOF) && last != "":
			return copyAgain(errkind.New(errkind.Corrupt, "%s ends early, in the header that follows its member %s", t.name(), last))
		case err != nil:
			return errkind.New(errkind.Corrupt, "%s is not a tar archive of an image: %w", t.name(), err)
		}
		if err := t.add(e); err != nil {
			return err
		}
		last = e.Name
	}
}

// copyAgain is the advice for an archive that is not whole.
func copyAgain(err error) error {
	return errkind.WithHint(err, "the archive is not whole: save or copy it again")
}

// name is the archive's name in messages.
func (t *File) name() string {
	if i := strings.LastIndexByte(t.label, '@'); i >= 0 {
		return filepath.Base(t.label[:i])
	}
	return filepath.Base(t.label)
}

// add keeps what an entry says. Where a name is there twice, the last counts.
func (t *File) add(e tarstream.Entry) error {
	name := clean(e.Name)
	if name == "" {
		return nil // outside of the archive: nothing can refer to it
	}
	if len(t.members) >= maxMembers {
		return errkind.New(errkind.Unsupported, "%s has more than %d members", t.name(), maxMembers)
	}
	switch e.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		return t.addFile(name, e)
	case tar.TypeSymlink:
		target := e.Linkname
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(name), target)
		}
		t.addLink(name, target)
	case tar.TypeLink:
		if m, ok := t.members[clean(e.Linkname)]; ok {
			t.members[name] = m // as it is now: the other name may come again
			return nil
		}
		t.addLink(name, e.Linkname)
	case tar.TypeDir, tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		delete(t.members, name)
	}
	return nil
}

// addFile keeps where the content of a file lies, if the archive has all of it.
func (t *File) addFile(name string, e tarstream.Entry) error {
	m := member{name: name, off: e.Data, size: e.Size, extents: e.Extents}
	end, stored := e.Data+e.Size, e.Size
	if e.Extents != nil {
		end = e.Data
		if n := len(e.Extents); n > 0 {
			end = e.Extents[n-1].Data + e.Extents[n-1].Len
		}
		stored = end - e.Data
		if t.extents += len(e.Extents); t.extents > maxExtents {
			return errkind.New(errkind.Unsupported, "%s has sparse files of more than %d parts", t.name(), maxExtents)
		}
	}
	if end > t.size || end < e.Data {
		return copyAgain(errkind.New(errkind.Corrupt, "%s ends early, within its member %s: %d of its %d bytes are there",
			t.name(), name, max(0, t.size-e.Data), stored))
	}
	t.members[name] = m
	return nil
}

func (t *File) addLink(name, target string) {
	if target = clean(target); target != "" && target != name {
		t.members[name] = member{link: target}
	}
}

// clean is a member name below the archive's root, without "./" or "/" in front,
// or "" if it leads out of the archive.
func clean(name string) string {
	name = strings.TrimLeft(path.Clean(name), "/")
	if name == "." || name == ".." || strings.HasPrefix(name, "../") {
		return ""
	}
	return name
}

// find follows links, also those of the directories that a name goes through.
func (t *File) find(name string) (member, error) {
	next := clean(name)
	for range maxSymlinks {
		m, ok := t.members[next]
		if !ok {
			next, ok = t.throughDirectory(next)
			if !ok {
				break
			}
			continue
		}
		if m.link == "" {
			return m, nil
		}
		next = m.link
	}
	return member{}, errkind.New(errkind.NotFound, "%s has no member %s: %w", t.name(), name, ErrNotExist)
}

// throughDirectory replaces the first directory in name that is a link.
func (t *File) throughDirectory(name string) (string, bool) {
	for i := range len(name) {
		if name[i] != '/' {
			continue
		}
		if m := t.members[name[:i]]; m.link != "" {
			next := clean(path.Join(m.link, name[i:]))
			return next, next != ""
		}
	}
	return "", false
}

// Has reports whether name is there, as a file or as a link to one.
func (t *File) Has(name string) bool {
	_, err := t.find(name)
	return err == nil
}

// Target is where the content of name lies: the name of the member behind all
// links. Two names with one target are one file.
func (t *File) Target(name string) (string, error) {
	m, err := t.find(name)
	return m.name, err
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
	if _, err := t.content(m).ReadAt(p, 0); err != nil && (err != io.EOF || m.size > 0) {
		return nil, errkind.New(errkind.Corrupt, "read member %s of %s: %w", name, t.name(), err)
	}
	return p, nil
}

// Size is the length of the archive, decompressed, in bytes.
func (t *File) Size() int64 { return t.size }

// Blob is a member as the blob of a layer, good until Close.
func (t *File) Blob(name string) (image.Blob, error) {
	m, err := t.find(name)
	if err != nil {
		return nil, err
	}
	return section{t.content(m)}, nil
}

// content is the content of a member, with the holes of a sparse one as zeros.
func (t *File) content(m member) *io.SectionReader {
	if m.extents != nil {
		return io.NewSectionReader(sparse{t.f, m.size, m.extents}, 0, m.size)
	}
	return io.NewSectionReader(t.f, m.off, m.size)
}

// Label names the state of the archive and a member of it: two blobs with the
// same label have the same bytes.
func (t *File) Label(name string) string { return t.label + "/" + name }

// Close ends all access.
func (t *File) Close() error { return t.f.Close() }

// section is a member as a blob.
type section struct{ r *io.SectionReader }

// Size implements image.Blob.
func (s section) Size() (int64, bool) { return s.r.Size(), true }

// ReadRange implements image.Blob.
func (s section) ReadRange(ctx context.Context, off, n int64) (io.ReadCloser, int64, error) {
	return ReadRangeAt(ctx, s.r, off, n)
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

// Read implements io.Reader.
func (w *whole) Read(p []byte) (int, error) {
	n, err := w.ctxReader.Read(p)
	w.left -= int64(n)
	if err == io.EOF && w.left > 0 {
		err = errkind.Wrap(errkind.Corrupt, io.ErrUnexpectedEOF)
	}
	return n, err
}
