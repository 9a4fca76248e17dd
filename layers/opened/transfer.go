package opened

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
	"github.com/peelfs/peelfs/internal/mapfault"
	"github.com/peelfs/peelfs/layers/cachedir"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/spanfile"
)

// lockPatience is how long a span that another process fills is waited for. The
// lock only saves work; after that the span is fetched a second time, and held
// in memory because the other process may still write.
const lockPatience = 30 * time.Second

// fetch brings the spans of r and ends their flights.
func (l *Layer) fetch(ctx context.Context, r *request) {
	err := mapfault.Catch(func() error { return l.fetchAll(ctx, r) })
	l.host.Note(err)
	if err != nil {
		r.landAll(err)
	}
}

// fetchAll brings the spans of r and ends the flights of those that came. Between
// processes, the span locks say which one does it.
func (l *Layer) fetchAll(ctx context.Context, r *request) error {
	defer r.release()
	for rest := r.spans; len(rest) > 0; {
		n, err := r.lock(rest)
		if err == nil && n == 0 {
			n, err = 1, l.fetchContended(ctx, r, rest[0])
		} else if err == nil {
			err = l.fetchLocked(ctx, r, rest[:n])
		}
		if err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// lock takes the locks of spans up to the first that somebody else has, and tells
// how many it took.
func (r *request) lock(spans []int) (int, error) {
	for n, i := range spans {
		h, err := r.layer.Data.TryLock(i)
		if err != nil {
			return 0, err
		}
		if h == nil {
			return n, nil
		}
		r.held[i] = h
	}
	return len(spans), nil
}

// release gives all locks back that are left.
func (r *request) release() {
	for _, h := range r.held {
		h.Release()
	}
	clear(r.held)
}

// fetchContended waits for another process to fill span i, or for its turn. A
// span that is too large for memory is waited for however long it takes.
func (l *Layer) fetchContended(ctx context.Context, r *request, i int) error {
	patience := lockPatience
	if TooLarge(l.Index.Span(i)) {
		patience = math.MaxInt64
	}
	begun := time.Now()
	for pause := time.Millisecond; time.Since(begun) < patience; pause = min(2*pause, 20*time.Millisecond) {
		if l.Data.Has(i) {
			r.land(i)
			return nil
		}
		if n, err := r.lock([]int{i}); err != nil || n == 1 {
			if err == nil {
				err = l.fetchLocked(ctx, r, []int{i})
			}
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
	return l.fetchLocked(ctx, r, []int{i})
}

// fetchLocked brings spans: to the disk those whose locks r holds, to memory the
// others.
func (l *Layer) fetchLocked(ctx context.Context, r *request, spans []int) error {
	if spans = l.settle(r, spans); len(spans) == 0 {
		return nil
	}
	if i := spans[0]; TooLarge(l.Index.Span(i)) {
		return l.refill(ctx, r, r.held[i])
	}
	err := l.transfer(ctx, r, spans)
	if errkind.Is(err, errkind.Corrupt) && !IsDamage(err) && ctx.Err() == nil {
		l.host.Log.Warn("bytes from the source are wrong and are fetched again", "layer", l.host.Name(), "error", err)
		err = l.transfer(ctx, r, r.pending(spans))
	}
	return err
}

// settle lands the spans that are there already: another process was faster, or
// they are suspect and still hold their checksums.
func (l *Layer) settle(r *request, spans []int) (missing []int) {
	for _, i := range spans {
		if h := r.held[i]; h != nil && l.Data.Suspect(i) {
			l.compare(h)
		}
		if l.Data.Has(i) {
			r.land(i)
		} else {
			missing = append(missing, i)
		}
	}
	return missing
}

// compare confirms a suspect span if it holds its checksum. A wrong one will be
// overwritten, or, where the cache cannot be written, is absent from now on.
func (l *Layer) compare(h *spanfile.Held) {
	v, sum := l.Check(h.Span())
	switch {
	case v == cachedir.Right:
		if err := h.Confirm(sum); err != nil {
			l.host.Log.Warn("a span of the cache cannot be confirmed", "layer", l.host.Name(), "error", err)
		}
	case l.Data.IsReadOnly():
		h.Drop()
	}
}

// pending are those of spans that have not landed.
func (r *request) pending(spans []int) (rest []int) {
	for _, i := range spans {
		if r.flights[i] != nil {
			rest = append(rest, i)
		}
	}
	return rest
}

// transfer asks for the range of the blob that spans need, in one request, and
// decodes, verifies, stores and lands them one by one as their bytes come.
func (l *Layer) transfer(ctx context.Context, r *request, spans []int) error {
	if len(spans) == 0 {
		return nil
	}
	in, n := rangeOf(l.Index, spans)
	var body io.ReadCloser
	at, asked := in, time.Now()
	var answered time.Time
	if n > 0 {
		l.host.Count.Requests.Add(1)
		var err error
		if body, at, err = l.host.ReadRange(ctx, in, n); err != nil {
			return err
		}
		defer body.Close()
		answered = time.Now()
	}
	if at < in && r.held[spans[0]] != nil {
		spans = append(l.widen(r, spans), spans...)
		slices.Sort(spans)
	}
	t := &transferer{layer: l, request: r, in: input{body: body, pos: at, count: l.host.Count}}
	for _, i := range spans {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := t.bring(i); err != nil {
			return err
		}
	}
	if n > 0 {
		l.host.Pace.Note(answered.Sub(asked), time.Since(answered), n)
	}
	return nil
}

// widen adds to r whatever else is missing, and returns it: a server that ignores
// ranges sends the whole blob, and no byte of it should be sent twice.
func (l *Layer) widen(r *request, spans []int) (more []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	end := int64(0)
	for j := range l.Index.Spans() {
		s := l.Index.Span(j)
		if s.In < end-1 || slices.Contains(spans, j) {
			end = max(end, s.In+s.InLen)
			continue
		}
		if TooLarge(s) || l.here(j, 0) || l.mu.spans.Has(j) {
			continue
		}
		if n, err := r.lock([]int{j}); n == 0 || err != nil {
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
	layer   *Layer
	request *request
	in      input
	dec     decoder
}

func (t *transferer) bring(i int) error {
	l := t.layer
	s := l.Index.Span(i)
	out := make([]byte, s.OutLen)
	if s.Flags&index.SpanZeros == 0 {
		src, err := t.in.read(s.In, s.InLen)
		if err != nil {
			return err
		}
		if s.DigestOf == index.DigestCompressed && sha256.Sum256(src) != s.Digest {
			return errkind.New(errkind.Corrupt, "the bytes [%d, %d) of the blob do not hold their digest", s.In, s.In+s.InLen)
		}
		if err := t.dec.decode(out, src, i, s, l.Index); err != nil {
			return fmt.Errorf("the bytes [%d, %d) of the blob: %w", s.In, s.In+s.InLen, err)
		}
	}
	if !holds(s, out) {
		return errkind.New(errkind.Corrupt, "the bytes [%d, %d) of the blob make output that does not hold its digest", s.In, s.In+s.InLen)
	}
	if err := t.store(i, s, out); err != nil {
		return err
	}
	t.request.land(i)
	return nil
}

// store keeps a verified span on disk, or in memory where that cannot be. It fails
// only when the data file is damaged.
func (t *transferer) store(i int, s index.Span, out []byte) error {
	l := t.layer
	if h := t.request.held[i]; h != nil && !l.host.IndexOnly {
		err := l.host.Room.MakeRoom(func() error { return t.keep(h, s, out) })
		if err == nil {
			l.host.Room.Used(int64(len(out)))
			l.unkept.Store(nil)
			return nil
		}
		if IsDamage(err) {
			return err
		}
		l.cannotKeep(cachedir.WriteError(err))
	}
	l.host.Memory.put(memkey{l, i, 0}, out)
	return nil
}

// keep writes a span whose lock is held, and shows it.
func (t *transferer) keep(h *spanfile.Held, s index.Span, out []byte) error {
	if err := h.Write(out, s.Out); err != nil {
		return err
	}
	if _, guess := slices.BinarySearch(t.request.guessed, h.Span()); guess {
		return h.ConfirmUnread(xxh3.Hash(out))
	}
	return h.Confirm(xxh3.Hash(out))
}

// input reads ranges of a blob, ascending, out of a body that begins at or
// before the first. Ranges may share their last byte with the next one's first,
// or be the same again.
type input struct {
	body  io.Reader
	pos   int64 // of the next byte of body in the blob
	count *Counters
	last  []byte // the last range read, which ends at pos
}

// ReadPart reads the n bytes at off of a blob out of a body that begins at byte at
// of it, before or at off.
func ReadPart(body io.Reader, at, off, n int64, count *Counters) ([]byte, error) {
	in := input{body: body, pos: at, count: count}
	return in.read(off, n)
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
	in.count.Fetched.Add(n)
}

// shortBody gives the end of a body before the range was complete its kind.
func shortBody(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errkind.New(errkind.Unavailable, "the source sent less than was asked for")
	}
	return err
}

// holds reports whether out, which was just decoded, is what the index says of
// span s; where that says nothing of the output, what it says of the input has
// been checked.
func holds(s index.Span, out []byte) bool {
	if s.DigestOf == index.DigestOutput {
		return sha256.Sum256(out) == s.Digest
	}
	return s.Sum == 0 || xxh3.Hash(out) == s.Sum
}
