package unpack

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/tarindex"
	"github.com/peelfs/peelfs/layers/view"
)

// sparseLayer is a layer whose files have letters where they have data. It fails when
// a hole is read that is as large as a whole buffer.
type sparseLayer struct{ idx *index.Index }

func (l sparseLayer) Index(context.Context) (*index.Index, error) { return l.idx, nil }

var errHoleRead = errors.New("a large hole was read")

func (l sparseLayer) ReadAt(_ context.Context, id uint32, p []byte, off int64) (int, error) {
	clear(p)
	end, hole := off+int64(len(p)), true
	for x := range l.idx.ExtentsFrom(id, off) {
		from, to := max(off, x.Logical), min(end, x.Logical+x.Len)
		if from >= to {
			break
		}
		hole = false
		for i := from; i < to; i++ {
			p[i-off] = 'a' + byte(i%23)
		}
	}
	if hole && len(p) >= copyBuffer {
		return 0, errHoleRead
	}
	return len(p), nil
}

// sparseView is a view of one layer with these files.
func sparseView(t *testing.T, files ...index.Record) *view.View {
	t.Helper()
	b, space := index.NewBuilder(), int64(0)
	for _, r := range files {
		r.Kind = index.File
		r.Extents = slices.Clone(r.Extents)
		for i := range r.Extents {
			r.Extents[i].Data = space
			space += r.Extents[i].Len
		}
		if err := b.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := b.Write(&out, index.Header{SpaceSize: space, BlobSize: -1}, nil, nil); err != nil {
		t.Fatal(err)
	}
	x, err := index.OpenBytes(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return view.New([]view.Layer{sparseLayer{x}}, view.Options{})
}

func extents(offLen ...int64) []index.Extent {
	list := make([]index.Extent, 0, len(offLen)/2)
	for ; len(offLen) > 0; offLen = offLen[2:] {
		list = append(list, index.Extent{Logical: offLen[0], Len: offLen[1]})
	}
	return list
}

// contentOf is what a sparseLayer has in a file.
func contentOf(r index.Record) []byte {
	data := make([]byte, r.Size)
	for _, x := range r.Extents {
		for i := x.Logical; i < x.Logical+x.Len; i++ {
			data[i] = 'a' + byte(i%23)
		}
	}
	return data
}

var long = strings.Repeat("directory/", 20) + "grün"

var sparseFiles = []index.Record{
	{Name: "odd", Size: 5000, Mode: 0o4711, UID: 1 << 31, GID: 7, Sec: -7, Nsec: 9, Extents: extents(5, 3, 1100, 700)},
	{Name: "touching", Size: 1 << 16, Extents: extents(0, 100, 300, 100, 600, 1, 2048, 3)},
	{Name: "end", Size: 10_001, Extents: extents(9_999, 2)},
	{Name: "start", Size: 10_001, Extents: extents(0, 1), Xattrs: []index.Xattr{{Name: "user.a", Value: []byte("x\x00=\ny")}}},
	{Name: "hole", Size: 3 << 20, Extents: extents()},
	{Name: long, Size: 1 << 20, Extents: extents(1<<19, 1<<12)},
	{Name: "dense enough", Size: 600, Extents: extents(0, 10, 590, 10)},
}

// Other readers find the content of a sparse member, and the member is small.
func TestSparseMembers(t *testing.T) {
	v := sparseView(t, sparseFiles...)
	var out bytes.Buffer
	w := NewTar(&out)
	if err := errors.Join(w.Add(t.Context(), v, entry(t, v, "/"), "."), w.Close()); err != nil {
		t.Fatal(err)
	}
	if out.Len() > 64<<10 {
		t.Errorf("the tar has %d bytes", out.Len())
	}
	found := 0
	for r := tar.NewReader(bytes.NewReader(out.Bytes())); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(sparseFiles, func(r index.Record) bool { return r.Name == h.Name })
		if i < 0 {
			continue
		}
		found++
		f := sparseFiles[i]
		data, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(data, contentOf(f)) || h.Size != f.Size {
			t.Errorf("%s: %d bytes, size %d, %v", f.Name, len(data), h.Size, err)
		}
		if h.Mode != int64(f.Mode) || h.Uid != int(f.UID) || h.Gid != int(f.GID) || !h.ModTime.Equal(time.Unix(f.Sec, int64(f.Nsec))) {
			t.Errorf("%s: %+v", f.Name, h)
		}
		for _, x := range f.Xattrs {
			if h.PAXRecords["SCHILY.xattr."+x.Name] != string(x.Value) {
				t.Errorf("%s: %q", f.Name, h.PAXRecords)
			}
		}
		if sparse := h.PAXRecords["GNU.sparse.major"] == "1"; sparse != (f.Name != "dense enough") {
			t.Errorf("%s: sparse is %v", f.Name, sparse)
		}
	}
	if found != len(sparseFiles) {
		t.Errorf("%d of %d files", found, len(sparseFiles))
	}
}

// Extents of a tar, written as a tar, are those of the second one, in whole blocks.
func TestSparseMembersAreReadAsALayer(t *testing.T) {
	v := sparseView(t, sparseFiles...)
	var out bytes.Buffer
	w := NewTar(&out)
	if err := errors.Join(w.Add(t.Context(), v, entry(t, v, "/"), "."), w.Close()); err != nil {
		t.Fatal(err)
	}
	b := index.NewBuilder()
	if err := tarindex.Tar(bytes.NewReader(out.Bytes()), b); err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := b.Write(&file, index.Header{SpaceSize: int64(out.Len()), BlobSize: -1}, nil, nil); err != nil {
		t.Fatal(err)
	}
	x, err := index.OpenBytes(file.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for id := range uint32(x.Len()) {
		if x.Path(id) != "touching" {
			continue
		}
		got := x.Extents(id)
		if len(got) != 2 || got[0].Logical != 0 || got[0].Len != 1024 || got[1].Logical != 2048 || got[1].Len != 512 {
			t.Errorf("%v", got)
		}
		return
	}
	t.Error("there is no such file")
}

// A map that would be too long has larger blocks, and the content stays the same.
func TestTooManyHoles(t *testing.T) {
	const limit = 2048
	many := index.Record{Name: "many", Size: 4 << 20}
	for i := range int64(400) {
		many.Extents = append(many.Extents, extents(i*1024, 1)...)
	}
	many.Extents = append(many.Extents, extents(3<<20, 1000)...)
	v := sparseView(t, many)
	e := entry(t, v, "/many")
	o := &object{Attr: e.Attr, v: v, top: "many", from: e, entry: e}
	m, err := o.sparseMap(t.Context(), limit)
	if err != nil || len(m.text) > limit || m.grain != 1024 || m.data != 401*1024 {
		t.Fatalf("%d bytes of map, blocks of %d, %d bytes of data, %v", len(m.text), m.grain, m.data, err)
	}
	var out bytes.Buffer
	w := NewTar(&out)
	h := &tar.Header{Typeflag: tar.TypeReg, Name: "many", Size: many.Size, Format: tar.FormatPAX}
	if err := errors.Join(w.putSparse(t.Context(), h, o, m), w.Close()); err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(&out)
	_, err = r.Next()
	if data, err2 := io.ReadAll(r); errors.Join(err, err2) != nil || !bytes.Equal(data, contentOf(many)) {
		t.Errorf("%d bytes of other content, %v", len(data), errors.Join(err, err2))
	}
}

// The header of a member with more data than eleven octal digits count.
func TestLargeSparseHeader(t *testing.T) {
	text := padded([]byte("1\n0\n10000000000\n"))
	head, err := sparseHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "d/f", Size: 1 << 40, Format: tar.FormatPAX}, int64(len(text))+10_000_000_000)
	if err != nil {
		t.Fatal(err)
	}
	h, err := tar.NewReader(bytes.NewReader(append(head, text...))).Next()
	if err != nil || h.Name != "d/f" || h.Size != 1<<40 || h.PAXRecords["size"] != "10000000512" {
		t.Errorf("%+v, %v", h, err)
	}
}

// A directory has the holes that the layer has, and they are not read.
func TestDirKeepsHoles(t *testing.T) {
	files := append(slices.Clone(sparseFiles), index.Record{Name: "large", Size: 1 << 40, Extents: extents(1<<39+4096, 4096)})
	v := sparseView(t, files...)
	dir := t.TempDir()
	if _, err := copyTo(t, dir, v, "/", "."); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(dir, f.Name), &st); err != nil || st.Size != f.Size || st.Blocks > 64 {
			t.Errorf("%s: size %d, %d blocks, %v", f.Name, st.Size, st.Blocks, err)
		}
		if f.Name == "large" {
			continue
		}
		if data, err := os.ReadFile(filepath.Join(dir, f.Name)); err != nil || !bytes.Equal(data, contentOf(f)) {
			t.Errorf("%s: other content, %v", f.Name, err)
		}
	}
}
