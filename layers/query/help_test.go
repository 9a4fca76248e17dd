package query

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/tarindex"
	"github.com/peelfs/peelfs/layers/view"
)

// memLayer is a layer in memory that counts what is read of it.
type memLayer struct {
	tar   []byte
	idx   *index.Index
	reads atomic.Int32
}

func layerOf(t testing.TB, entries ...tartest.Entry) *memLayer {
	t.Helper()
	tar := tartest.Of(entries...)
	b := index.NewBuilder()
	if err := tarindex.Tar(bytes.NewReader(tar), b); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := b.Write(&out, index.Header{SpaceSize: int64(len(tar)), BlobSize: -1}, nil, nil); err != nil {
		t.Fatal(err)
	}
	x, err := index.OpenBytes(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return &memLayer{tar: tar, idx: x}
}

func (l *memLayer) Index(context.Context) (*index.Index, error) { return l.idx, nil }

func (l *memLayer) ReadAt(_ context.Context, id uint32, p []byte, off int64) (int, error) {
	l.reads.Add(1)
	e := l.idx.Entry(id)
	if e.Kind != index.File || off >= e.Size {
		return 0, errkind.New(errkind.Internal, "read of %v at %d", e.Kind, off)
	}
	return copy(p[:min(int64(len(p)), e.Size-off)], l.tar[e.Data+off:]), nil
}

func viewOf(layers ...*memLayer) *view.View {
	parts := make([]view.Layer, len(layers))
	for i, l := range layers {
		parts[i] = l
	}
	return view.New(parts, view.Options{Symlinks: view.Raw})
}

func root(t testing.TB, v *view.View) Entry {
	t.Helper()
	e, err := Find(t.Context(), v, "/", false)
	if err != nil {
		t.Fatal(err)
	}
	return e
}
