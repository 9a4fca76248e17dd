package opened

import (
	"context"
	"iter"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/index"
)

// ReadAt reads the content of the file with the given entry number into p, from
// byte off of the file on. It returns min(len(p), size-off) bytes, or an error:
// never less without one. Bytes that are not in the cache are fetched first. A
// caller whose context ends leaves the fetching running for the others.
func (l *Layer) ReadAt(ctx context.Context, entry uint32, p []byte, off int64) (int, error) {
	e := l.Index.Entry(entry)
	if e.Kind != index.File || off < 0 {
		return 0, errkind.New(errkind.Internal, "read of entry %d (%s) at byte %d", entry, e.Kind, off)
	}
	if off >= e.Size {
		return 0, nil
	}
	p = p[:min(int64(len(p)), e.Size-off)]
	var err error
	if e.Flags&index.Sparse == 0 {
		err = l.readSpace(ctx, p, e.Data+off)
	} else {
		err = l.readSparse(ctx, l.Index.ExtentsFrom(entry, off), p, off)
	}
	if err != nil {
		return 0, err
	}
	l.host.Count.Asked.Add(int64(len(p)))
	return len(p), nil
}

// readSparse fills p with the part of a sparse file at off. extents are those that end
// behind off, ascending.
func (l *Layer) readSparse(ctx context.Context, extents iter.Seq[index.Extent], p []byte, off int64) error {
	clear(p)
	end := off + int64(len(p))
	for x := range extents {
		from, to := max(off, x.Logical), min(end, x.Logical+x.Len)
		if from >= to {
			break
		}
		if err := l.readSpace(ctx, p[from-off:to-off], x.Data+from-x.Logical); err != nil {
			return err
		}
	}
	return nil
}

// maxRereads bounds how often a read starts over because spans that it needs
// were dropped under it. Each time around all of them were present.
const maxRereads = 50

// readSpace fills p with the bytes at off of the address space, window by window.
func (l *Layer) readSpace(ctx context.Context, p []byte, off int64) error {
	for len(p) > 0 {
		n := min(int64(len(p)), window-off%window)
		if err := l.readWindow(ctx, p[:n], off); err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

func (l *Layer) readWindow(ctx context.Context, p []byte, off int64) error {
	first, last := l.Index.SpansOf(off, int64(len(p)))
	if first >= last {
		return errkind.New(errkind.Corrupt, "the index has no span for byte %d", off)
	}
	for range maxRereads {
		ok, err := l.Data.ReadPresent(p, off, first, last-1)
		if err != nil {
			return err
		}
		if ok {
			return nil
		}
		if err := l.ensure(ctx, first, last, off); err != nil {
			return err
		}
		if l.readMixed(p, off, first, last) {
			return nil
		}
	}
	return errkind.New(errkind.LocalFull, "the cache is too small: bytes are dropped as fast as they come")
}

// readMixed fills p from spans of which some are on disk and some are held in
// memory; false if one of them is gone again.
func (l *Layer) readMixed(p []byte, off int64, first, last int) bool {
	for i := first; i < last; i++ {
		s := l.Index.Span(i)
		from, to := max(off, s.Out), min(off+int64(len(p)), s.Out+s.OutLen)
		part := p[from-off : to-off]
		if held, at := l.inMemory(i, off); held != nil {
			copy(part, held[from-at:])
		} else if ok, err := l.Data.ReadPresent(part, from, i, i); !ok || err != nil {
			return false
		}
	}
	return true
}
