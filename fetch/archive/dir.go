package archive

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/fetch/image"
	"github.com/peelfs/peelfs/fetch/tarfile"
	"github.com/peelfs/peelfs/internal/errkind"
)

// Dir is a directory as Files. It is safe for concurrent use.
type Dir struct {
	root *os.Root
	name string
}

// OpenDir opens a directory; the caller closes it. Errors: NotFound, Invalid.
func OpenDir(name string) (*Dir, error) {
	root, err := os.OpenRoot(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errkind.WithHint(errkind.New(errkind.NotFound, "no directory %s", name),
			"check the path; a layout in one file is oci-archive:FILE")
	}
	if err != nil {
		return nil, errkind.WithHint(errkind.New(errkind.Invalid, "open layout: %w", err), "a layout in one file is oci-archive:FILE")
	}
	return &Dir{root, name}, nil
}

// open opens a regular file and tells its size in bytes. Nothing else is opened:
// a fifo would wait for its writer, and opening a device may do something.
func (d *Dir) open(name string) (*os.File, int64, error) {
	f, err := d.openInside(name)
	if isBlob := strings.HasPrefix(name, ocispec.ImageBlobsDir+"/"); err != nil && isBlob && !errkind.Is(err, errkind.Corrupt) {
		f, err = openRegular(os.Stat, os.OpenFile, filepath.Join(d.name, name))
	} else if err != nil && !isBlob && !errors.Is(err, fs.ErrNotExist) {
		err = errkind.WithHint(err, "%s must be a file within the layout; only blobs may be links to elsewhere", name)
	}
	if err != nil {
		return nil, 0, errkind.New(kindOf(err), "layout %s: %w", d.name, err)
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, st.Size(), nil
}

// kindOf is the kind of an error of a file: NotFound, if it has none.
func kindOf(err error) errkind.Kind {
	if errkind.Is(err, errkind.Corrupt) {
		return errkind.Corrupt
	}
	return errkind.NotFound
}

// openInside opens a file without leaving the directory.
func (d *Dir) openInside(name string) (*os.File, error) {
	return openRegular(d.root.Stat, d.root.OpenFile, name)
}

// openRegular opens name if it is a regular file before and after; what is there
// but is no file is Corrupt.
func openRegular(stat func(string) (fs.FileInfo, error), open func(string, int, fs.FileMode) (*os.File, error), name string) (*os.File, error) {
	st, err := stat(name)
	if err != nil {
		return nil, err
	}
	var f *os.File
	if st.Mode().IsRegular() {
		if f, err = open(name, unix.O_NONBLOCK, 0); err != nil {
			return nil, err
		}
		if st, err = f.Stat(); err != nil {
			f.Close()
			return nil, err
		}
	}
	if !st.Mode().IsRegular() {
		if f != nil {
			f.Close()
		}
		return nil, errkind.New(errkind.Corrupt, "%s is not a file", name)
	}
	return f, nil
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

// dirBlob is a blob in a directory. It opens its file for each range: a layout may
// have many layers, and a mount lives long.
type dirBlob struct {
	dir  *Dir
	name string
	size int64 // bytes
}

// Size implements image.Blob.
func (b dirBlob) Size() (int64, bool) { return b.size, true }

// ReadRange implements image.Blob.
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

// fileRange is a range of a file that is closed with it.
type fileRange struct {
	io.Reader
	f *os.File
}

// Close implements io.Closer.
func (r fileRange) Close() error { return r.f.Close() }
