package layers

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/flock"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/spanfile"
)

// lockPatience is how long a span that another process fills is waited for. The
// lock only saves work; after that the span is fetched a second time, and held
// in memory because the other process may still write.
const lockPatience = 30 * time.Second

// fetch brings the spans of r and ends their flights. Between processes, the
// span locks say who does it.
func (l *Layer) fetch(ctx context.Context, r *run) {
	lock, err := flock.Open(r.a.lockPath())
	if err != nil {
		r.landAll(cacheError(l.store.dir, err))
		return
	}
	defer lock.Close()
	for rest := r.spans; len(rest) > 0; {
		n, err := lockPrefix(lock, rest)
		if err == nil && n == 0 {
			n, err = 1, l.fetchContended(ctx, r, rest[0], lock)
		} else if err == nil {
			err = l.fetchLocked(ctx, r, rest[:n], lock)
			unlock(lock, rest[:n])
		}
		if err != nil {
			l.note(err)
			r.landAll(err)
			return
		}
		rest = rest[n:]
	}
	l.note(nil)
}

// lockPrefix takes the locks of spans up to the first that somebody else has.
func lockPrefix(lock *flock.File, spans []int) (int, error) {
	for n, i := range spans {
		if got, err := lock.TryLock(spanfile.SpanLock(i), 1); err != nil {
			return 0, err
		} else if !got {
			return n, nil
		}
	}
	return len(spans), nil
}

func unlock(lock *flock.File, spans []int) {
	for _, i := range spans {
		_ = lock.Unlock(spanfile.SpanLock(i), 1) // closing the file unlocks too
	}
}

