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
//
// Where the disk has no room for it, the blob is read to its end all the same, and
// the window of the span that is asked for is kept in memory.
func (l *Layer) refill(ctx context.Context, r *request, h *spanfile.Held) error {
	if h == nil {
		return errkind.New(errkind.Internal, "a span is written without its lock")
	}
	i := h.Span()
	key, at := l.keyOf(i, r.off)
	w := &refiller{held: h, span: l.Index.Span(i), room: l.host.Room, at: at}
	if err := l.decodeWhole(ctx, w); err != nil {
		if w.full != nil {
			h.Discard()
		}
		return err
	}
	if w.full == nil {
		w.full = h.Confirm(w.sum.Sum64())
	}
	if cachedir.CannotKeep(w.full) {
		h.Discard()
		l.cannotKeep(cachedir.WriteError(w.full))
		l.host.Memory.put(key, w.window)
	} else if w.full != nil {
		return cachedir.WriteError(w.full)
	}
	r.land(i)
	return nil
}

// decodeWhole sends the layer to w and fails if it is not what it was.
func (l *Layer) decodeWhole(ctx context.Context, w *refiller) error {
	body, err := l.host.Whole(ctx)
	if err != nil {
		return err
	}
	defer body.Close()
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
	return nil
}

// refiller is a stream.Sink that writes one span, and keeps a window of it.
type refiller struct {
	held   *spanfile.Held
	span   index.Span
	room   Room
	sum    xxh3.Hasher
	at     int64  // where the window begins
	window []byte // what has come of it
	full   error  // why the span cannot be kept; nil if it can so far
}

// Begin implements stream.Sink.
func (w *refiller) Begin(index.Compression) {}

// Write implements stream.Sink.
func (w *refiller) Write(b []byte, off int64) error {
	from, to := max(off, w.span.Out), min(off+int64(len(b)), w.span.Out+w.span.OutLen)
	if from >= to {
		return nil
	}
	b = b[from-off : to-off]
	_, _ = w.sum.Write(b) // never fails
	if lo, hi := max(from, w.at), min(to, w.at-w.at%window+window); lo < hi {
		w.window = append(w.window, b[lo-from:hi-from]...)
	}
	if w.full != nil {
		return nil
	}
	w.room.Used(int64(len(b)))
	err := w.room.MakeRoom(func() error { return w.held.Write(b, from) })
	if cachedir.CannotKeep(err) {
		w.full = err
		return nil
	}
	if err != nil {
		return cachedir.WriteError(err)
	}
	return nil
}
