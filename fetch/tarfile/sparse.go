package tarfile

import (
	"io"
	"sort"

	"github.com/peelfs/peelfs/internal/tarstream"
)

// sparse is the content of a sparse member: its extents, which are in order and
// do not overlap, with zeros between them.
type sparse struct {
	r       io.ReaderAt
	size    int64 // bytes, holes included
	extents []tarstream.Extent
}

// ReadAt implements io.ReaderAt.
func (s sparse) ReadAt(p []byte, off int64) (int, error) {
	left := max(0, s.size-off)
	short := int64(len(p)) > left
	if short {
		p = p[:left]
	}
	clear(p)
	first := sort.Search(len(s.extents), func(i int) bool { return s.extents[i].Logical+s.extents[i].Len > off })
	for _, e := range s.extents[first:] {
		from, to := max(off, e.Logical), min(off+int64(len(p)), e.Logical+e.Len)
		if from >= off+int64(len(p)) {
			break
		}
		if from >= to {
			continue
		}
		if n, err := s.r.ReadAt(p[from-off:to-off], e.Data+from-e.Logical); n < int(to-from) {
			return int(from-off) + n, err
		}
	}
	if short {
		return len(p), io.EOF
	}
	return len(p), nil
}
