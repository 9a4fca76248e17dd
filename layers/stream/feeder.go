package stream

import (
	"context"
	"hash"
	"io"
)

// feeder is the first stage: it reads the blob, hashes it, and hands it on as an
// io.Reader for the second stage.
type feeder struct {
	body    io.Reader
	hash    hash.Hash
	opt     Options
	n       int64
	full    chan []byte
	free    chan []byte
	stopped chan struct{} // closed: read on without handing on
	tail    []byte        // the last bytes of the blob so far
	cur     []byte        // unread part of the buffer that Read is at
	whole   []byte        // that buffer
}

func newFeeder(body io.Reader, opt Options) *feeder {
	f := &feeder{body: body, opt: opt, hash: opt.Algorithm.Hash(),
		full: make(chan []byte, depth), free: make(chan []byte, depth+2), stopped: make(chan struct{})}
	for range cap(f.free) {
		f.free <- make([]byte, bufferSize)
	}
	return f
}

func (f *feeder) run(ctx context.Context) error {
	defer close(f.full)
	for {
		var buf []byte
		select {
		case buf = <-f.free:
		case <-f.stopped:
			return f.drain()
		case <-ctx.Done():
			return ctx.Err()
		}
		n, err := io.ReadFull(f.body, buf)
		f.account(buf[:n])
		if n > 0 {
			select {
			case f.full <- buf[:n]:
			case <-f.stopped:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (f *feeder) account(b []byte) {
	f.hash.Write(b)
	f.n += int64(len(b))
	f.tail = append(f.tail, b[max(0, len(b)-f.opt.Tail):]...)
	f.tail = f.tail[max(0, len(f.tail)-f.opt.Tail):]
}

func (f *feeder) drain() error {
	buf := make([]byte, bufferSize)
	for {
		n, err := f.body.Read(buf)
		f.account(buf[:n])
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Read implements io.Reader for the second stage.
func (f *feeder) Read(p []byte) (int, error) {
	for len(f.cur) == 0 {
		if f.whole != nil {
			f.free <- f.whole[:bufferSize]
			f.whole = nil
		}
		buf, ok := <-f.full
		if !ok {
			return 0, io.EOF
		}
		f.cur, f.whole = buf, buf
	}
	n := copy(p, f.cur)
	f.cur = f.cur[n:]
	return n, nil
}
