package layers

import (
	"context"

	"github.com/zeebo/xxh3"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/spanfile"
)

// refill brings the one span of r, which is too large for memory: it reads the
// blob from its start and writes the span to the disk as it comes. The span shows
// only when the whole blob held its digest. h is its lock.
func (l *Layer) refill(ctx context.Context, r *run, h *spanfile.Held) error {
	if h == nil {
		return errkind.New(errkind.Internal, "a span is written without its lock")
	}
	i := h.Span()
	l.count.requests.Add(1)
	body, at, err := l.src.Blob.ReadRange(ctx, 0, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	if at != 0 {
		return errkind.New(errkind.Internal, "the blob begins at byte %d", at)
	}
	blob := r.a.idx.Header().BlobDigest
	feed := newFeeder(body, blob.Algorithm(), &l.count)
	w := &refiller{held: h, span: r.a.idx.Span(i), room: l.store.room}
	scanErr := l.pipeline(ctx, feed, &scanned{}, w, false)
	if scanErr != nil && !errkind.Is(scanErr, errkind.Corrupt) {
		return scanErr
	}
	if got, _ := feed.digest(); got != blob {
		return errkind.New(errkind.Corrupt, "the bytes that the source sent have the digest %s", got)
	}
	if scanErr != nil {
		return scanErr
	}
	if w.span.Sum != 0 && w.sum.Sum64() != w.span.Sum {
		return errkind.New(errkind.Corrupt, "the layer decodes to other bytes than before")
	}
	if err := h.Confirm(w.sum.Sum64()); err != nil {
		return writeError(err)
	}
	r.land(i)
	return nil
}

// refiller is a third stage that writes one span.
type refiller struct {
	held *spanfile.Held
	span index.Span
	room *janitor
	sum  xxh3.Hasher
	off  int64
}

func (w *refiller) collect(_ context.Context, pieces <-chan piece) error {
	for p := range pieces {
		err := w.take(p.bytes)
		p.release()
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *refiller) take(b []byte) error {
	off := w.off
	w.off += int64(len(b))
	from, to := max(off, w.span.Out), min(w.off, w.span.Out+w.span.OutLen)
	if from >= to {
		return nil
	}
	b = b[from-off : to-off]
	_, _ = w.sum.Write(b) // never fails
	w.room.used(int64(len(b)))
	if err := w.room.makeRoom(func() error { return w.held.Write(b, from) }); err != nil {
		return writeError(err)
	}
	return nil
}
