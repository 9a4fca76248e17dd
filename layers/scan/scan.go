// Package scan reads a layer's tar into an index.
package scan

import (
	"io"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/index"
)

// Tar adds all entries of the tar in r to b. It skips contents with
// Seek(n, io.SeekCurrent) if r has it, which may discard. What follows the end
// of the archive is left in r.
func Tar(r io.Reader, b *index.Builder) error {
	return errkind.New(errkind.Internal, "not built")
}
