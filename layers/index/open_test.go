package index

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/zeebo/xxh3"
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
		"l":     {Kind: Symlink, Flags: Linked, Size: 3},
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

// reseal makes what is checked before the sections right again.
func reseal(data []byte) []byte {
	if len(data) < headerSize {
		return data
	}
	copy(data, magic)
	binary.LittleEndian.PutUint32(data[hdVersion:], version)
	binary.LittleEndian.PutUint64(data[hdFileSize:], uint64(len(data)))
	binary.LittleEndian.PutUint64(data[hdSum:], xxh3.Hash(data[hdSource:]))
	return data
}

// section returns where a section starts.
func section(data []byte, sec int) int {
	at := int64(headerSize)
	for i := range sec {
		at = align8(at + int64(binary.LittleEndian.Uint64(data[hdSections+8*i:])))
	}
	return int(at)
}

func TestOpenRefusesDamage(t *testing.T) {
	good := sample(t)
	x := open(t, good)
	u32 := binary.LittleEndian.PutUint32
	entryAt := func(d []byte, path string) []byte {
		return d[section(d, secEntries)+int(find(t, x, path))*entrySize:]
	}
	for name, damage := range map[string]func(d []byte) []byte{
		"empty":                  func(d []byte) []byte { return nil },
		"cut short":              func(d []byte) []byte { return d[:len(d)-8] },
		"longer":                 func(d []byte) []byte { return append(d, make([]byte, 8)...) },
		"section too long":       func(d []byte) []byte { d[hdSections+7] = 0x7f; return d },
		"half a record":          func(d []byte) []byte { d[hdSections]++; return d },
		"unknown source":         func(d []byte) []byte { d[hdSource] = 9; return d },
		"unknown digest":         func(d []byte) []byte { d[hdBlob] = 9; return d },
		"negative space":         func(d []byte) []byte { d[hdSpace+7] = 0x80; return d },
		"root is a file":         func(d []byte) []byte { d[section(d, secEntries)+22] = byte(File); return d },
		"kind unknown":           func(d []byte) []byte { entryAt(d, "d")[22] = 0xf; return d },
		"parent of itself":       func(d []byte) []byte { u32(entryAt(d, "d/f")[4:], find(t, x, "d/f")); return d },
		"parent comes later":     func(d []byte) []byte { u32(entryAt(d, "d")[4:], find(t, x, "e")); return d },
		"parent is a file":       func(d []byte) []byte { u32(entryAt(d, "d/f")[4:], 1); return d },
		"too many children":      func(d []byte) []byte { u32(entryAt(d, "d")[12:], 3); return d },
		"children overflow":      func(d []byte) []byte { u32(entryAt(d, "d")[12:], ^uint32(0)); return d },
		"children contain it":    func(d []byte) []byte { u32(entryAt(d, "d")[16:], 1); return d },
		"name outside":           func(d []byte) []byte { u32(entryAt(d, "d")[0:], 1<<30); return d },
		"name runs out":          func(d []byte) []byte { d[section(d, secNames)+1] = 255; return d },
		"name is empty":          func(d []byte) []byte { u32(entryAt(d, "a")[0:], 0); return d },
		"name with slash":        func(d []byte) []byte { d[section(d, secNames)+2] = '/'; return d },
		"name not sorted":        func(d []byte) []byte { d[section(d, secNames)+2] = 'z'; return d },
		"attributes outside":     func(d []byte) []byte { u32(entryAt(d, "d")[8:], 99); return d },
		"mode too large":         func(d []byte) []byte { d[section(d, secAttrs)+3] = 1; return d },
		"nanoseconds":            func(d []byte) []byte { u32(d[section(d, secAttrs)+12:], 1e9); return d },
		"xattr set outside":      func(d []byte) []byte { u32(d[section(d, secAttrs)+24:], 99); return d },
		"xattr too long":         func(d []byte) []byte { d[section(d, secXattrs)+1] = 99; return d },
		"table not ascending":    func(d []byte) []byte { u32(d[section(d, secTargetEnds):], 1<<20); return d },
		"file outside":           func(d []byte) []byte { entryAt(d, "a")[29] = 1; return d },
		"file data of 64 bits":   func(d []byte) []byte { entryAt(d, "a")[31] = 1; return d },
		"extents of another":     func(d []byte) []byte { u32(entryAt(d, "s")[12:], 1); return d },
		"more extents":           func(d []byte) []byte { u32(entryAt(d, "s")[24:], 3); return d },
		"extent outside":         func(d []byte) []byte { d[section(d, secExtents)+9] = 0xff; return d },
		"symlink text outside":   func(d []byte) []byte { u32(entryAt(d, "l")[12:], 99); return d },
		"link target not clean":  func(d []byte) []byte { return bytes.Replace(d, []byte("bin/x"), []byte("../in"), 1) },
		"hard link to itself":    func(d []byte) []byte { u32(entryAt(d, "d/g")[12:], find(t, x, "d/g")); return d },
		"hard link to hard link": func(d []byte) []byte { u32(entryAt(d, "d/g")[12:], find(t, x, "d/f")); return d },
		"hard link to other":     func(d []byte) []byte { u32(entryAt(d, "d/g")[12:], find(t, x, "dense")); return d },
		"linked without links":   func(d []byte) []byte { entryAt(d, "dense")[23] |= byte(Linked >> 4); return d },
		"links not in order":     func(d []byte) []byte { u32(d[section(d, secLinks)+4:], 15); return d },
		"unresolved is a file":   func(d []byte) []byte { u32(d[section(d, secUnresolved):], 1); return d },
		"span not ascending":     func(d []byte) []byte { d[section(d, secSpans)+8] = 1; d[section(d, secSpans)+9] = 0xff; return d },
		"flags of another kind":  func(d []byte) []byte { entryAt(d, "d")[23] |= byte(Sparse >> 4); return d },
		"whiteout with flags":    func(d []byte) []byte { entryAt(d, "e/gone")[22] |= byte(Opaque) << 4; return d },
	} {
		if _, err := OpenBytes(reseal(damage(bytes.Clone(good)))); !errkind.Is(err, errkind.Corrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := OpenBytes(reseal(bytes.Clone(good))); err != nil {
		t.Errorf("undamaged: %v", err)
	}
}

func TestEveryFlippedBitIsSeen(t *testing.T) {
	good := sample(t)
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		if _, err := OpenBytes(bad); err == nil && (i < 12 || i >= 16) {
			t.Errorf("bit flipped in byte %d is not seen", i)
		}
	}
}

func TestOpenFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "none")); !errkind.Is(err, errkind.NotFound) || !os.IsNotExist(err) && !strings.Contains(err.Error(), "none") {
		t.Errorf("no file: %v", err)
	}
	short := filepath.Join(dir, "short")
	if err := os.WriteFile(short, []byte("peelidx\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, short} {
		if _, err := Open(path); !errkind.Is(err, errkind.Corrupt) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// exercise calls everything, and checks what a reader may rely on.
func exercise(t *testing.T, x *Index) {
	for id := range uint32(x.Len()) {
		e := x.Entry(id)
		if id > 0 {
			if e.Parent >= id {
				t.Fatalf("entry %d is in %d", id, e.Parent)
			}
			if got, ok := x.Find(e.Parent, string(x.Name(id))); !ok || got != id {
				t.Fatalf("entry %d %q is found as %d %v", id, x.Name(id), got, ok)
			}
		}
		for i := range e.Count {
			if p := x.Entry(e.First + i).Parent; p != id {
				t.Fatalf("child %d of %d is in %d", e.First+i, id, p)
			}
		}
		if (e.Kind == Symlink || e.Kind == Link) && len(x.Target(id)) == 0 {
			t.Fatalf("entry %d has no target", id)
		}
		if e.Kind == File && e.Flags&Sparse == 0 && e.Data+e.Size > x.Header().SpaceSize {
			t.Fatalf("entry %d is outside", id)
		}
		if e.Flags&HardLink != 0 && !slices.Contains(x.Links(e.Link), id) {
			t.Fatalf("entry %d is no other name of %d", id, e.Link)
		}
		for name := range x.Xattrs(id) {
			if _, ok := x.Xattr(id, string(name)); !ok {
				t.Fatalf("entry %d has lost %q", id, name)
			}
		}
		_, _ = x.Extents(id), x.Path(id)
	}
	for _, id := range x.Unresolved() {
		if x.Entry(id).Kind != Link {
			t.Fatalf("entry %d is no link", id)
		}
	}
	for i := range x.Spans() {
		s := x.Span(i)
		if first, last := x.SpansOf(s.Out, s.OutLen); first != i || last != i+1 {
			t.Fatalf("span %d is found as %d to %d", i, first, last)
		}
		if w, err := x.Window(i); err == nil && len(w) > WindowSize {
			t.Fatalf("window of %d bytes", len(w))
		}
	}
}

// Whatever is in an index file, opening and reading it ends and does not panic.
func FuzzOpen(f *testing.F) {
	good := sample(f)
	f.Add(good)
	var empty bytes.Buffer
	if err := NewBuilder().Write(&empty, Header{BlobSize: -1}, nil, nil); err != nil {
		f.Fatal(err)
	}
	f.Add(empty.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := OpenBytes(reseal(bytes.Clone(data)))
		if err != nil {
			if !errkind.Is(err, errkind.Corrupt) {
				t.Fatalf("kind of %v", err)
			}
			return
		}
		exercise(t, x)
	})
}

// The same with a few bytes changed at a time, which gets past more checks.
func TestChangedBytes(t *testing.T) {
	good := sample(t)
	opened := 0
	for seed := range uint64(5000) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		bad := bytes.Clone(good)
		for range 1 + rnd.IntN(3) {
			at := hdSource + rnd.IntN(len(bad)-hdSource)
			if rnd.IntN(2) == 0 {
				bad[at] = byte(rnd.IntN(8))
			} else {
				bad[at] ^= 1 << rnd.IntN(8)
			}
		}
		if x, err := OpenBytes(reseal(bad)); err == nil {
			opened++
			exercise(t, x)
		}
	}
	if opened == 0 {
		t.Error("none got past the checks")
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
