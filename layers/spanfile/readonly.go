package spanfile

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/mapfault"
)

// readOnly is what one process knows of files that it cannot write. The bits and
// the epoch of the state file are still read: somebody else may write them, and
// drop spans. A span is present if the state says so at this boot of the machine,
// or if its bytes are stored and this process has compared them with their checksum.
type readOnly struct {
	trusted   bool   // the state's present bits can be believed
	confirmed []byte // a bit for each span that was compared here and was right
	dropped   []byte // a bit for each span that was found wrong here
}

// storedWord is the word at off of the bits of spans whose bytes are on disk and
// were not found wrong here.
func (o *readOnly) storedWord(st *state, off int) uint64 {
	return (word(st.present, off).Load() | word(st.suspect, off).Load()) &^ word(o.dropped, off).Load()
}

// presentWord is the word at off of the bits of spans that may be read.
func (o *readOnly) presentWord(st *state, off int) uint64 {
	good := word(o.confirmed, off).Load()
	if o.trusted {
		good |= word(st.present, off).Load()
	}
	return good & o.storedWord(st, off)
}

// OpenReadOnly opens the files of the layout in dir where they cannot be written.
// It makes and changes nothing, and takes no locks. The File fails to write; spans
// that Confirm and Drop name are present or absent for this File alone. It returns
// Nowhere if there are no files that fit the layout.
func OpenReadOnly(dir string, layout Layout) (f *File, err error) {
	err = mapfault.Catch(func() (err error) {
		f, err = openPairReadOnly(dir, layout)
		return err
	})
	if mapfault.Is(err) || errors.Is(err, fs.ErrNotExist) {
		return Nowhere(layout), nil
	}
	if err != nil {
		return nil, err
	}
	if f == nil {
		return Nowhere(layout), nil
	}
	f.mu.held = map[int]struct{}{}
	return f, nil
}

// openPairReadOnly opens the files in dir; nil, or fs.ErrNotExist, if there are
// none that fit the layout.
func openPairReadOnly(dir string, layout Layout) (_ *File, err error) {
	data, err := openToRead(filepath.Join(dir, dataPrefix+layout.Space))
	if err != nil {
		return nil, err
	}
	f := &File{layout: layout, data: data}
	keep := false
	defer func() {
		if !keep {
			f.Close()
		}
	}()
	fi, err := data.Stat()
	if err != nil || fi.Size() != layout.Size {
		return nil, err
	}
	file, err := openToRead(filepath.Join(dir, statePrefix+layout.Space))
	if err != nil {
		return nil, err
	}
	if f.st, err = mapState(file, layout.Spans, unix.PROT_READ); f.st == nil || err != nil {
		return nil, err
	}
	trusted := f.st.current(bootID()) && word(f.st.m, inodeOff).Load() == inode(fi)
	if layout.Sums {
		f.sums = openSumsReadOnly(filepath.Join(dir, sumsPrefix+layout.Space), layout.Spans)
		trusted = trusted && f.sums != nil
	}
	n := len(f.st.used)
	f.st.used = make([]byte, n)
	f.st.own = &readOnly{trusted: trusted, confirmed: make([]byte, n), dropped: make([]byte, n)}
	f.st.touch()
	keep = true
	return f, nil
}

// openToRead opens a file of the cache; a link or a pipe in its place is none.
func openToRead(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
}

// openSumsReadOnly opens the checksums at path, of n spans; nil if there are none.
func openSumsReadOnly(path string, n int) *sums {
	file, err := openToRead(path)
	if err != nil {
		return nil
	}
	if s := (&sums{file}); s.isOf(n) {
		return s
	}
	file.Close()
	return nil
}

// isOf reports whether the file is one of checksums of n spans.
func (s *sums) isOf(n int) bool {
	fi, err := s.file.Stat()
	if err != nil || fi.Size() != sumsHeader+8*int64(n) {
		return false
	}
	has := make([]byte, sumsHeader)
	_, err = s.file.ReadAt(has, 0)
	return err == nil && string(has) == string(binary.LittleEndian.AppendUint64([]byte(sumsMagic), uint64(n)))
}

// IsReadOnly reports whether the files cannot be written.
func (f *File) IsReadOnly() bool { return f.st.own != nil }

// confirmHere makes span i, which is stored, present for this File.
func (f *File) confirmHere(i int) error {
	if !f.st.isSuspect(i) && !f.st.isPresent(i) {
		return errkind.New(errkind.Internal, "span %d is confirmed and not on disk", i)
	}
	f.st.set(f.st.own.confirmed, i)
	return nil
}

// errReadOnly is what writing to files that cannot be written fails with.
const errReadOnly = unix.EROFS
