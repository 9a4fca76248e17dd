package layers

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/cachedir"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/opened"
	"github.com/peelfs/peelfs/layers/spanfile"
)

// promote reads a layer whole that was listed by a table or an index beside it,
// in one stream: its digests are proven, and what was said of its entries is
// compared with the entries that it has. The proven index and data then take the
// place of the others.
func (l *Layer) promote(ctx context.Context, a *opened.Layer) error {
	dir, turn, err := l.store.layerDir(ctx, a.Index.Header().BlobDigest) // may have been removed
	if err != nil {
		return err
	}
	defer turn.Close()
	if err := turn.Lock(ctx, cachedir.MakeLock, 1); err != nil {
		return err
	}
	if fresh, err := l.build.proven(ctx, dir); fresh != nil || err != nil {
		return l.replace(a, fresh, err)
	}
	p, err := l.build.scan(ctx)
	if err != nil {
		return err
	}
	defer p.discard()
	if err := l.build.publish(dir, p); err != nil {
		return err
	}
	fresh, err := l.build.proven(ctx, dir)
	return l.replace(a, fresh, err)
}

// proven opens the layer in dir, to use it, if its index comes from a scan.
func (b *builder) proven(ctx context.Context, dir string) (*cachedir.Files, error) {
	lock, err := cachedir.Open(ctx, dir, cachedir.Use)
	if err != nil {
		return nil, b.store.cache.Unusable(err)
	}
	a, err := b.fromCache(dir, lock)
	switch {
	case a == nil:
		lock.Close()
	case a.Index.Header().Source != index.Scan || cachedir.Unproven(a.Index.Header()):
		a.Close()
		a = nil
	}
	return a, err
}

// replace puts the proven form of a layer in the place of a, unless they differ:
// then readers were told wrong things, and the layer fails from now on.
func (l *Layer) replace(a *opened.Layer, fresh *cachedir.Files, err error) error {
	if err != nil {
		return err
	}
	if err := compareFiles(a.Files, fresh); err != nil {
		fresh.Close()
		err = errkind.WithHint(errkind.New(errkind.Corrupt, "%s lies: %w", witness(a.Index.Header()), err),
			"unmount and mount again: the layer is now read by its own entries")
		l.store.log.Error("layer is corrupt", "layer", l.build.name(), "error", err)
		l.corrupt.Store(&err)
		l.note(err)
		return err
	}
	if !l.swap(a, fresh) {
		return nil
	}
	if name := cachedir.DataName(a.Index); name != cachedir.DataName(fresh.Index) {
		if a.Lock == nil {
			return nil
		}
		if err := spanfile.Remove(a.Dir, name, a.Lock); err != nil {
			l.store.log.Warn("data that is of no use stays", "layer", l.build.name(), "error", err)
		}
	}
	return nil
}

// witness is whose word the index is.
func witness(h index.Header) string {
	switch {
	case h.Imported:
		return "the imported index"
	case h.Source == index.SOCI:
		return "the layer's SOCI index"
	}
	return "the layer's table of contents"
}

// compareFiles reports what a has said, or shown, that the proven layer does not have.
func compareFiles(a, proven *cachedir.Files) error {
	if err := compare(a.Index, proven.Index); err != nil {
		return err
	}
	if cachedir.Unproven(a.Index.Header()) && a.Index.Header().Space == proven.Index.Header().Space {
		return compareBytes(a, proven)
	}
	return nil
}

// compareBytes compares the spans that are here with the proven data. A span's
// digest covers what it is made from, not the history that decoding starts with.
func compareBytes(a, proven *cachedir.Files) error {
	said, has := make([]byte, 1<<20), make([]byte, 1<<20)
	for i := range a.Index.Spans() {
		s := a.Index.Span(i)
		for off := s.Out; off < s.Out+s.OutLen && a.Data.Has(i); off += int64(len(said)) {
			n := min(int64(cap(said)), s.Out+s.OutLen-off)
			said, has = said[:n], has[:n]
			first, last := proven.Index.SpansOf(off, n)
			if ok, err := proven.Data.ReadPresent(has, off, first, last-1); err != nil || !ok {
				break // dropped meanwhile, or never kept
			}
			if ok, err := a.Data.ReadPresent(said, off, i, i); err != nil || !ok {
				break
			}
			if !bytes.Equal(said, has) {
				return fmt.Errorf("it makes other bytes of the layer's span at %d", s.Out)
			}
		}
	}
	return nil
}

// compare reports the first entry in which two indexes of one layer differ. A
// table of contents has no fractions of seconds, and an address space of its own.
func compare(said, has *index.Index) error {
	if said.Len() != has.Len() {
		return fmt.Errorf("it has %d entries instead of %d", said.Len(), has.Len())
	}
	same := said.Header().Space == has.Header().Space
	for id := range uint32(said.Len()) {
		a, b := said.Entry(id), has.Entry(id)
		if !same {
			a.Data, b.Data, a.Nsec, b.Nsec = 0, 0, 0, 0
			a.Flags &^= index.Sparse
			b.Flags &^= index.Sparse
		}
		if same && !slices.Equal(said.Extents(id), has.Extents(id)) || a != b || !bytes.Equal(said.Name(id), has.Name(id)) || !bytes.Equal(said.Target(id), has.Target(id)) || !sameXattrs(said, has, id) {
			return fmt.Errorf("%q differs from the layer's own entry", has.Path(id))
		}
	}
	return nil
}

func sameXattrs(x, y *index.Index, id uint32) bool {
	n := 0
	for name, value := range x.Xattrs(id) {
		other, ok := y.Xattr(id, string(name))
		if !ok || !bytes.Equal(value, other) {
			return false
		}
		n++
	}
	for range y.Xattrs(id) {
		n--
	}
	return n == 0
}
