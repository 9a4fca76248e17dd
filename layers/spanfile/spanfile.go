// Package spanfile keeps the uncompressed bytes of one layer on disk, span by
// span: a sparse data file and, beside it, a small state file that says which
// spans are there.
//
// Invariant: a span's present bit is set only after its bytes were written. To
// drop a span is to clear the bit, then to advance the epoch, then to punch the
// bytes out: so a reader who takes the epoch, sees the bit, reads, and finds the
// epoch unchanged has read the span's bytes and no holes. The state
// file is mapped shared and changed only by atomic operations: any number of
// processes use one pair of files at once.
//
// Written bytes are not synced. The state file carries the boot id instead: bits
// of an earlier boot are only hints, and their spans count as suspect until
// Confirm says that somebody compared them with their digests.
package spanfile

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/flock"
)

// pageSize is the unit in which bytes can be punched out of the data file.
const pageSize = 4096

// initLock is the byte of the layer's lock file that is held while a state file
// is made or carried over from an earlier boot.
const initLock = 1

// spanLocks is where the lock bytes of the spans begin.
const spanLocks = 1 << 20

// File is an open data file with its state. Methods are safe for concurrent use
// by goroutines and processes.
type File struct {
	data *os.File
	st   *state
	size int64
}

// Spans gives the bounds of span i in the uncompressed address space. It must
// answer the same for every opener of the file.
type Spans func(i int) (off, n int64)

// Open opens the files data.SPACE and present.SPACE in dir and makes what is
// missing. The data file has size bytes and n spans; files that say otherwise
// are replaced by empty ones. lock is the layer's lock file.
func Open(dir, space string, n int, size int64, lock *flock.File) (*File, error) {
	for {
		got, err := lock.TryLock(initLock, 1)
		if err != nil {
			return nil, err
		}
		if got {
			break
		}
		unix.Nanosleep(&unix.Timespec{Nsec: 1e6}, nil) // the holder only writes a few pages
	}
	defer lock.Unlock(initLock, 1)
	return open(dir, space, n, size)
}

func open(dir, space string, n int, size int64) (_ *File, err error) {
	data, err := os.OpenFile(filepath.Join(dir, "data."+space), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			data.Close()
		}
	}()
	fi, err := data.Stat()
	if err != nil {
		return nil, err
	}
	statePath := filepath.Join(dir, "present."+space)
	if fi.Size() != size {
		if err := os.Remove(statePath); err != nil && !os.IsNotExist(err) {
			return nil, err
		}
		if err := emptied(data, size); err != nil {
			return nil, err
		}
	}
	st, err := openState(statePath, n)
	if err != nil {
		return nil, err
	}
	return &File{data: data, st: st, size: size}, nil
}

// emptied gives f exactly size bytes, all of them holes. The full length stands
// before anything can be read: a read below it must never come back short.
func emptied(f *os.File, size int64) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	return f.Truncate(size)
}

// Adopt makes a data file that holds all of its n spans from the temporary file
// tmp, which is renamed to data.SPACE in dir. Nobody may have that layer's data
// open. The caller holds the lock of the layer's making.
func Adopt(dir, space string, n int, tmp string) error {
	statePath := filepath.Join(dir, "present."+space)
	if err := os.Remove(statePath); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(dir, "data."+space)); err != nil {
		return err
	}
	st, err := createState(statePath, n)
	if err != nil {
		return err
	}
	for i := range n {
		st.set(st.present, i)
	}
	return st.close()
}

// Close unmaps and closes the files. No other method may be called after it.
func (f *File) Close() error {
	err := f.st.close()
	if e := f.data.Close(); err == nil {
		err = e
	}
	return err
}

// Has reports whether span i is present.
func (f *File) Has(i int) bool { return f.st.has(f.st.present, i) }

// Suspect reports whether span i was present at an earlier boot and has not been
// compared with its digest since.
func (f *File) Suspect(i int) bool { return !f.Has(i) && f.st.has(f.st.suspect, i) }

// Present is the number of spans that are present, and Len that of all spans.
func (f *File) Present() int { return f.st.ones(f.st.present) }

// Len is the number of spans.
func (f *File) Len() int { return f.st.n }

// Complete reports whether every span is present.
func (f *File) Complete() bool { return f.Present() == f.st.n }

// Write stores bytes of a span that is not present yet; Confirm then shows them.
func (f *File) Write(p []byte, off int64) error {
	if off < 0 || off+int64(len(p)) > f.size {
		return errkind.New(errkind.Internal, "write of [%d, %d) outside a data file of %d bytes", off, off+int64(len(p)), f.size)
	}
	_, err := f.data.WriteAt(p, off)
	return err
}

// Confirm marks span i present: its bytes were written and hold their digest. It
// counts as read.
func (f *File) Confirm(i int) {
	f.ConfirmUnread(i)
	f.st.set(f.st.used, i)
}

// ConfirmUnread is Confirm for a span that nobody has asked for yet.
func (f *File) ConfirmUnread(i int) {
	f.st.set(f.st.present, i)
	f.st.clear(f.st.suspect, i)
}

// Used reports whether span i was read since Evict last passed over it.
func (f *File) Used(i int) bool { return f.st.has(f.st.used, i) }