// fetchContended waits for another process to fill span i, or for its turn. A
// span that is too large for memory is waited for however long it takes.
func (l *Layer) fetchContended(ctx context.Context, r *run, i int, lock *flock.File) error {
	patience := lockPatience
	if tooLarge(r.a.idx.Span(i)) {
		patience = math.MaxInt64
	}
	begun := time.Now()
	for pause := time.Millisecond; time.Since(begun) < patience; pause = min(2*pause, 20*time.Millisecond) {
		if r.a.data.Has(i) {
			r.land(i)
			return nil
		}
		if got, err := lock.TryLock(spanfile.SpanLock(i), 1); err != nil {
			return err
		} else if got {
			defer unlock(lock, []int{i})
			return l.fetchLocked(ctx, r, []int{i}, lock)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
	return l.fetchLocked(ctx, r, []int{i}, nil)
}

// fetchLocked brings spans, whose locks lock holds; with nil nobody holds them,
// and nothing may be written to the disk.
func (l *Layer) fetchLocked(ctx context.Context, r *run, spans []int, lock *flock.File) error {
	if lock != nil {
		spans = l.settle(r, spans)
	}
	if len(spans) == 0 {
		return nil
	}
	if tooLarge(r.a.idx.Span(spans[0])) {
		return l.refill(ctx, r)
	}
	err := l.transfer(ctx, r, spans, lock)
	if errkind.Is(err, errkind.Corrupt) && ctx.Err() == nil {
		l.store.log.Warn("bytes from the source are wrong and are fetched again", "layer", l.name(), "error", err)
		err = l.transfer(ctx, r, r.pending(spans), lock)
	}
	return err
}

// settle lands the spans that are there already: another process was faster, or
// they are from before a reboot and still hold their digests.
func (l *Layer) settle(r *run, spans []int) (missing []int) {
	for _, i := range spans {
		if r.a.data.Suspect(i) && l.intact(r.a, i) {
			r.a.data.Confirm(i)
		}
		if r.a.data.Has(i) {
			r.land(i)
		} else {
			missing = append(missing, i)
		}
	}
	return missing
}

// pending are those of spans that have not landed.
func (r *run) pending(spans []int) (rest []int) {
	for _, i := range spans {
		if r.flights[i] != nil {
			rest = append(rest, i)
		}
	}
	return rest
}

// transfer asks for the range of the blob that spans need, in one request, and
// decodes, verifies, stores and lands them one by one as their bytes come.
func (l *Layer) transfer(ctx context.Context, r *run, spans []int, lock *flock.File) error {
	if len(spans) == 0 {
		return nil
	}
	in, n := rangeOf(r.a.idx, spans)
	var body io.ReadCloser
	at, asked := in, time.Now()
	var answered time.Time
	if n > 0 {
		l.count.requests.Add(1)
		var err error
		if body, at, err = l.src.Blob.ReadRange(ctx, in, n); err != nil {
			return err
		}
		defer body.Close()
		answered = time.Now()
	}
	if at < in && lock != nil {
		more := l.widen(r, spans, lock)
		defer unlock(lock, more)
		spans = append(more, spans...)
		slices.Sort(spans)
	}
	t := &transferer{layer: l, run: r, in: input{body: body, pos: at, count: &l.count}, mine: lock != nil}
	for _, i := range spans {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := t.bring(i); err != nil {
			return err
		}
	}
	if n > 0 {
		l.store.pace.note(answered.Sub(asked), time.Since(answered), n)
	}
	return nil
}

// widen adds to r whatever else is missing, and returns it: a server that ignores
// ranges sends the whole blob, and no byte of it should be sent twice.
func (l *Layer) widen(r *run, spans []int, lock *flock.File) (more []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	end := int64(0)
	for j := range r.a.idx.Spans() {
		s := r.a.idx.Span(j)
		if s.In < end-1 || slices.Contains(spans, j) {
			end = max(end, s.In+s.InLen)
			continue
		}
		if tooLarge(s) || l.here(r.a, j) || l.mu.spans.Has(j) {
			continue
		}
		if got, err := lock.TryLock(spanfile.SpanLock(j), 1); !got || err != nil {
			continue
		}
		end = max(end, s.In+s.InLen)
		r.flights[j], _ = l.mu.spans.Join(j)
		more = append(more, j)
	}
	return more
}

// rangeOf is the range of the blob that produces spans.
func rangeOf(x *index.Index, spans []int) (in, n int64) {
	end := int64(0)
	in = -1
	for _, i := range spans {
		s := x.Span(i)
		if s.InLen == 0 {
			continue
		}
		if in < 0 || s.In < in {
			in = s.In
		}
		end = max(end, s.In+s.InLen)
	}
	if in < 0 {
		return 0, 0
	}
	return in, end - in
}

// transferer brings spans out of one body.
type transferer struct {
	layer *Layer
	run   *run
	in    input
	mine  bool
	dec   decoder
}

func (t *transferer) bring(i int) error {
	s := t.run.a.idx.Span(i)
	out := make([]byte, s.OutLen)
	if s.Flags&index.SpanZeros == 0 {
		src, err := t.in.read(s.In, s.InLen)
		if err != nil {
			return err
		}
		if s.DigestOf == index.DigestCompressed && sha256.Sum256(src) != s.Digest {
			return errkind.New(errkind.Corrupt, "the bytes [%d, %d) of the blob do not hold their digest", s.In, s.In+s.InLen)
		}
		if err := t.dec.decode(out, src, i, s, t.run.a.idx); err != nil {
			return fmt.Errorf("the bytes [%d, %d) of the blob: %w", s.In, s.In+s.InLen, err)
		}
	}
	if !holds(s, out) {
		return errkind.New(errkind.Corrupt, "the bytes [%d, %d) of the blob make output that does not hold its digest", s.In, s.In+s.InLen)
	}
	t.store(i, s, out)
	t.run.land(i)
	return nil
}

// store keeps a verified span on disk, or in memory where that cannot be.
func (t *transferer) store(i int, s index.Span, out []byte) {
	l := t.layer
	if t.mine && !l.store.opt.IndexOnly {
		err := t.run.a.data.Write(out, s.Out)
		if err == nil {
			if _, guess := slices.BinarySearch(t.run.guessed, i); guess {
				t.run.a.data.ConfirmUnread(i)
			} else {
				t.run.a.data.Confirm(i)
			}
			l.store.room.used(int64(len(out)))
			l.unkept.Store(nil)
			return
		}
		err = writeError(err)
		if l.unkept.Swap(&err) == nil { // said once, until there is room again
			l.store.log.Warn("the cache cannot take a span; it stays in memory", "layer", l.name(), "error", err)
		}
	}
	l.store.held.put(heldKey{t.run.a, i}, out)
}

// holds reports whether out is the output of span s.
func holds(s index.Span, out []byte) bool {
	if s.DigestOf == index.DigestOutput {
		return sha256.Sum256(out) == s.Digest
	}
	return s.Sum == 0 || xxh3.Hash(out) == s.Sum
}

// intact reports whether span i stands on disk as it should. A span too long
// for memory is not worth the look: it is fetched.
func (l *Layer) intact(a *acquired, i int) bool {
	s := a.idx.Span(i)
	if tooLarge(s) || s.Sum == 0 && s.DigestOf != index.DigestOutput {
		return false
	}
	buf := make([]byte, s.OutLen)
	return a.data.ReadRaw(buf, s.Out) == nil && holds(s, buf)
}

// input reads ranges of a blob, ascending, out of a body that begins at or
// before the first. Ranges may share their last byte with the next one's first,
// or be the same again.
type input struct {
	body  io.Reader
	pos   int64 // of the next byte of body in the blob
	count *counters
	last  []byte // the last range read, which ends at pos
}

// read returns the n bytes at off, valid until the next call.
func (in *input) read(off, n int64) ([]byte, error) {
	if off == in.pos-int64(len(in.last)) && n == int64(len(in.last)) {
		return in.last, nil
	}
	keep := in.pos - off // bytes that were read already
	if keep < 0 {
		if err := in.discard(-keep); err != nil {
			return nil, err
		}
		keep = 0
	}
	if keep > int64(len(in.last)) || keep > n {
		return nil, errkind.New(errkind.Corrupt, "the index asks for bytes of the blob out of order")
	}
	buf := make([]byte, n)
	copy(buf, in.last[int64(len(in.last))-keep:])
	got, err := io.ReadFull(in.body, buf[keep:])
	in.note(int64(got))
	if err != nil {
		return nil, shortBody(err)
	}
	in.last = buf
	return buf, nil
}

func (in *input) discard(n int64) error {
	got, err := io.CopyN(io.Discard, in.body, n)
	in.note(got)
	return shortBody(err)
}

func (in *input) note(n int64) {
	in.pos += n
	in.count.fetched.Add(n)
}

// shortBody gives the end of a body before the range was complete its kind.
func shortBody(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errkind.New(errkind.Unavailable, "the source sent less than was asked for")
	}
	return err
}
