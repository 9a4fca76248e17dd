package tarindex

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/peelfs/peelfs/internal/errkind"
	tt "github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/layers/index"
)

func indexOf(t testing.TB, tarBytes []byte, r io.Reader) (*index.Index, []string) {
	t.Helper()
	b := index.NewBuilder()
	if err := Tar(r, b); err != nil {
		t.Fatal(err)
	}
	_, sample := b.Refused()
	var out bytes.Buffer
	if err := b.Write(&out, index.Header{BlobSize: -1, SpaceSize: int64(len(tarBytes))}, nil, nil); err != nil {
		t.Fatal(err)
	}
	x, err := index.OpenBytes(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return x, sample
}

// content is a file's content by what the index says of it.
func content(x *index.Index, id uint32, tarBytes []byte) []byte {
	e := x.Entry(id)
	if e.Flags&index.Sparse == 0 {
		return tarBytes[e.Data : e.Data+e.Size]
	}
	out := make([]byte, e.Size)
	for _, s := range x.Extents(id) {
		copy(out[s.Logical:], tarBytes[s.Data:s.Data+s.Len])
	}
	return out
}

func walk(x *index.Index, p string) (uint32, bool) {
	id, ok := uint32(0), true
	for name := range strings.SplitSeq(path.Clean(p), "/") {
		if id, ok = x.Find(id, name); !ok {
			return 0, false
		}
	}
	return id, true
}

func gunzip(t testing.TB, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	data, err = io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// forward is a stream that can only be skipped forward, as a layer's is.
type forward struct {
	r       *bytes.Reader
	skipped int64
}

func (f *forward) Read(p []byte) (int, error) { return iotest.HalfReader(f.r).Read(p) }

func (f *forward) Seek(n int64, whence int) (int64, error) {
	if whence != io.SeekCurrent || n <= 0 {
		return 0, fmt.Errorf("seek %d %d", n, whence)
	}
	f.skipped += n
	return 0, skipIn(f.r, n)
}

func skipIn(r io.Reader, n int64) error { _, err := io.CopyN(io.Discard, r, n); return err }

func TestReadersOfAllSorts(t *testing.T) {
	layer := tt.Of(tt.File("a", strings.Repeat("x", 5000)), tt.File("b", strings.Repeat("y", 512)), tt.File("empty", ""), tt.File("c", "z"))
	fw := &forward{r: bytes.NewReader(layer)}
	for name, r := range map[string]io.Reader{
		"file": bytes.NewReader(layer), "forward": fw, "plain": io.MultiReader(bytes.NewReader(layer)),
		"one byte at a time": iotest.OneByteReader(bytes.NewReader(layer)), "data with EOF": iotest.DataErrReader(bytes.NewReader(layer)),
	} {
		x, _ := indexOf(t, layer, r)
		for path, want := range map[string]string{"a": strings.Repeat("x", 5000), "b": strings.Repeat("y", 512), "c": "z", "empty": ""} {
			id, ok := walk(x, path)
			if !ok || string(content(x, id, layer)) != want {
				t.Errorf("%s: %s has other content", name, path)
			}
		}
	}
	if fw.skipped < 5000 {
		t.Errorf("only %d bytes were skipped", fw.skipped)
	}
}

func TestWhatIsNoTar(t *testing.T) {
	good := tt.Of(tt.File("a", strings.Repeat("x", 5000)))
	garbage := bytes.Repeat([]byte("garbage "), 1000)
	broken := errkind.New(errkind.Unavailable, "the line is dead")
	for name, c := range map[string]struct {
		r    io.Reader
		want errkind.Kind
	}{
		"garbage":           {bytes.NewReader(garbage), errkind.Corrupt},
		"short garbage":     {strings.NewReader("{}"), errkind.Corrupt},
		"gzip":              {bytes.NewReader(tt.Gzip(garbage)), errkind.Corrupt},
		"cut in content":    {bytes.NewReader(good[:1000]), errkind.Corrupt},
		"cut in content 2":  {io.MultiReader(bytes.NewReader(good[:1000])), errkind.Corrupt},
		"cut in content 3":  {&forward{r: bytes.NewReader(good[:1000])}, errkind.Corrupt},
		"cut in header":     {bytes.NewReader(good[:300]), errkind.Corrupt},
		"garbage in middle": {bytes.NewReader(append(good[:len(good)-1024:len(good)-1024], garbage...)), errkind.Corrupt},
		"reader fails":      {io.MultiReader(bytes.NewReader(good[:700]), iotest.ErrReader(broken)), errkind.Unavailable},
		"skip fails":        {&failing{bytes.NewReader(good), broken}, errkind.Unavailable},
	} {
		err := Tar(c.r, index.NewBuilder())
		if !errkind.Is(err, c.want) || c.want == errkind.Unavailable && !errors.Is(err, broken) {
			t.Errorf("%s: %v (%v)", name, err, errkind.Of(err))
		}
	}
}

type failing struct {
	io.Reader
	err error
}

func (f *failing) Seek(int64, int) (int64, error) { return 0, f.err }

func TestEnds(t *testing.T) {
	for name, c := range map[string]struct {
		layer []byte
		want  int
	}{
		"no bytes":                    {nil, 1},
		"only the end of an archive":  {tt.Of(), 1},
		"no end of the archive":       {tt.Unterminated(tt.File("a", "1")), 2},
		"half an end of the archive":  {append(tt.Unterminated(tt.File("a", "1")), make([]byte, 512)...), 2},
		"anything behind the end":     {append(tt.Of(tt.File("a", "1")), "behind"...), 2},
		"one entry of zero length":    {tt.Of(tt.File("a", "")), 2},
		"content of whole blocks":     {tt.Of(tt.File("a", strings.Repeat("x", 1024)), tt.File("b", "")), 3},
		"content of a block and one":  {tt.Of(tt.File("a", strings.Repeat("x", 513)), tt.File("b", "")), 3},
		"only a global header of PAX": {tt.Of(tt.Global(map[string]string{"comment": "c"})), 1},
	} {
		x, refused := indexOf(t, c.layer, bytes.NewReader(c.layer))
		if x.Len() != c.want || len(refused) != 0 {
			t.Errorf("%s: %d entries, want %d; refused %q", name, x.Len(), c.want, refused)
		}
	}
}

func TestBehindTheEndIsLeftToTheCaller(t *testing.T) {
	r := bytes.NewReader(append(tt.Of(tt.File("a", "1")), "behind"...))
	if err := Tar(r, index.NewBuilder()); err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(r); string(rest) != "behind" {
		t.Errorf("left: %q", rest)
	}
}

// header is one tar header in the dialect of format.
func header(t *testing.T, h tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestDialects(t *testing.T) {
	long := strings.Repeat("long/", 50)
	v7 := header(t, tar.Header{Name: "v7dir/", Typeflag: tar.TypeDir, Format: tar.FormatUSTAR})
	v7[156] = 0
	clear(v7[257:512])
	setChecksum(v7)
	unknown := header(t, tar.Header{Name: "volume", Typeflag: tar.TypeReg, Format: tar.FormatUSTAR})
	unknown[156] = 'V'
	setChecksum(unknown)
	layer := bytes.Join([][]byte{
		header(t, tar.Header{Name: long + "gnu", Linkname: long + "target", Typeflag: tar.TypeSymlink, Format: tar.FormatGNU}),
		header(t, tar.Header{Name: long + "pax", Linkname: long + "target", Typeflag: tar.TypeSymlink, Format: tar.FormatPAX}),
		header(t, tar.Header{Name: "base256", Uid: 3000000000, Gid: 2097152, Typeflag: tar.TypeFifo, Format: tar.FormatGNU}),
		header(t, tar.Header{Name: "cont", Typeflag: tar.TypeCont, Format: tar.FormatUSTAR}),
		header(t, tar.Header{Name: "widest", Uid: 1 << 32, Typeflag: tar.TypeFifo, Format: tar.FormatPAX}),
		v7, unknown,
	}, nil)
	x, refused := indexOf(t, layer, bytes.NewReader(layer))
	for _, p := range []string{long + "gnu", long + "pax"} {
		if id, ok := walk(x, p); !ok || string(x.Target(id)) != long+"target" {
			t.Errorf("%.20s… is missing or leads elsewhere", p)
		}
	}
	if id, _ := walk(x, "base256"); x.Entry(id).UID != 3000000000 || x.Entry(id).GID != 2097152 {
		t.Errorf("base-256 owner: %+v", x.Entry(id))
	}
	if id, _ := walk(x, "v7dir"); x.Entry(id).Kind != index.Dir {
		t.Errorf("V7 directory: %+v", x.Entry(id))
	}
	if id, _ := walk(x, "cont"); x.Entry(id).Kind != index.File {
		t.Errorf("contiguous file: %+v", x.Entry(id))
	}
	if len(refused) != 2 {
		t.Errorf("refused %q, want the unknown type and the owner of 33 bits", refused)
	}
}

func setChecksum(b []byte) {
	copy(b[148:156], "        ")
	sum := 0
	for _, c := range b[:512] {
		sum += int(c)
	}
	copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
}

func TestSparse(t *testing.T) {
	holes := make([]byte, 1<<20)
	for i := range 30 {
		n := 4096
		if i%4 == 0 {
			n = 8192
		}
		copy(holes[i*(16384+4096*(i%3)):], bytes.Repeat([]byte{byte('A' + i)}, n))
	}
	want := map[string][]byte{
		"holes": holes, "tail": append(make([]byte, 1<<20), "end of a long hole"...), "allhole": make([]byte, 300000),
	}
	for _, format := range []string{"gnu", "0.0", "0.1", "1.0"} {
		layer := gunzip(t, "testdata/sparse-"+format+".tar.gz")
		x, _ := indexOf(t, layer, bytes.NewReader(layer))
		for name, want := range want {
			id, ok := walk(x, name)
			if !ok || x.Entry(id).Flags&index.Sparse == 0 || !bytes.Equal(content(x, id, layer), want) {
				t.Errorf("%s in format %s: %+v has other content", name, format, x.Entry(id))
			}
		}
	}
}

// sparse10 is a file in format 1.0 whose data does not lie at whole blocks.
func sparse10(t *testing.T, name string) []byte {
	const m = "3\n5\n3\n100\n700\n5000\n0\n"
	data := strings.Repeat("a", 3) + strings.Repeat("b", 700)
	body := m + strings.Repeat("\x00", 512-len(m)) + data
	records := ""
	for _, r := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=" + name, "GNU.sparse.realsize=5000"} {
		records += fmt.Sprintf("%d %s\n", len(r)+4, r)
	}
	x := header(t, tar.Header{Name: "x", Size: int64(len(records)), Typeflag: tar.TypeReg, Format: tar.FormatUSTAR})
	x[156] = 'x'
	setChecksum(x)
	f := header(t, tar.Header{Name: "placeholder", Size: int64(len(body)), Typeflag: tar.TypeReg, Format: tar.FormatUSTAR})
	return bytes.Join([][]byte{x, pad(records), f, pad(body)}, nil)
}

func pad(s string) []byte { return append([]byte(s), make([]byte, -len(s)&511)...) }

func TestSparseAtOddOffsets(t *testing.T) {
	layer := tt.Of(tt.File("before", strings.Repeat("x", 513)), tt.Raw(sparse10(t, "odd")), tt.File("after", "1"))
	x, _ := indexOf(t, layer, bytes.NewReader(layer))
	want := make([]byte, 5000)
	copy(want[5:], "aaa")
	copy(want[100:], bytes.Repeat([]byte("b"), 700))
	if id, ok := walk(x, "odd"); !ok || !bytes.Equal(content(x, id, layer), want) {
		t.Errorf("odd: %v", x.Extents(id))
	}
	if id, ok := walk(x, "after"); !ok || string(content(x, id, layer)) != "1" {
		t.Error("after has other content")
	}
}

// The fixture image's plain layers: everything in them is where archive/tar,
// reading from start to end, finds it.
func TestFixture(t *testing.T) {
	dir := filepath.Join("..", "..", "testdata", "fixture", "images")
	for _, l := range fixtureLayers(t, dir) {
		layer := gunzip(t, filepath.Join(dir, "blobs", "sha256", l))
		x, refused := indexOf(t, layer, bytes.NewReader(layer))
		if len(refused) != 0 {
			t.Errorf("refused %q", refused)
		}
		if n := compare(t, x, layer); n == 0 {
			t.Errorf("layer %s: no file compared", l)
		}
	}
}

func fixtureLayers(t *testing.T, dir string) []string {
	var idx, man struct {
		Manifests, Layers []struct {
			Digest      string
			Annotations map[string]string
		}
	}
	decode(t, filepath.Join(dir, "index.json"), &idx)
	for _, m := range idx.Manifests {
		if m.Annotations["org.opencontainers.image.ref.name"] == "gzip" {
			decode(t, filepath.Join(dir, "blobs", "sha256", m.Digest[7:]), &man)
		}
	}
	if len(man.Layers) != 4 {
		t.Fatalf("%d layers, want 4", len(man.Layers))
	}
	var list []string
	for _, l := range man.Layers {
		list = append(list, l.Digest[7:])
	}
	return list
}

func decode(t *testing.T, file string, v any) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// compare reads the tar from start to end and compares each regular file, the
// last of its name, with what the index says; it returns how many.
func compare(t testing.TB, x *index.Index, layer []byte) int {
	files := map[string][]byte{}
	tr := tar.NewReader(bytes.NewReader(layer))
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains("/"+h.Name, "/.wh.") {
			continue
		}
		delete(files, path.Clean(h.Name))
		if h.Typeflag == tar.TypeReg {
			if files[path.Clean(h.Name)], err = io.ReadAll(tr); err != nil {
				t.Fatal(err)
			}
		}
	}
	for p, want := range files {
		id, ok := walk(x, p)
		if !ok || !bytes.Equal(content(x, id, layer), want) {
			t.Errorf("%q has other content", p)
		}
	}
	return len(files)
}

// Whatever the bytes: no panic, and what the index says of plainly named files
// is what archive/tar reads.
func FuzzTar(f *testing.F) {
	f.Add(tt.Of(tt.Dir("d"), tt.File("d/f", "content"), tt.Link("l", "d/f"), tt.Whiteout("w"), tt.Symlink("s", "t", tt.Xattr("user.a", "b"))))
	for _, format := range []string{"gnu", "0.0", "0.1", "1.0"} {
		layer := gunzip(f, "testdata/sparse-"+format+".tar.gz")
		f.Add(layer[:min(len(layer), 8192)])
		f.Add(layer[len(layer)-20480:])
	}
	f.Fuzz(func(t *testing.T, layer []byte) {
		b := index.NewBuilder()
		if err := Tar(bytes.NewReader(layer), b); err != nil {
			if k := errkind.Of(err); k != errkind.Corrupt && k != errkind.Unsupported {
				t.Fatalf("kind of %v", err)
			}
			return
		}
		var out bytes.Buffer
		if err := b.Write(&out, index.Header{BlobSize: -1, SpaceSize: int64(len(layer))}, nil, nil); err != nil {
			if !errkind.Is(err, errkind.Corrupt) {
				t.Fatal(err)
			}
			return
		}
		x, err := index.OpenBytes(out.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		comparePlain(t, x, layer)
	})
}

// comparePlain is compare for tars of whatever sort: only files at the root
// whose name occurs once.
func comparePlain(t *testing.T, x *index.Index, layer []byte) {
	files, count := map[string][]byte{}, map[string]int{}
	tr := tar.NewReader(bytes.NewReader(layer))
	for {
		h, err := tr.Next()
		if err != nil {
			break
		}
		first, _, _ := strings.Cut(h.Name, "/")
		count[first]++
		if h.Typeflag == tar.TypeXGlobalHeader || h.Size > 1<<20 || strings.ContainsAny(h.Name, "./\x00") {
			count[first]++
			continue
		}
		if h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeGNUSparse {
			if data, err := io.ReadAll(tr); err == nil {
				files[h.Name] = data
			}
		}
	}
	if count[""] > 0 || count["."] > 0 || count[".."] > 0 {
		return // paths that are not what they begin with
	}
	for p, want := range files {
		if id, ok := walk(x, p); ok && count[p] == 1 && x.Entry(id).Kind == index.File && !bytes.Equal(content(x, id, layer), want) {
			t.Fatalf("%q has other content", p)
		}
	}
}
