package fetch

import (
	"bytes"
	"context"
	"io"

	"github.com/peelfs/peelfs/fetch/tarfile"
)

// memory is a blob that came within its descriptor.
type memory []byte

func (m memory) Size() (int64, bool) { return int64(len(m)), true }

func (m memory) ReadRange(ctx context.Context, off, n int64) (io.ReadCloser, int64, error) {
	return tarfile.ReadRangeAt(ctx, io.NewSectionReader(bytes.NewReader(m), 0, int64(len(m))), off, n)
}
