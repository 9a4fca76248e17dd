package opened

import (
	"context"
	"errors"

	"github.com/zeebo/xxh3"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/cachedir"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/spanfile"
	"github.com/peelfs/peelfs/layers/stream"
)

// refill brings the one span of r, which is too large for memory: it reads the
// blob from its start and writes the span to the disk as it comes. The span shows
// only when the whole blob held its digest. h is its lock.
func (l *Layer) refill(ctx context.Context, r *request, h *spanfile.Held) error {
	if h == nil {
		return errkind.New(errkind.Internal, "a span is written without its lock")
	}
	i := h.Span()
	body, err := l.host.Whole(ctx)
	if err != nil {
		return err
	}
	defer body.Close()
	w := &refiller{held: h, span: l.Index.Span(i), room: l.host.Room}
	want := l.Index.Header().BlobDigest
	got, err := stream.Decode(ctx, body, stream.Options{Algorithm: want.Algorithm()}, w)
	var fault *stream.Fault
	if err != nil && !errors.As(err, &fault) {
		return err
	}
	if got.Digest != want {
		return errkind.New(errkind.Corrupt, "the bytes that the source sent have the digest %s", got.Digest)
	}
	if fault != nil {
		return fault
	}
	if w.span.Sum != 0 && w.sum.Sum64() != w.span.Sum {
		return errkind.New(errkind.Corrupt, "the layer decodes to other bytes than before")
	}
	if err := h.Confirm(w.sum.Sum64()); err != nil {
		return cachedir.WriteError(err)
	}
	r.land(i)
	return nil
}

// refiller is a stream.Sink that writes one span.
type refiller struct {
	held *spanfile.Held
	span index.Span
	room Room
	sum  xxh3.Hasher
}

func (w *refiller) Begin(index.Compression) {}

func (w *refiller) Write(b []byte, off int64) error {
	from, to := max(off, w.span.Out), min(off+int64(len(b)), w.span.Out+w.span.OutLen)
	if from >= to {
		return nil
	}
	b = b[from-off : to-off]
	_, _ = w.sum.Write(b) // never fails
	w.room.Used(int64(len(b)))
	if err := w.room.MakeRoom(func() error { return w.held.Write(b, from) }); err != nil {
		return cachedir.WriteError(err)
	}
	return nil
}
