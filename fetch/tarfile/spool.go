package tarfile

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/tarstream"
)

// decompress puts what a compressed archive decompresses to in the place of t.f.
func (t *File) decompress(ctx context.Context, tmpDir string) error {
	r := bufio.NewReaderSize(io.NewSectionReader(t.f, 0, 1<<62), 64<<10)
	head, err := r.Peek(tarstream.HeadSize)
	if err != nil && err != io.EOF {
		return err
	}
	packed := tarstream.Detect(head)
	if packed == tarstream.None {
		return nil
	}
	plain, err := packed.NewReader(r)
	if err != nil {
		return t.broken(packed, err)
	}
	if c, ok := plain.(io.Closer); ok {
		defer c.Close()
	}
	out, err := spool(ctx, decoded{t, packed, plain}, tmpDir)
	if err != nil {
		return err
	}
	t.f.Close()
	t.f = out
	return nil
}

// broken types the error of a decoder.
func (t *File) broken(packed tarstream.Compression, err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return copyAgain(errkind.New(errkind.Corrupt, "%s ends early, within its %s data", t.name(), packed))
	}
	return errkind.New(errkind.Corrupt, "%s data of %s: %w", packed, t.name(), err)
}

// decoded is the output of a decoder, with typed errors.
type decoded struct {
	archive *File
	packed  tarstream.Compression
	r       io.Reader
}

// Read implements io.Reader.
func (d decoded) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	if err != nil && err != io.EOF {
		err = d.archive.broken(d.packed, err)
	}
	return n, err
}

// spool copies r to a file in dir that has no name.
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
		return nil, fmt.Errorf("spool archive: %w", err)
	}
	return f, nil
}

// ctxReader ends with a context.
type ctxReader struct {
	ctx context.Context // of one copy
	r   io.Reader
}

// Read implements io.Reader.
func (c ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
