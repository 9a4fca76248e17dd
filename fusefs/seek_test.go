package fusefs

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/layers/index"
)

func init() {
	children["map"] = func(args []string) error { return mapOf(args[0]) }
}

// mapOf prints the stretches of data of a file, and its length.
func mapOf(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for off := int64(0); ; {
		data, err := f.Seek(off, unix.SEEK_DATA)
		if err != nil {
			break // ENXIO: nothing but a hole is left
		}
		if off, err = f.Seek(data, unix.SEEK_HOLE); err != nil {
			return err
		}
		fmt.Printf("%d-%d ", data, off)
	}
	end, err := f.Seek(0, 2)
	fmt.Print(end)
	return err
}

func TestHolesAreFound(t *testing.T) {
	b := index.NewBuilder()
	data := make([]byte, 8192)
	files := map[string]index.Record{
		"middle": {Size: 1 << 20, Extents: []index.Extent{{Logical: 65536, Data: 0, Len: 4096}}},
		"two":    {Size: 1 << 20, Extents: []index.Extent{{Logical: 0, Data: 0, Len: 512}, {Logical: 1<<20 - 512, Data: 512, Len: 512}}},
		"hole":   {Size: 5000, Extents: []index.Extent{}},
		"dense":  {Size: 5000},
		"empty":  {},
	}
	for name, r := range files {
		r.Name, r.Kind, r.Mode = name, index.File, 0o644
		if err := b.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	dir, _ := mounted(t, viewOf(seal(t, b, data)), Options{Files: map[string]File{"own": {Read: func() ([]byte, error) { return []byte("12345"), nil }}}})
	for name, want := range map[string]string{
		"middle": "65536-69632 1048576", "two": "0-512 1048064-1048576 1048576", "hole": "5000",
		"dense": "0-5000 5000", "empty": "0", ".peelfs/own": "0-5 5",
	} {
		if got := runChild(t, "map", dir+"/"+name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
