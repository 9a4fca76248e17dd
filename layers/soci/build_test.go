package soci

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	flatbuffers "github.com/google/flatbuffers/go"
	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/inflate"
)

// rootOf is the table of a whole ztoc.
func rootOf(z []byte) table {
	return table{flatbuffers.Table{Bytes: z, Pos: flatbuffers.GetUOffsetT(z)}}
}

// metadata is all that a ztoc says of its entries, in order, a line each.
func metadata(t *testing.T, z []byte) []string {
	t.Helper()
	toc, ok := rootOf(z).table(ztocTOC)
	if !ok {
		t.Fatal("no table of contents")
	}
	var lines []string
	for i := range toc.length(tocMetadata) {
		f := toc.element(tocMetadata, i)
		var records []string
		for j := range f.length(fileXattrs) {
			x := f.element(fileXattrs, j)
			records = append(records, fmt.Sprintf("%s=%q", x.text(xattrKey), x.text(xattrValue)))
		}
		slices.Sort(records)
		lines = append(lines, fmt.Sprintf("%q %s at %d size %d link %q mode %o %d:%d %q:%q %s dev %d,%d %s", f.text(fileName), f.text(fileType),
			f.int64(fileOffset), f.int64(fileSize), f.text(fileLinkname), f.int64(fileMode), f.uint32(fileUID), f.uint32(fileGID),
			f.text(fileUname), f.text(fileGname), f.text(fileModTime), f.int64(fileDevMajor), f.int64(fileDevMinor), records))
	}
	return lines
}

func TestOurZtocSaysWhatTheSociToolsSays(t *testing.T) {
	for layer, theirs := range ztocs(t) {
		ours, err := Build(bytes.NewReader(blob(t, layer)), Options{SpanSize: 256 << 10})
		if err != nil {
			t.Fatal(err)
		}
		a, b := metadata(t, theirs), metadata(t, ours.Ztoc)
		for i := range max(len(a), len(b)) {
			if i >= len(a) || i >= len(b) || a[i] != b[i] {
				t.Fatalf("entry %d:\n%s\nthe tool says:\n%s", i, b[min(i, len(b)-1)], a[min(i, len(a)-1)])
			}
		}
		x, y := rootOf(theirs), rootOf(ours.Ztoc)
		if x.text(ztocVersion) != y.text(ztocVersion) || x.int64(ztocCompressedSize) != y.int64(ztocCompressedSize) {
			t.Error("version or size of the blob")
		}
		if n := x.int64(ztocUncompressedSize); n > y.int64(ztocUncompressedSize) {
			t.Errorf("the tool has seen %d bytes, and we %d", n, y.int64(ztocUncompressedSize))
		}
		samePlaces(t, layer, x, y)
	}
}

// samePlaces holds that where both have a checkpoint for the same output, it is
// the same place in the blob.
func samePlaces(t *testing.T, layer digest.Digest, x, y table) {
	t.Helper()
	points := func(z table) []checkpoint {
		info, _ := z.table(ztocCompressionInfo)
		points, err := checkpoints(info.bytes(infoCheckpoints))
		if err != nil {
			t.Fatal(err)
		}
		return points
	}
	theirs, same := map[int64]checkpoint{}, 0
	for _, p := range points(x) {
		theirs[p.out] = p
	}
	for _, p := range points(y) {
		q, ok := theirs[p.out]
		if !ok {
			continue
		}
		same++
		if p.in != q.in || p.bits != q.bits {
			t.Errorf("%s at %d: ours is (%d, %d), theirs (%d, %d)", layer, p.out, p.in, p.bits, q.in, q.bits)
		}
		for i, c := range p.window {
			if c != 0 && q.window != nil && c != q.window[i] {
				t.Fatalf("%s at %d: byte %d of the window differs", layer, p.out, i)
			}
		}
	}
	if same == 0 {
		t.Errorf("%s: no checkpoint in common", layer)
	}
}

