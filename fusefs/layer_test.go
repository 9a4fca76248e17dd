package fusefs

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/view"
)

// memLayer is a layer in memory. With a gate it waits there before each index
// or read, and with a failure it fails.
type memLayer struct {
	idx   *index.Index
	data  []byte
	gate  atomic.Pointer[gate]
	fails atomic.Pointer[error]
	reads atomic.Int64
	opens atomic.Int64
}

// gate holds back whoever comes until it opens.
type gate struct {
	waiting chan struct{} // receives one for each that begins to wait
	open    chan struct{}
}

func newGate() *gate {
	return &gate{waiting: make(chan struct{}, 1000), open: make(chan struct{})}
}

func (g *gate) pass(ctx context.Context) error {
	if g == nil {
		return nil
	}
	g.waiting <- struct{}{}
	select {
	case <-g.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *memLayer) Index(ctx context.Context) (*index.Index, error) {
	l.opens.Add(1)
	if err := l.hindrance(ctx); err != nil {
		return nil, err
	}
	return l.idx, nil
}

func (l *memLayer) hindrance(ctx context.Context) error {
	if err := l.gate.Load().pass(ctx); err != nil {
		return err
	}
	if err := l.fails.Load(); err != nil {
		return *err
	}
	return nil
}

func (l *memLayer) ReadAt(ctx context.Context, id uint32, p []byte, off int64) (int, error) {
	l.reads.Add(1)
	if err := l.hindrance(ctx); err != nil {
		return 0, err
	}
	e := l.idx.Entry(id)
	p = p[:min(int64(len(p)), max(0, e.Size-off))]
	if e.Flags&index.Sparse == 0 {
		return copy(p, l.data[e.Data+off:]), nil
	}
	clear(p)
	for _, x := range l.idx.Extents(id) {
		from, to := max(off, x.Logical), min(off+int64(len(p)), x.Logical+x.Len)
		if from < to {
			copy(p[from-off:to-off], l.data[x.Data+from-x.Logical:])
		}
	}
	return len(p), nil
}

// layerOf is the layer of a tar.
func layerOf(t testing.TB, entries ...tartest.Entry) *memLayer {
	t.Helper()
	return layerOfTar(t, tartest.Of(entries...))
}

func layerOfTar(t testing.TB, data []byte) *memLayer {
	t.Helper()
	b := index.NewBuilder()
	in := bytes.NewReader(data)
	for r := tar.NewReader(in); ; {
		hdr, err := r.Next()
		if err == io.EOF {
			return seal(t, b, data)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Add(recordOf(hdr, int64(len(data)-in.Len()))); err != nil {
			t.Fatal(err)
		}
	}
}

func seal(t testing.TB, b *index.Builder, data []byte) *memLayer {
	t.Helper()
	var out bytes.Buffer
	if err := b.Write(&out, index.Header{BlobSize: -1, SpaceSize: int64(len(data))}, nil, nil); err != nil {
		t.Fatal(err)
	}
	x, err := index.OpenBytes(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return &memLayer{idx: x, data: data}
}

func recordOf(h *tar.Header, at int64) index.Record {
	kinds := map[byte]index.Kind{
		tar.TypeReg: index.File, tar.TypeDir: index.Dir, tar.TypeSymlink: index.Symlink, tar.TypeLink: index.Link,
		tar.TypeChar: index.Char, tar.TypeBlock: index.Block, tar.TypeFifo: index.Fifo,
	}
	r := index.Record{
		Name: h.Name, Kind: kinds[h.Typeflag], LinkName: h.Linkname, Mode: uint32(h.Mode) & 0o7777,
		UID: uint32(h.Uid), GID: uint32(h.Gid), Sec: h.ModTime.Unix(), Nsec: uint32(h.ModTime.Nanosecond()),
		Size: h.Size, Major: uint32(h.Devmajor), Minor: uint32(h.Devminor), Data: at,
	}
	for k, v := range h.PAXRecords {
		if name, ok := strings.CutPrefix(k, "SCHILY.xattr."); ok {
			r.Xattrs = append(r.Xattrs, index.Xattr{Name: name, Value: []byte(v)})
		}
	}
	return r
}

func viewOf(layers ...*memLayer) *view.View {
	list := make([]view.Layer, len(layers))
	for i, l := range layers {
		list[i] = l
	}
	return view.New(list, view.Options{Symlinks: view.Raw})
}

// fixture is the repository's image, from its plain gzip layers.
func fixture(t testing.TB) []*memLayer {
	t.Helper()
	var top struct {
		Manifests []struct {
			Digest      string
			Annotations map[string]string
		}
	}
	readJSON(t, "../testdata/fixture/images/index.json", &top)
	for _, m := range top.Manifests {
		if m.Annotations["org.opencontainers.image.ref.name"] == "gzip" {
			return fixtureLayers(t, m.Digest)
		}
	}
	t.Fatal("the fixture has no image gzip")
	return nil
}

func fixtureLayers(t testing.TB, digest string) (layers []*memLayer) {
	t.Helper()
	var manifest struct{ Layers []struct{ Digest string } }
	readJSON(t, blobPath(digest), &manifest)
	for _, l := range manifest.Layers {
		f, err := os.Open(blobPath(l.Digest))
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(z)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		layers = append(layers, layerOfTar(t, data))
	}
	return layers
}

func blobPath(digest string) string {
	return filepath.Join("../testdata/fixture/images/blobs", strings.Replace(digest, ":", "/", 1))
}

func readJSON(t testing.TB, path string, to any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func failing(kind errkind.Kind) *error {
	err := errkind.New(kind, "as the test wants it")
	return &err
}
