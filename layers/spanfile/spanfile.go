// Package spanfile keeps the uncompressed bytes of one layer on disk, span by
// span: a sparse data file and, beside it, a small state file that says which
// spans are there.
//
// Invariants:
//
//   - Bytes and bits of a span are changed only by the holder of its lock (Held).
//     A span's present bit is set only after its bytes were written and verified.
//   - To drop a span is to clear the bit, then to advance the epoch, then to punch
//     the bytes out: so a reader who takes the epoch, sees the bit, reads, and
//     finds the epoch unchanged has read the span's bytes and no holes.
//   - Data and state are made, and replaced, as a pair: the state names the inode
//     of its data. Readers and writers that have an old pair open go on with it.
//   - A present span has a checksum of its bytes: where the layer's index knows
//     none, one is kept in a third file, and written before the bit is set.
//
// The state file is mapped shared and changed only by atomic operations: any
// number of processes use one pair of files at once.
//
// Written bytes are not synced. The state file carries the boot id instead: bits
// of an earlier boot are only hints, and their spans count as suspect until
// Confirm says that somebody compared them with their checksums. So are bits that
// were set by programs without span locks, and those that another data file's
// state has.
package spanfile

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/flock"
	"github.com/peelfs/peelfs/internal/mapfault"
)

// pageSize is the unit in which bytes can be punched out of the data file.
const pageSize = 4096

// initLock is the byte of the layer's lock file that is held while a pair of
// files is made, replaced or removed.
const initLock = 1

// The files of a space are these prefixes and its name.
const (
	dataPrefix  = "data."
	statePrefix = "present."
	sumsPrefix  = "sums."
)

// Layout describes the spans of one layer. It must be the same for every opener
// of the files.
type Layout struct {
	Space  string // name of the address space, part of the file names
	Size   int64  // of the address space, in bytes
	Spans  int    // how many there are
	Bounds Spans

	// Sums asks for a file of checksums, because the layer's index does not have
	// one of the output of every span.
	Sums bool
}

// Spans gives the bounds of span i in the uncompressed address space.
type Spans func(i int) (off, n int64)

// File is an open data file with its state. Methods are safe for concurrent use
// by goroutines and processes.
type File struct {
	layout Layout
	data   *os.File
	st     *state
	sums   *sums       // nil unless the layout asks for them
	lock   *flock.File // the layer's; not closed here
	broken atomic.Bool // the data file was too short once, or could not be read

	mu struct {
		sync.Mutex
		held map[int]struct{} // spans whose locks goroutines have through this File
	}
}

// ErrDamaged is the error of a data file that was cut short while it was open, or
// that cannot be read. Sound is false from then on.
var ErrDamaged = errkind.New(errkind.Corrupt, "cached data is damaged")