func TestOurZtocReadsBack(t *testing.T) {
	text := strings.Repeat("a line that comes again and again\n", 300_000)
	tar := tartest.Of(tartest.Dir("d/"), tartest.File("d/f", text), tartest.Symlink("s", "d/f"), tartest.File("g", "g"))
	var gz bytes.Buffer
	for part := range slices.Chunk(tar, 3<<20) { // several members
		w := gzip.NewWriter(&gz)
		w.Name = "part"
		w.Write(part)
		w.Close()
	}
	built, err := Build(bytes.NewReader(gz.Bytes()), Options{SpanSize: 1 << 20, BuildTool: "a test"})
	if err != nil {
		t.Fatal(err)
	}
	if built.DiffID != digest.FromBytes(tar) || built.BlobSize != int64(gz.Len()) {
		t.Errorf("%+v", built)
	}
	l, err := Parse(built.Ztoc)
	if err != nil {
		t.Fatal(err)
	}
	if l.SpaceSize != int64(len(tar)) || len(l.Spans) < 4 {
		t.Fatalf("%d bytes in %d spans", l.SpaceSize, len(l.Spans))
	}
	for i, s := range l.Spans {
		src := gz.Bytes()[s.In : s.In+s.InLen]
		if digest.FromBytes(src) != digest.NewDigestFromBytes(digest.SHA256, s.Digest[:]) {
			t.Errorf("span %d: digest", i)
		}
		out := make([]byte, s.OutLen)
		window := l.window(t, i)
		if err := inflate.DecodeSpan(out, src, window, s.Bits); err != nil || !bytes.Equal(out, tar[s.Out:s.Out+s.OutLen]) {
			t.Errorf("span %d: %v", i, err)
		}
	}
	again, err := Build(bytes.NewReader(gz.Bytes()), Options{SpanSize: 1 << 20, BuildTool: "a test"})
	if err != nil || !bytes.Equal(built.Ztoc, again.Ztoc) {
		t.Errorf("made again, it differs: %v", err)
	}
}

func TestLayersThatAZtocCannotExpress(t *testing.T) {
	gz := func(tar []byte, more string) io.Reader {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		w.Write(tar)
		w.Close()
		return io.MultiReader(&b, strings.NewReader(more))
	}
	plain := tartest.Of(tartest.File("f", "x"))
	for name, c := range map[string]struct {
		r    io.Reader
		want errkind.Kind
	}{
		"not gzip":       {bytes.NewReader(plain), errkind.Corrupt},
		"cut short":      {io.LimitReader(gz(plain, ""), 40), errkind.Corrupt},
		"not a tar":      {gz([]byte(strings.Repeat("x", 2000)), ""), errkind.Corrupt},
		"more behind it": {gz(plain, strings.Repeat("\x00", 10)), errkind.Unsupported},
		"empty":          {gz(nil, ""), errkind.Unsupported},
	} {
		if _, err := Build(c.r, Options{}); !errkind.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// index is the layer's index, read back.
func (l *Layer) index(t *testing.T) *index.Index {
	t.Helper()
	var file bytes.Buffer
	h := index.Header{Source: index.SOCI, Compression: index.Gzip, BlobSize: l.BlobSize, SpaceSize: l.SpaceSize}
	if err := l.Builder.Write(&file, h, l.Spans, l.Windows); err != nil {
		t.Fatal(err)
	}
	x, err := index.OpenBytes(file.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// window is the history of span i, unpacked by way of an index.
func (l *Layer) window(t *testing.T, i int) []byte {
	t.Helper()
	w, err := l.index(t).Window(i)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestZtocsLeadThroughTheLayersOwnLinks(t *testing.T) {
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	w.Write(tartest.Of(tartest.Symlink("lib", "usr/lib", tartest.Mode(0o644)), tartest.File("lib/x", "1")))
	w.Close()
	built, err := Build(&gz, Options{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := Parse(built.Ztoc)
	if err != nil {
		t.Fatal(err)
	}
	x := l.index(t)
	var got []string
	for id := range uint32(x.Len()) {
		got = append(got, fmt.Sprintf("/%s %v %o", x.Path(id), x.Entry(id).Kind, x.Entry(id).Mode))
	}
	const want = "/ dir 755, /lib symlink 777, /usr dir 755, /usr/lib dir 755, /usr/lib/x file 644"
	if got := strings.Join(got, ", "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
