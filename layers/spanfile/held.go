package spanfile

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/internal/errkind"
)

// spanLocks is where the lock bytes of the spans begin, in the state file and in
// the layer's lock file. The former says who has the turn with this pair of
// files; the latter is the one that programs look at which know no pairs.
const spanLocks = 1 << 20

// Held is the lock of one span, and the only way to change what the files say of
// it: no goroutine and no process fills, confirms or drops a span that another
// one holds. It is for one goroutine. Release ends it.
type Held struct {
	f      *File // nil once released
	i      int
	off, n int64
}

// TryLock takes the lock of span i. It returns nil without an error if somebody
// else has it, in this process or in another one.
func (f *File) TryLock(i int) (*Held, error) {
	if i < 0 || i >= f.st.n {
		return nil, errkind.New(errkind.Internal, "lock of span %d of %d", i, f.st.n)
	}
	if !f.claim(i) {
		return nil, nil
	}
	if got, err := f.lockFiles(i); !got {
		f.unclaim(i)
		return nil, err
	}
	off, n := f.layout.Bounds(i)
	return &Held{f: f, i: i, off: off, n: n}, nil
}

// Lock takes the lock of span i as soon as nobody else has it; it gives up with
// an error when ctx ends.
func (f *File) Lock(ctx context.Context, i int) (*Held, error) {
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		if h, err := f.TryLock(i); h != nil || err != nil {
			return h, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// lockFiles locks span i against other processes, and against those of this one
// that opened the files for themselves.
func (f *File) lockFiles(i int) (bool, error) {
	if f.IsNowhere() || f.IsReadOnly() {
		return true, nil
	}
	at := spanLocks + int64(i)
	got, err := f.st.lock.TryLock(at, 1)
	if !got {
		return false, err
	}
	if got, err = f.lock.TryLock(at, 1); !got {
		_ = f.st.lock.Unlock(at, 1) // closing the file unlocks too
	}
	return got, err
}

func (f *File) unlockFiles(i int) {
	if f.IsNowhere() || f.IsReadOnly() {
		return
	}
	at := spanLocks + int64(i)
	_ = f.lock.Unlock(at, 1) // closing the file unlocks too
	_ = f.st.lock.Unlock(at, 1)
}

// claim keeps the other goroutines of this process away from span i, which share
// f and therefore its locks.
func (f *File) claim(i int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, taken := f.mu.held[i]; taken {
		return false
	}
	f.mu.held[i] = struct{}{}
	return true
}

func (f *File) unclaim(i int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.mu.held, i)
}

// Release gives the lock back. It does nothing to a lock that was given back, or
// to nil.
func (h *Held) Release() {
	if h == nil || h.f == nil {
		return
	}
	f := h.f
	h.f = nil
	f.unlockFiles(h.i)
	f.unclaim(h.i)
}

// Span is the number of the span.
func (h *Held) Span() int { return h.i }

// Write stores bytes of the span, which is not present yet, at off of the
// uncompressed address space; Confirm then shows them.
func (h *Held) Write(p []byte, off int64) error {
	if h.f == nil || off < h.off || int64(len(p)) > h.off+h.n-off {
		return errkind.New(errkind.Internal, "write of [%d, %d) for span %d at [%d, %d)", off, off+int64(len(p)), h.i, h.off, h.off+h.n)
	}
	if h.f.IsNowhere() {
		return errNowhere
	}
	if h.f.IsReadOnly() {
		return errReadOnly
	}
	// A write behind the end of a file that was cut would make it long again, with
	// holes where other spans count as present.
	if err := h.f.checkLength(); err != nil {
		return err
	}
	_, err := h.f.data.WriteAt(p, off)
	return err
}

// Confirm marks the span present: its bytes were written and verified. sum is
// their XXH3; it is kept, before the bit is set, if the layout asks for sums. The
// span counts as read. After an error it is as it was.
func (h *Held) Confirm(sum uint64) error {
	if err := h.ConfirmUnread(sum); err != nil {
		return err
	}
	h.f.st.set(h.f.st.used, h.i)
	return nil
}

// ConfirmUnread is Confirm for a span that nobody has asked for yet.
func (h *Held) ConfirmUnread(sum uint64) error {
	if h.f == nil {
		return errkind.New(errkind.Internal, "span %d is confirmed without its lock", h.i)
	}
	if h.f.IsNowhere() {
		return errNowhere
	}
	if h.f.IsReadOnly() {
		return h.f.confirmHere(h.i)
	}
	if err := h.f.sums.put(h.i, sum); err != nil {
		return err
	}
	h.f.st.set(h.f.st.present, h.i)
	h.f.st.clear(h.f.st.suspect, h.i)
	return nil
}

// Drop makes the span absent for every reader that looks, or finishes, from now
// on: its bytes are wrong, or are to go.
func (h *Held) Drop() {
	if h.f == nil {
		return
	}
	st := h.f.st
	if h.f.IsReadOnly() {
		st.set(st.own.dropped, h.i)
		return
	}
	st.clear(st.present, h.i)
	st.clear(st.suspect, h.i)
	st.epoch().Add(1)
}

// Discard is Drop, and frees what the span takes on the disk.
func (h *Held) Discard() {
	h.Drop()
	if h.f != nil && !h.f.IsNowhere() && !h.f.IsReadOnly() {
		h.f.punch(h.i, h.i+1)
	}
}

// maxRun bounds the spans that are locked at once to be dropped.
const maxRun = 512

// Evict drops spans that nobody read since it last passed over them, until want
// bytes of disk are free or every span was looked at once; with force it drops
// those that were read too. It returns the bytes freed. A span that somebody
// fills is left in peace. Readers in any process notice by the epoch.
func (f *File) Evict(want int64, force bool) (freed int64) {
	if f.IsNowhere() || f.IsReadOnly() {
		return 0
	}
	before := f.Allocated()
	for i := 0; i < f.st.n && freed < want; {
		run, next := f.lockRun(i, want-freed, force)
		if len(run) > 0 {
			f.dropRun(run)
			freed = before - f.Allocated()
		}
		i = next
	}
	return freed
}

// lockRun takes the locks of spans from first on that may go, until they make up
// want bytes, and tells which span to look at next. Spans are dropped together
// because many share a page with the next.
func (f *File) lockRun(first int, want int64, force bool) (run []*Held, next int) {
	for i := first; i < f.st.n && len(run) < maxRun && want > 0; i++ {
		if _, n := f.layout.Bounds(i); f.mayGo(i, force) {
			h, err := f.TryLock(i)
			if err == nil && h != nil {
				run, want = append(run, h), want-pageAfter(n)
				continue
			}
		}
		return run, i + 1
	}
	return run, first + len(run)
}

// dropRun drops spans that follow each other, and gives their locks back.
func (f *File) dropRun(run []*Held) {
	for _, h := range run {
		h.Drop()
	}
	f.punch(run[0].i, run[len(run)-1].i+1)
	for _, h := range run {
		h.Release()
	}
}

// mayGo reports whether span i has bytes on disk that are to go: it was not read
// of late, or nobody can read it, because who wrote or dropped it has died.
func (f *File) mayGo(i int, force bool) bool {
	if f.Has(i) {
		return !f.st.clear(f.st.used, i) || force
	}
	off, n := f.layout.Bounds(i)
	at, err := unix.Seek(int(f.data.Fd()), off, unix.SEEK_DATA)
	return err == nil && at < off+n
}

// punch frees the pages of the spans first <= i < last, which the caller holds. A
// page shared with a neighbour stays: somebody may be filling that one.
func (f *File) punch(first, last int) {
	bounds := f.layout.Bounds
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