// Open opens the files of the layout in dir. Where they are missing, damaged, or
// fit another layout, new and empty ones take their place. lock is the layer's lock
// file, opened for this File or its owner alone, and stays open as long as the
// File.
func Open(dir string, layout Layout, lock *flock.File) (f *File, err error) {
	err = alone(lock, func() error {
		err := mapfault.Catch(func() (err error) {
			f, err = openPair(dir, layout)
			return err
		})
		if f == nil && (err == nil || mapfault.Is(err)) {
			f, err = createPair(dir, layout)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	f.lock = lock
	f.mu.held = map[int]struct{}{}
	return f, nil
}

// alone runs fn while nobody else opens, makes, replaces or removes files of the
// layer.
func alone(lock *flock.File, fn func() error) error {
	for {
		got, err := lock.TryLock(initLock, 1)
		if err != nil {
			return err
		}
		if got {
			break
		}
		time.Sleep(time.Millisecond) // the holder only writes a few pages
	}
	defer lock.Unlock(initLock, 1)
	return fn()
}

// openPair opens the files in dir; nil if there are none that fit the layout.
func openPair(dir string, layout Layout) (_ *File, err error) {
	data, err := os.OpenFile(filepath.Join(dir, dataPrefix+layout.Space), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if os.IsNotExist(err) {
		return nil, nil
	}
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
	if f.st, err = openState(filepath.Join(dir, statePrefix+layout.Space), layout.Spans); f.st == nil || err != nil {
		return nil, err
	}
	if layout.Sums {
		var fresh bool
		if f.sums, fresh, err = openSums(filepath.Join(dir, sumsPrefix+layout.Space), layout.Spans); err != nil {
			return nil, err
		}
		if fresh {
			f.st.distrust()
		}
	}
	if f.st.isOf(inode(fi)) {
		f.st.renew(inode(fi))
	} else if err := f.st.replace(filepath.Join(dir, statePrefix+layout.Space), inode(fi)); err != nil {
		return nil, err
	}
	f.st.touch()
	keep = true
	return f, nil
}

// createPair makes empty files and puts them in the place of any others. The
// state goes first and comes last: at no time does one stand beside another's
// data unnoticed.
func createPair(dir string, layout Layout) (_ *File, err error) {
	sweep(dir)
	data, err := os.CreateTemp(dir, ".data-*")
	if err != nil {
		return nil, err
	}
	f := &File{layout: layout, data: data}
	defer func() {
		if err != nil {
			os.Remove(data.Name())
			f.Close()
		}
	}()
	// The full length stands before anything can be read: a read below it must
	// never come back short.
	if err := data.Truncate(layout.Size); err != nil {
		return nil, err
	}
	f.st, f.sums, err = publish(dir, layout, data, func(*state) {})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// publish makes state and sums for the data file data, lets fill set bits, and
// gives the three their names in dir.
func publish(dir string, layout Layout, data *os.File, fill func(*state)) (st *state, s *sums, err error) {
	defer func() {
		if err != nil {
			st.close()
			s.close()
			st, s = nil, nil
		}
	}()
	fi, err := data.Stat()
	if err != nil {
		return nil, nil, err
	}
	if st, err = createState(dir, layout.Spans, inode(fi)); err != nil {
		return nil, nil, err
	}
	fill(st)
	if err := removeAll(dir, layout.Space, statePrefix, sumsPrefix); err != nil {
		os.Remove(st.file.Name())
		return st, s, err
	}
	if layout.Sums {
		if s, _, err = openSums(filepath.Join(dir, sumsPrefix+layout.Space), layout.Spans); err != nil {
			os.Remove(st.file.Name())
			return st, s, err
		}
	}
	if err = os.Rename(data.Name(), filepath.Join(dir, dataPrefix+layout.Space)); err == nil {
		err = os.Rename(st.file.Name(), filepath.Join(dir, statePrefix+layout.Space))
	}
	if err != nil {
		os.Remove(st.file.Name())
	}
	return st, s, err
}

// sweep removes what processes left in dir that died while they made files.
// Nobody else makes any now.
func sweep(dir string) {
	for _, kind := range []string{".data-*", ".present-*"} {
		left, _ := filepath.Glob(filepath.Join(dir, kind))
		for _, path := range left {
			os.Remove(path)
		}
	}
}

// Adopt makes the temporary file tmp the data file of the layout in dir, with all
// of its spans present. Readers that have the old files open keep them.
func Adopt(dir string, layout Layout, tmp string, lock *flock.File) error {
	if layout.Sums {
		return errkind.New(errkind.Internal, "a data file without checksums is adopted")
	}
	return alone(lock, func() error {
		data, err := os.Open(tmp)
		if err != nil {
			return err
		}
		defer data.Close()
		st, _, err := publish(dir, layout, data, func(st *state) {
			for i := range layout.Spans {
				st.set(st.present, i)
			}
		})
		st.close()
		return err
	})
}

// Close unmaps and closes the files, and gives back all locks. No other method
// may be called after it.
func (f *File) Close() error {
	err := cmp.Or(f.st.close(), f.sums.close())
	if f.data != nil {
		err = cmp.Or(err, f.data.Close())
	}
	return err
}

// Has reports whether span i is present.
func (f *File) Has(i int) bool { return f.st.isPresent(i) }

// Suspect reports whether bytes of span i may be on disk that nobody has compared
// with their checksum since the machine or their keeper changed.
func (f *File) Suspect(i int) bool { return f.st.isSuspect(i) }

// Agrees compares the XXH3 of span i's bytes with the one that was kept. It reports
// known as false if none was.
func (f *File) Agrees(i int, sum uint64) (same, known bool) {
	kept, known := f.sums.get(i)
	return kept == cmp.Or(sum, 1), known
}

// Present is the number of spans that are present, and Len that of all spans.
func (f *File) Present() int { return f.st.countPresent() }

// Len is the number of spans.
func (f *File) Len() int { return f.st.n }

// Complete reports whether every span is present.
func (f *File) Complete() bool { return f.Present() == f.st.n }

// Used reports whether span i was read since Evict last passed over it.
func (f *File) Used(i int) bool { return f.st.has(f.st.used, i) }

// ReadPresent reads len(p) bytes at off, which lie in the spans first to last.
// It reports false, and p is undefined, if one of them is not present or went
// away during the read: get them and try again.
func (f *File) ReadPresent(p []byte, off int64, first, last int) (bool, error) {
	epoch := f.st.epoch().Load()
	if !f.presentAll(first, last) {
		return false, nil
	}
	n, err := f.data.ReadAt(p, off)
	if n < len(p) {
		return false, f.damaged(fmt.Errorf("read ends at byte %d of %d: %w", off+int64(n), f.layout.Size, err))
	}
	if f.st.epoch().Load() != epoch {
		return false, nil
	}
	for i := first; i <= last; i++ {
		if !f.st.has(f.st.used, i) {
			f.st.set(f.st.used, i)
		}
	}
	return true, nil
}

func (f *File) presentAll(first, last int) bool {
	for i := first; i <= last; i++ {
		if !f.Has(i) {
			return false
		}
	}
	return true
}

// damaged is ErrDamaged with its reason.
func (f *File) damaged(why error) error {
	f.broken.Store(true)
	return fmt.Errorf("%w: %w", ErrDamaged, why)
}

// Sound reports whether the files can be used still: the data file has its length
// and no read of it has failed, and the state file can be read whole.
func (f *File) Sound() bool {
	err := mapfault.Catch(func() error {
		f.st.touch()
		return f.checkLength()
	})
	return err == nil && !f.broken.Load()
}

// checkLength fails if the data file is shorter than the layout says.
func (f *File) checkLength() error {
	if f.IsNowhere() {
		return nil
	}
	fi, err := f.data.Stat()
	if err != nil || fi.Size() < f.layout.Size {
		return f.damaged(cmp.Or(err, errors.New("it was cut short")))
	}
	return nil
}

// ReadRaw reads whatever bytes stand at off, present or not: for comparing
// suspect spans with their digests.
func (f *File) ReadRaw(p []byte, off int64) error {
	if f.IsNowhere() {
		return errNowhere
	}
	_, err := f.data.ReadAt(p, off)
	return err
}

// Allocated is the disk space of the data file in bytes.
func (f *File) Allocated() int64 {
	if f.IsNowhere() {
		return 0
	}
	fi, err := f.data.Stat()
	if err != nil {
		return 0
	}
	return allocated(fi)
}

// allocated is the disk space of a file in bytes.
func allocated(fi os.FileInfo) int64 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return 0
}

// String names the file in messages.
func (f *File) String() string {
	if f.IsNowhere() {
		return fmt.Sprintf("nowhere (%d spans)", f.st.n)
	}
	return fmt.Sprintf("%s (%d of %d spans)", f.data.Name(), f.Present(), f.st.n)
}

// DiskSpace is the disk space of the data file of a space in dir, in bytes; 0 if
// there is none.
func DiskSpace(dir, space string) int64 {
	return Allocated(filepath.Join(dir, dataPrefix+space))
}

// Allocated is the disk space of the file at path, in bytes; 0 if there is none.
func Allocated(path string) int64 {
	fi, err := os.Lstat(path)
	if err != nil {
		return 0
	}
	return allocated(fi)
}

// Names are the spaces that have files in dir.
func Names(dir string) (names []string) {
	for _, kind := range []string{dataPrefix, statePrefix, sumsPrefix} {
		files, _ := filepath.Glob(filepath.Join(dir, kind+"*"))
		for _, f := range files {
			if name := strings.TrimPrefix(filepath.Base(f), kind); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// Remove removes the files of a space from dir. Processes that have them open
// keep what they have. lock is the layer's lock file.
func Remove(dir, space string, lock *flock.File) error {
	return alone(lock, func() error { return removeAll(dir, space, statePrefix, dataPrefix, sumsPrefix) })
}

func removeAll(dir, space string, kinds ...string) error {
	for _, kind := range kinds {
		if err := os.Remove(filepath.Join(dir, kind+space)); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

// inode is the number of a file on its file system.
func inode(fi os.FileInfo) uint64 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}
