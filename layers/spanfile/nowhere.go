package spanfile

import (
	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/internal/flock"
	"github.com/peelfs/peelfs/internal/mapfault"
)

// Nowhere returns a File of the layout that keeps nothing, for a layer of which
// nothing can be written to the disk: no span is ever present, and Write fails as
// it does on a full disk.
func Nowhere(layout Layout) *File {
	words := (layout.Spans + 63) / 64
	m := make([]byte, headerSize+3*8*words)
	f := &File{layout: layout, st: &state{m: m, n: layout.Spans}}
	f.st.divide()
	f.mu.held = map[int]struct{}{}
	return f
}

// IsNowhere reports whether the File keeps nothing.
func (f *File) IsNowhere() bool { return f.data == nil }

// Linked reports whether the File has a data file that is still in its directory.
func (f *File) Linked() bool {
	var st unix.Stat_t
	return !f.IsNowhere() && unix.Fstat(int(f.data.Fd()), &st) == nil && st.Nlink > 0
}

// Look opens the files of the layout in dir as they are, and returns Nowhere if
// there are none that fit: it makes and replaces none.
func Look(dir string, layout Layout, lock *flock.File) (f *File, err error) {
	err = alone(lock, func() error {
		return mapfault.Catch(func() (err error) {
			f, err = openPair(dir, layout)
			return err
		})
	})
	if mapfault.Is(err) {
		return Nowhere(layout), nil
	}
	if err != nil {
		return nil, err
	}
	if f == nil {
		return Nowhere(layout), nil
	}
	f.lock = lock
	f.mu.held = map[int]struct{}{}
	return f, nil
}

// errNowhere is what writing to Nowhere fails with.
const errNowhere = unix.ENOSPC