// Doubt takes back the presence of span i, whose bytes turned out to be wrong.
func (f *File) Doubt(i int) {
	f.drop(i)
}

// drop makes span i absent for every reader that looks, or finishes, from now on.
func (f *File) drop(i int) {
	f.st.clear(f.st.present, i)
	f.st.clear(f.st.suspect, i)
	f.st.epoch().Add(1)
}

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
		return false, errkind.New(errkind.Corrupt, "cached data ends at byte %d of %d: %w", off+int64(n), f.size, err)
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

// ReadRaw reads whatever bytes stand at off, present or not: for comparing
// suspect spans with their digests.
func (f *File) ReadRaw(p []byte, off int64) error {
	_, err := f.data.ReadAt(p, off)
	return err
}

// Allocated is the disk space of the data file in bytes.
func (f *File) Allocated() int64 {
	fi, err := f.data.Stat()
	if err != nil {
		return 0
	}
	return allocated(fi)
}

// SpanLock is the byte of a layer's lock file that stands for span i. Who fills
// or drops the span holds it.
func SpanLock(i int) int64 { return spanLocks + int64(i) }

// maxRun bounds the spans that are locked at once.
const maxRun = 512

// Evict drops spans that nobody read since it last passed over them, until want
// bytes of disk are free or every span was looked at once; with force it drops
// those that were read too. It returns the bytes freed. lock is the layer's lock
// file, opened for this call alone: a span that somebody fills is left in peace.
// Readers in any process notice by the epoch.
func (f *File) Evict(bounds Spans, want int64, force bool, lock *flock.File) (freed int64) {
	before := f.Allocated()
	for i := 0; i < f.st.n && freed < want; {
		end, next := f.lockRun(i, bounds, want-freed, force, lock)
		if end > i {
			f.dropRun(bounds, i, end)
			_ = lock.Unlock(SpanLock(i), int64(end-i)) // closing the file unlocks too
			freed = before - f.Allocated()
		}
		i = next
	}
	return freed
}

// lockRun takes the locks of spans from first on that may go, until they make up
// want bytes. It returns where these end and which span to look at next. Spans
// are dropped together because many share a page with the next.
func (f *File) lockRun(first int, bounds Spans, want int64, force bool, lock *flock.File) (end, next int) {
	for end = first; end < f.st.n && end-first < maxRun && want > 0; end++ {
		off, n := bounds(end)
		if !f.mayGo(end, off, n, force) {
			return end, end + 1
		}
		if got, err := lock.TryLock(SpanLock(end), 1); !got || err != nil {
			return end, end + 1
		}
		want -= pageAfter(n)
	}
	return end, end
}

func (f *File) dropRun(bounds Spans, first, last int) {
	for i := first; i < last; i++ {
		f.drop(i)
	}
	f.punch(bounds, first, last)
}

// mayGo reports whether span i has bytes on disk that are to go: it was not read
// of late, or nobody can read it, because who wrote or dropped it has died.
func (f *File) mayGo(i int, off, n int64, force bool) bool {
	if f.Has(i) {
		return !f.st.clear(f.st.used, i) || force
	}
	at, err := unix.Seek(int(f.data.Fd()), off, unix.SEEK_DATA)
	return err == nil && at < off+n
}

// punch frees the pages of the spans first <= i < last, which the caller has
// locked. A page shared with a neighbour stays: somebody may be filling that one.
func (f *File) punch(bounds Spans, first, last int) {
	off, _ := bounds(first)
	at, n := bounds(last - 1)
	from, to := pageAfter(off), pageBefore(at+n)
	if first == 0 || endOf(bounds, first-1) <= pageBefore(off) {
		from = pageBefore(off)
	}
	if last == f.st.n || startOf(bounds, last) >= pageAfter(at+n) {
		to = pageAfter(at + n)
	}
	if to > from {
		// A file system that cannot punch keeps the bytes; the cache is then
		// bounded by whole layers only.
		_ = unix.Fallocate(int(f.data.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, to-from)
	}
}

func pageBefore(off int64) int64 { return off / pageSize * pageSize }
func pageAfter(off int64) int64  { return (off + pageSize - 1) / pageSize * pageSize }

func startOf(bounds Spans, i int) int64 { off, _ := bounds(i); return off }
func endOf(bounds Spans, i int) int64   { off, n := bounds(i); return off + n }

// allocated is the disk space of a file in bytes.
func allocated(fi os.FileInfo) int64 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return 0
}

// String names the file in messages.
func (f *File) String() string {
	return fmt.Sprintf("%s (%d of %d spans)", f.data.Name(), f.Present(), f.st.n)
}

// DiskSpace is the disk space of the data file of a space in dir, in bytes; 0 if
// there is none.
func DiskSpace(dir, space string) int64 {
	return Allocated(filepath.Join(dir, "data."+space))
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
	for _, kind := range []string{"data.", "present."} {
		files, _ := filepath.Glob(filepath.Join(dir, kind+"*"))
		for _, f := range files {
			if name := strings.TrimPrefix(filepath.Base(f), kind); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// Remove removes the files of a space from dir. Who has them open keeps what it has.
func Remove(dir, space string) {
	os.Remove(filepath.Join(dir, "present."+space))
	os.Remove(filepath.Join(dir, "data."+space))
}
