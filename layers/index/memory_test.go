package index

import (
	"fmt"
	"io"
	"runtime"
	"testing"
)

// allocated is what do allocates in all, and what of it is in memory after it.
func allocated(do func() any) (all, kept int64) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	result := do()
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(result)
	return int64(after.TotalAlloc - before.TotalAlloc), int64(after.HeapAlloc) - int64(before.HeapAlloc)
}

// filled is a Builder with n files in directories of a hundred.
func filled(t *testing.T, n int) *Builder {
	b := NewBuilder()
	for i := range n {
		r := Record{Name: fmt.Sprintf("usr/lib/pkg%05d/file_%07d.py", i/100, i), Kind: File, Size: 1, Data: int64(i)}
		if err := b.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func TestMemoryIsLinearInTheEntries(t *testing.T) {
	const n = 60_000
	write := func(b *Builder) any {
		if err := b.Write(io.Discard, Header{BlobSize: -1, SpaceSize: 1 << 40}, nil, nil); err != nil {
			t.Fatal(err)
		}
		return b
	}
	one, _ := allocated(func() any { return write(filled(t, n)) })
	four, kept := allocated(func() any { return write(filled(t, 4*n)) })
	if four > 5*one {
		t.Errorf("%d bytes for %d entries, %d for four times as many", one, n, four)
	}
	if each := kept / (4 * n); each > 100 {
		t.Errorf("%d bytes for each entry are kept", each)
	}
	if each := four / (4 * n); each > 800 {
		t.Errorf("%d bytes for each entry are allocated", each)
	}
}

func TestWritingGivesBackWhatAddingNeeds(t *testing.T) {
	const n = 200_000
	var b *Builder
	_, adding := allocated(func() any { b = filled(t, n); return b })
	_, grown := allocated(func() any { return b.Write(io.Discard, Header{BlobSize: -1, SpaceSize: 1 << 40}, nil, nil) })
	if grown > -8*n {
		t.Errorf("%d bytes were in memory, and writing has added %d", adding, grown)
	}
	runtime.KeepAlive(b)
}
