// Package cachedir knows the files of a layer in the cache.
//
// Invariant: a span counts as right only if its bytes have a checksum and hold it.
package cachedir

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/flock"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/spanfile"
)

// Files are a layer's index and data, open. Close closes them.
type Files struct {
	Dir   string
	Index *index.Index
	Data  *spanfile.File
	Lock  *flock.File // may hold a lease; nil while nothing of the layer is on disk

	Unkept error // why nothing can be kept of the layer's data; nil if it can

	looked atomic.Bool // nothing was done to the directory yet: see Use
}

// Close closes the files and gives their locks back.
func (f *Files) Close() error {
	err := cmp.Or(f.Data.Close(), f.Index.Close())
	if f.Lock != nil {
		err = cmp.Or(err, f.Lock.Close())
	}
	return err
}

// IndexPath is where the index is.
func (f *Files) IndexPath() string { return filepath.Join(f.Dir, IndexName) }

// Unproven reports whether the index came from a ztoc or an import and the layer
// has not been read whole yet. A table of contents is covered by the image's
// digest; a ztoc and what was imported are not.
func Unproven(h index.Header) bool { return h.Imported || h.Source == index.SOCI }

// DataName is the suffix of the data files that belong to an index. The spans of
// our own scans and of tables of contents are the same in every process. Those
// that somebody else chose have files of their own: readers that still go by them
// share no byte and no bit with those that go by the proven index.
func DataName(x *index.Index) string {
	if h := x.Header(); !Unproven(h) {
		return h.Space.String()
	}
	return fmt.Sprintf("said-%016x", x.Checksum())
}

// LayoutOf is how the spans of an index lie in its data file.
func LayoutOf(x *index.Index) spanfile.Layout {
	return spanfile.Layout{Space: DataName(x), Size: x.Header().SpaceSize, Spans: x.Spans(), Sums: !summed(x),
		Bounds: func(i int) (int64, int64) { s := x.Span(i); return s.Out, s.OutLen }}
}

// IsFull reports whether err means that the cache's disk has no room.
func IsFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG)
}

// IsReadOnly reports whether err means that this process may not write to the cache.
func IsReadOnly(err error) bool {
	return errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)
}

// CannotKeep reports whether err means that nothing more can be written to the cache
// now, so that what is fetched is held in memory.
func CannotKeep(err error) bool { return IsFull(err) || IsReadOnly(err) }

// WriteError says what to do about a failed write to the cache.
func WriteError(err error) error {
	if IsFull(err) {
		return errkind.WithHint(errkind.New(errkind.LocalFull, "no space for the cache: %w", err),
			"free some with peelfs cache prune --data, or name another directory with --cache-dir")
	}
	if IsReadOnly(err) {
		return ReadOnlyError(err)
	}
	return errkind.New(errkind.LocalFull, "write to the cache: %w", err)
}

// ReadOnlyError says what to do about a cache that this process may not write to.
func ReadOnlyError(err error) error {
	return errkind.WithHint(errkind.New(errkind.LocalFull, "the cache cannot be written: %w", err),
		"name a directory that you may write to with --cache-dir or $PEELFS_CACHE")
}
