package index

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zeebo/xxh3"

	"github.com/peelfs/peelfs/internal/errkind"
)

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
