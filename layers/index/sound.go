package index

import (
	"os"

	"github.com/zeebo/xxh3"

	"github.com/peelfs/peelfs/internal/mapfault"
)

// mappedFile is the file that an Index maps, as it was when it was mapped; the
// zero mappedFile for an index in memory.
type mappedFile struct {
	path string
	info os.FileInfo
}

// shrunk reports whether the file is shorter than it was. A file that has gone
// from its path, or was replaced there, is out of everybody's reach and whole.
func (f mappedFile) shrunk() bool {
	if f.path == "" {
		return false
	}
	now, err := os.Stat(f.path)
	return err == nil && os.SameFile(now, f.info) && now.Size() < f.info.Size()
}

// Cut reports whether the index is known to be unusable because its file was cut
// short, or cannot be read, after Open. It looks at nothing.
func (x *Index) Cut() bool { return x.cut.Load() }

// Whole looks whether the file is still as long as its map, and reports that; if
// it is not, Cut is true from now on. It costs one stat. The bytes between the
// end of a cut file and the end of its last page read as zeros, without a fault.
func (x *Index) Whole() bool {
	if x.file.shrunk() {
		x.cut.Store(true)
	}
	return !x.Cut()
}

// Sound reads the whole file and reports whether it still has its checksum; if
// not, Cut is true from now on. It is for use after a fault.
func (x *Index) Sound() bool {
	if !x.Whole() {
		return false
	}
	same := false
	err := mapfault.Catch(func() error {
		same = xxh3.Hash(x.data[hdSource:]) == x.sum
		return nil
	})
	if err != nil || !same {
		x.cut.Store(true)
	}
	return !x.Cut()
}

// MustBeWhole faults if the index is known to be cut. The caller runs under
// mapfault.Catch.
func (x *Index) MustBeWhole() {
	if x.Cut() {
		mapfault.Raise(x.file.path)
	}
}
