package index

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"pgregory.net/rapid"

	"github.com/peelfs/peelfs/internal/errkind"
)

// sample is an index with everything in it.
func sample(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	h, spans, windows := sampleSpans()
	if err := sampleBuilder(t).Write(&out, h, spans, windows); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func sampleBuilder(t testing.TB) *Builder {
	b := NewBuilder()
	for _, r := range []Record{
		{Name: "./", Kind: Dir, Mode: 0o711, Xattrs: []Xattr{{"user.r", []byte("root")}}},
		{Name: "d/", Kind: Dir, Mode: 0o755},
		{Name: "d/f", Kind: File, Mode: 0o644, Size: 3000, Data: 512, Sec: -5, Nsec: 7, Xattrs: []Xattr{{"user.b", []byte{0, 1}}, {"user.a", nil}}},
		{Name: "d/g", Kind: Link, LinkName: "d/f"},
		{Name: "a", Kind: Link, LinkName: "d/f"},
		{Name: "s", Kind: File, Size: 1 << 30, Extents: []Extent{{0, 4096, 10}, {1 << 20, 4106, 20}}},
		{Name: "hole", Kind: File, Size: 1 << 40, Extents: []Extent{}},
		{Name: "dense", Kind: File, Size: 30, Extents: []Extent{{0, 512, 10}, {10, 522, 20}, {30, 0, 0}}},
		{Name: "split", Kind: File, Size: 30, Extents: []Extent{{0, 522, 10}, {10, 512, 10}, {20, 600, 10}}},
		{Name: "l", Kind: Symlink, LinkName: "d/f"},
		{Name: "m", Kind: Link, LinkName: "l"},
		{Name: "c", Kind: Char, Major: 4095, Minor: 0xabcde},
		{Name: "lower", Kind: Link, LinkName: "/usr/../bin/x"},
		{Name: "e/.wh.gone", Kind: File},
		{Name: "d/.wh..wh..opq", Kind: File},
		{Name: "stargz.index.json", Kind: File, Size: 1, Data: 0},
		{Name: "sub/stargz.index.json", Kind: File, Size: 1, Data: 0},
	} {
		if err := b.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func sampleSpans() (Header, []Span, []Window) {
	var p WindowPacker
	h := Header{
		Source: SOCI, Space: Packed, Compression: Gzip, HideTOC: true, BlobSize: 9000, SpaceSize: 10000,
		BlobDigest: digest.FromString("blob"), DiffID: digest.SHA512.FromString("tar"),
		Document: digest.FromString("ztoc"),
	}
	spans := []Span{
		{Out: 0, OutLen: 4096, In: 10, InLen: 1000, Sum: 5},
		{Out: 4096, OutLen: 1000, In: 1009, InLen: 7991, Bits: 3, Skip: 9, Digest: [32]byte{1, 2}, DigestOf: DigestOutput},
		{Out: 8192, OutLen: 1808, Flags: SpanZeros},
	}
	return h, spans, []Window{nil, p.Pack(sparseWindow()), nil}
}

func sparseWindow() []byte {
	w := make([]byte, WindowSize)
	for i := range 3000 {
		w[(i*7919)%WindowSize] = byte(i)
	}
	return w
}

func open(t testing.TB, data []byte) *Index {
	t.Helper()
	x, err := OpenBytes(data)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func find(t testing.TB, x *Index, path string) uint32 {
	t.Helper()
	id := uint32(0)
	for name := range strings.SplitSeq(path, "/") {
		var ok bool
		if id, ok = x.Find(id, name); !ok {
			t.Fatalf("%s is missing", path)
		}
	}
	return id
}

func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index")
	if err := os.WriteFile(path, sample(t), 0o600); err != nil {
		t.Fatal(err)
	}
	x, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	h, spans, _ := sampleSpans()
	if x.Header() != h {
		t.Errorf("header %+v, want %+v", x.Header(), h)
	}
	for i, s := range spans {
		if x.Span(i) != s {
			t.Errorf("span %+v, want %+v", x.Span(i), s)
		}
	}
	for path, want := range map[string]Entry{
		"d":     {Kind: Dir, Flags: Opaque, Mode: 0o755, First: 13, Count: 2},
		"a":     {Kind: File, Flags: Linked | HasXattrs, Mode: 0o644, Sec: -5, Nsec: 7, Size: 3000, Data: 512},
		"d/g":   {Kind: File, Flags: HardLink | HasXattrs, Mode: 0o644, Sec: -5, Nsec: 7, Size: 3000, Data: 512, Parent: 3, Link: 1},
		"s":     {Kind: File, Flags: Sparse, Size: 1 << 30},
		"hole":  {Kind: File, Flags: Sparse, Size: 1 << 40},
		"dense": {Kind: File, Size: 30, Data: 512},
		"l":     {Kind: Symlink, Flags: Linked, Mode: 0o777, Size: 3},
		"lower": {Kind: Link},
		"e":     {Kind: Dir, Flags: Implied | MarkersOnly, Mode: 0o755, First: 15, Count: 1},
	} {
		if got := x.Entry(find(t, x, path)); got != want {
			t.Errorf("%s: %+v, want %+v", path, got, want)
		}
	}
	if e := x.Entry(find(t, x, "c")); e.Major() != 4095 || e.Minor() != 0xabcde {
		t.Errorf("device %d:%d", e.Major(), e.Minor())
	}
	if got := x.Extents(find(t, x, "s")); !slices.Equal(got, []Extent{{0, 4096, 10}, {1 << 20, 4106, 20}}) {
		t.Errorf("extents %v", got)
	}
	for off, want := range map[int64]int{0: 2, 9: 2, 10: 1, 1<<20 + 19: 1, 1<<20 + 20: 0, 1 << 29: 0} {
		if got := len(slices.Collect(x.ExtentsFrom(find(t, x, "s"), off))); got != want {
			t.Errorf("%d extents from byte %d, want %d", got, off, want)
		}
	}
	if got := x.Extents(find(t, x, "split")); !slices.Equal(got, []Extent{{0, 522, 10}, {10, 512, 10}, {20, 600, 10}}) {
		t.Errorf("extents %v", got)
	}
	if got := x.Links(find(t, x, "a")); !slices.Equal(got, []uint32{find(t, x, "d/f"), find(t, x, "d/g")}) {
		t.Errorf("links %v", got)
	}
	if v, ok := x.Xattr(find(t, x, "d/g"), "user.b"); !ok || string(v) != "\x00\x01" {
		t.Errorf("xattr %q %v", v, ok)
	}
	if string(x.Target(find(t, x, "m"))) != "d/f" || string(x.Target(find(t, x, "lower"))) != "bin/x" {
		t.Error("wrong targets")
	}
	if _, ok := x.Find(0, "stargz.index.json"); ok {
		t.Error("the layer's own table of contents shows")
	}
	if err := x.Close(); err != nil {
		t.Error(err)
	}
}

func TestWindows(t *testing.T) {
	x := open(t, sample(t))
	for i, want := range [][]byte{nil, sparseWindow(), nil, nil} {
		if got, err := x.Window(i); err != nil || !bytes.Equal(got, want) {
			t.Errorf("window %d: %d bytes, %v", i, len(got), err)
		}
	}
	b := NewBuilder()
	var p WindowPacker
	good := p.Pack(sparseWindow())
	twice := p.Pack(make([]byte, WindowSize))
	var long bytes.Buffer
	p.w.Reset(&long)
	_, _ = p.w.Write(make([]byte, WindowSize+1))
	_ = p.w.Close()
	var out bytes.Buffer
	spans := []Span{{Out: 0, OutLen: 1}, {Out: 1, OutLen: 1}, {Out: 2, OutLen: 1}}
	err := b.Write(&out, Header{BlobSize: -1, SpaceSize: 3}, spans, []Window{good[:len(good)/2], long.Bytes(), twice})
	if err != nil {
		t.Fatal(err)
	}
	x = open(t, out.Bytes())
	for i := range 2 {
		if _, err := x.Window(i); !errkind.Is(err, errkind.Corrupt) {
			t.Errorf("bad window %d: %v", i, err)
		}
	}
	if w, err := x.Window(2); err != nil || len(w) != WindowSize {
		t.Errorf("a window packed after another: %d bytes, %v", len(w), err)
	}
}

func TestSeekPointsAreWhatSpansCost(t *testing.T) {
	size := func(spans []Span, windows []Window) (all, points int64) {
		var out bytes.Buffer
		h, _, _ := sampleSpans()
		if err := sampleBuilder(t).Write(&out, h, spans, windows); err != nil {
			t.Fatal(err)
		}
		return int64(out.Len()), open(t, out.Bytes()).SeekPoints()
	}
	_, spans, windows := sampleSpans()
	bare, none := size(nil, nil)
	all, points := size(spans, windows)
	if none != 0 || points == 0 || all-bare < points || all-bare > points+16 {
		t.Errorf("%d of the %d bytes that spans add to %d", points, all-bare, bare)
	}
}

func TestSpansOf(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var spans []Span
		at := int64(0)
		for range rapid.IntRange(0, 8).Draw(rt, "spans") {
			at += rapid.Int64Range(0, 2).Draw(rt, "gap")
			n := rapid.Int64Range(1, 4).Draw(rt, "len")
			spans = append(spans, Span{Out: at, OutLen: n})
			at += n
		}
		var out bytes.Buffer
		if err := NewBuilder().Write(&out, Header{BlobSize: -1, SpaceSize: at}, spans, nil); err != nil {
			rt.Fatal(err)
		}
		x := open(t, out.Bytes())
		off, n := rapid.Int64Range(0, 40).Draw(rt, "off"), rapid.Int64Range(-1, 40).Draw(rt, "n")
		first, last := x.SpansOf(off, n)
		for i, s := range spans {
			overlaps := n > 0 && s.Out < off+n && s.Out+s.OutLen > off
			if overlaps != (first <= i && i < last) {
				rt.Fatalf("SpansOf(%d, %d) = %d, %d: wrong for span %d %+v", off, n, first, last, i, s)
			}
		}
		if first > last || last > len(spans) {
			rt.Fatalf("SpansOf(%d, %d) = %d, %d", off, n, first, last)
		}
	})
}

func TestWriteIsDeterministicAndFinal(t *testing.T) {
	if !bytes.Equal(sample(t), sample(t)) {
		t.Error("two builders of the same records differ")
	}
	b := sampleBuilder(t)
	h, spans, windows := sampleSpans()
	var first, again bytes.Buffer
	if err := b.Write(&first, h, spans, windows); err != nil {
		t.Fatal(err)
	}
	if err := b.Write(&again, h, spans, windows); err != nil || !bytes.Equal(first.Bytes(), again.Bytes()) {
		t.Errorf("written again it differs (%v)", err)
	}
	if err := b.Add(Record{Name: "x", Kind: Fifo}); !errkind.Is(err, errkind.Internal) {
		t.Errorf("record after Write: %v", err)
	}
}

func TestWriteRefuses(t *testing.T) {
	b := sampleBuilder(t)
	h, spans, windows := sampleSpans()
	with := func(change func(h *Header, s []Span)) error {
		h, s := h, slices.Clone(spans)
		change(&h, s)
		return b.Write(&bytes.Buffer{}, h, s, windows)
	}
	for name, err := range map[string]error{
		"overlapping spans":   with(func(_ *Header, s []Span) { s[1].Out-- }),
		"span without output": with(func(_ *Header, s []Span) { s[1].OutLen = 0 }),
		"span outside layer":  with(func(_ *Header, s []Span) { s[2].OutLen++ }),
		"input outside blob":  with(func(_ *Header, s []Span) { s[1].InLen++ }),
		"nine bits":           with(func(_ *Header, s []Span) { s[1].Bits = 8 }),
		"content outside": with(func(h *Header, s []Span) {
			h.SpaceSize = 3511
			clear(s)
			s[0].OutLen = 1
			s[1].Out, s[1].OutLen = 1, 1
			s[2].Out, s[2].OutLen = 2, 1
		}),
		"extent outside": with(func(h *Header, s []Span) {
			h.SpaceSize = 4100
			clear(s)
			s[0].OutLen = 1
			s[1].Out, s[1].OutLen = 1, 1
			s[2].Out, s[2].OutLen = 2, 1
		}),
	} {
		if !errkind.Is(err, errkind.Corrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := b.Write(&bytes.Buffer{}, h, spans, windows[1:]); !errkind.Is(err, errkind.Internal) {
		t.Errorf("too few windows: %v", err)
	}
	if err := with(func(h *Header, _ []Span) { h.DiffID = "sha256:short" }); !errkind.Is(err, errkind.Internal) {
		t.Errorf("bad digest: %v", err)
	}
}

func TestAddRefusesContradictions(t *testing.T) {
	for _, r := range []Record{
		{Size: -1}, {Size: MaxSize + 1}, {Data: -1, Size: 1}, {Data: MaxSize + 1, Size: 1},
		{Size: 10, Extents: []Extent{{5, 0, 6}}},
		{Size: 10, Extents: []Extent{{5, 0, 2}, {6, 0, 1}}},
		{Size: 10, Extents: []Extent{{-1, 0, 2}}},
		{Size: 10, Extents: []Extent{{0, -1, 2}}},
		{Size: 10, Extents: []Extent{{0, 0, -2}}},
		{Size: 10, Extents: []Extent{{1 << 62, 0, 1 << 62}}},
		{Size: 10, Extents: []Extent{{0, 1 << 62, 5}}},
	} {
		r.Name, r.Kind = "f", File
		if err := NewBuilder().Add(r); !errkind.Is(err, errkind.Corrupt) {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

func TestLimits(t *testing.T) {
	a := arena{what: "names"}
	a.data = make([]byte, MaxText-1, MaxText) // pages nobody touches
	a.ends = []uint32{MaxText - 1}
	if _, err := a.intern("x"); err != nil {
		t.Error(err)
	}
	if _, err := a.intern("y"); !errkind.Is(err, errkind.Unsupported) {
		t.Errorf("one byte too many: %v", err)
	}
	if room(MaxEntries) != nil || !errkind.Is(room(MaxEntries+1), errkind.Unsupported) {
		t.Error("limit of entries")
	}
}

func TestReadersAllocateNothing(t *testing.T) {
	x := open(t, sample(t))
	d := find(t, x, "d")
	n := testing.AllocsPerRun(100, func() {
		id, ok := x.Find(d, "g")
		_, missing := x.Find(d, "h")
		value, _ := x.Xattr(id, "user.b")
		e := x.Entry(id)
		if !ok || missing || e.Size != 3000 || len(x.Name(id)) != 1 || len(value) != 2 || len(x.Target(find1(x, "l"))) != 3 {
			t.Error("wrong answer")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func find1(x *Index, name string) uint32 {
	id, _ := x.Find(0, name)
	return id
}

func TestOutOfRange(t *testing.T) {
	x := open(t, sample(t))
	for _, id := range []uint32{uint32(x.Len()), 1 << 31, ^uint32(0)} {
		_, ok := x.Find(id, "a")
		if ok || x.Entry(id) != (Entry{}) || x.Name(id) != nil || x.Target(id) != nil || x.Extents(id) != nil ||
			x.Links(id) != nil || x.Path(id) != "" {
			t.Errorf("entry %d is something", id)
		}
		for range x.Xattrs(id) {
			t.Errorf("entry %d has extended attributes", id)
		}
	}
	if x.Span(-1) != (Span{}) || x.Span(3) != (Span{}) {
		t.Error("span out of range is something")
	}
	if _, ok := x.Find(find(t, x, "l"), "a"); ok {
		t.Error("a symlink has children")
	}
}

func ExampleIndex_Find() {
	b := NewBuilder()
	_ = b.Add(Record{Name: "etc/motd", Kind: File, Mode: 0o644, Size: 5})
	var file bytes.Buffer
	_ = b.Write(&file, Header{BlobSize: -1, SpaceSize: 5}, nil, nil)
	x, _ := OpenBytes(file.Bytes())
	etc, _ := x.Find(0, "etc")
	motd, _ := x.Find(etc, "motd")
	fmt.Println(x.Path(motd), x.Entry(motd).Size)
	// Output: etc/motd 5
}

func TestHideTOCLeavesDirectories(t *testing.T) {
	b := NewBuilder()
	for _, r := range []Record{
		{Name: "stargz.index.json/", Kind: Dir}, {Name: ".prefetch.landmark", Kind: File}, {Name: "./.no.prefetch.landmark", Kind: File},
	} {
		if err := b.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	for hide, want := range map[bool]int{true: 2, false: 4} {
		var out bytes.Buffer
		if err := b.Write(&out, Header{HideTOC: hide, BlobSize: -1}, nil, nil); err != nil {
			t.Fatal(err)
		}
		if x := open(t, out.Bytes()); x.Len() != want || x.Header().HideTOC != hide {
			t.Errorf("hidden %v: %d entries, want %d", hide, x.Len(), want)
		}
	}
}

func TestXattrTwice(t *testing.T) {
	b := NewBuilder()
	if err := b.Add(Record{Name: "f", Kind: Fifo, Xattrs: []Xattr{{"user.a", []byte("1")}, {"user.b", nil}, {"user.a", []byte("2")}}}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := b.Write(&out, Header{BlobSize: -1}, nil, nil); err != nil {
		t.Fatal(err)
	}
	if v, ok := open(t, out.Bytes()).Xattr(1, "user.a"); !ok || string(v) != "2" {
		t.Errorf("user.a is %q, want the last", v)
	}
}
