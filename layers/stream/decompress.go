package stream

import (
	"bufio"
	"context"
	"errors"
	"io"

	"github.com/zeebo/xxh3"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/tarstream"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/inflate"
	"github.com/peelfs/peelfs/layers/internal/outbuf"
	"github.com/peelfs/peelfs/layers/zframes"
)

// piece is a run of the tar on its way from the second stage to the third, which
// releases it.
type piece struct {
	bytes   []byte
	release func()
}

// CompressionOf tells a blob's compression by its first tarstream.HeadSize bytes.
// Media types lie.
func CompressionOf(head []byte) index.Compression {
	switch tarstream.Detect(head) {
	case tarstream.Gzip:
		return index.Gzip
	case tarstream.Zstd:
		return index.Zstd
	case tarstream.Bzip2:
		return index.Bzip2
	case tarstream.Xz:
		return index.Xz
	}
	return index.Uncompressed
}

// Seekable reports whether blobs of a compression can be entered in the middle.
func Seekable(c index.Compression) bool { return c == index.Gzip || c == index.Uncompressed }

// decompress is the second stage: it finds out the compression, notes it in l,
// and sends the tar to out in pieces. It adds the spans to l, which the third
// stage leaves alone until out is closed.
func decompress(ctx context.Context, in io.Reader, l *Layer, out chan<- piece, other bool) error {
	r := bufio.NewReaderSize(in, bufferSize)
	head, err := r.Peek(tarstream.HeadSize)
	if err != nil && err != io.EOF {
		return err
	}
	send := func(b []byte, release func()) error {
		select {
		case out <- piece{b, release}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	l.Compression = CompressionOf(head)
	switch {
	case l.Compression == index.Gzip && !other:
		return decompressGzip(r, l, send)
	case l.Compression == index.Zstd:
		return decompressZstd(r, l, send)
	}
	plain, err := NewDecoder(l.Compression, r)
	if err == nil {
		err = copyOut(plain, l, send)
	}
	return Corrupt(l.Compression, err)
}

// Corrupt blames the layer for an error of its decoder, unless it is the
// source's or the context's.
func Corrupt(c index.Compression, err error) error {
	var kinded *errkind.Error
	if err == nil || errors.As(err, &kinded) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return errkind.New(errkind.Corrupt, "%s data: %w", c, err)
}

func decompressGzip(r io.Reader, l *Layer, send func([]byte, func()) error) error {
	var pack index.WindowPacker
	rd := inflate.NewReader(r, inflate.Options{SpanSize: SpanSize, OnSpan: func(s inflate.Span) error {
		l.Spans = append(l.Spans, index.Span{Out: s.Out, OutLen: s.OutLen, In: s.In, InLen: s.InLen, Bits: s.Bits,
			Sum: s.Sum, Digest: s.Digest, DigestOf: index.DigestCompressed})
		l.Windows = append(l.Windows, pack.Pack(s.Window))
		return nil
	}})
	return pump(rd.Next, send)
}

func decompressZstd(r io.Reader, l *Layer, send func([]byte, func()) error) error {
	rd := zframes.NewReader(r, zframes.Options{SpanSize: SpanSize, OnSpan: func(s zframes.Span) error {
		l.Spans = append(l.Spans, index.Span{Out: s.Out, OutLen: s.OutLen, In: s.In, InLen: s.InLen,
			Sum: s.Sum, Digest: s.Digest, DigestOf: index.DigestCompressed})
		return nil
	}})
	return pump(rd.Next, send)
}

// pump sends what a Reader of inflate or zframes gives.
func pump(next func() (*outbuf.Buffer, error), send func([]byte, func()) error) error {
	for {
		b, err := next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := send(b.Bytes(), b.Release); err != nil {
			return err
		}
	}
}

// NewDecoder opens a blob of a compression for reading from its start, by code
// that the streaming pass does not use where there are two.
func NewDecoder(c index.Compression, r io.Reader) (io.Reader, error) {
	switch c {
	case index.Gzip:
		return tarstream.Gzip.NewReader(r)
	case index.Zstd:
		return zframes.NewReader(r, zframes.Options{}), nil
	case index.Bzip2:
		return tarstream.Bzip2.NewReader(r)
	case index.Xz:
		return tarstream.Xz.NewReader(r)
	}
	return r, nil
}

// copyOut sends the output of a decoder that knows no seek points. Unless the
// blob is uncompressed, the whole of it is one span then.
func copyOut(r io.Reader, l *Layer, send func([]byte, func()) error) error {
	free := make(chan []byte, depth+2)
	for range cap(free) {
		free <- make([]byte, bufferSize)
	}
	sum, size := xxh3.New(), int64(0)
	for {
		buf := <-free
		n, err := fill(r, buf)
		if n > 0 {
			sum.Write(buf[:n])
			size += int64(n)
			if err := send(buf[:n], func() { free <- buf }); err != nil {
				return err
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if l.Compression != index.Uncompressed && size > 0 {
		l.Spans = []index.Span{{OutLen: size, Sum: sum.Sum64()}} // completeWhole knows the rest
	}
	return nil
}

// fill reads until buf is full or r has an error, which it returns as it is:
// unlike io.ReadFull's, an unexpected end is always the decoder's.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var k int
		k, err = r.Read(buf[n:])
		n += k
	}
	return n, err
}
