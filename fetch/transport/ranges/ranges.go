// Package ranges reads stretches of a remote blob over connections that may
// break, stall or end early.
//
// A Body yields the bytes that were asked for, in order and complete, or an
// error; it never ends early with io.EOF. It goes on where a connection broke,
// reads past what a server sends too much, and gives a connection that has
// fallen silent a rival. What is particular to a protocol is in the Source: how
// a part is asked for, and what is proved of the whole.
package ranges

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/peelfs/peelfs/fetch/transport"
	"github.com/peelfs/peelfs/fetch/transport/retry"
	"github.com/peelfs/peelfs/internal/errkind"
)

// Part is one open answer: the bytes of a blob from At up to End.
type Part struct {
	io.ReadCloser
	Host    string // that answers, for messages
	At, End int64  // End is -1 if the answer does not say
	Total   int64  // the size of the blob, -1 if the answer does not say
	Whole   bool   // the answer is the whole blob, although a range may have been asked for

	cancel context.CancelFunc // ends the request that the part is an answer to
}

// end gives the connection back, or breaks it if bytes are left on it.
func (p *Part) end() {
	p.Close()
	p.cancel()
}

// Check follows a body that is the whole of a blob.
type Check interface {
	// Write sees each byte once, in order. It returns no error.
	io.Writer
	// Ended reports whether a blob may end after n bytes, where the server ends
	// it. announced is false if the server did not say before how long it is.
	Ended(n int64, announced bool) bool
	// Verify says what is wrong with a blob of n bytes that has come to its end.
	// The last bytes are held back until then.
	Verify(n int64) error
}

// Source is where the bytes of one body come from.
type Source struct {
	// Open asks once for the bytes from off up to end; a negative end is that of
	// the blob. The part may begin before off, and end anywhere behind it.
	Open func(ctx context.Context, off, end int64) (*Part, error)
	// Tries counts failures; the body reports its progress to it.
	Tries *retry.Attempts
	// Patience is how long a host may be silent before another connection is
	// asked for the rest; nil is for ever.
	Patience func(host string) time.Duration
	// OnlyRanges makes a server that ignores ranges an error: ErrNoRange.
	OnlyRanges bool
}

// ErrNoRange is the error of a Source that must honour ranges and does not.
var ErrNoRange = errors.New("the server ignores ranges")

// progress is how many bytes count as progress that forgives failures.
const progress = 64 << 10

// Body reads [Pos, End) of a blob and mends broken connections: it asks again from
// where it was. It is for one goroutine.
type Body struct {
	src    Source
	ctx    context.Context // of the one read that this body is
	check  Check           // nil if nothing is to be checked
	pos    int64
	end    int64 // -1 if unknown
	cur    *Part // nil before the first part and between two
	gained int64 // bytes since the last failure
	err    error // final
}

// New makes the body of [off, end) without asking for anything yet; a negative
// end is that of the blob. ctx is that of all of its reading.
func New(ctx context.Context, src Source, off, end int64) *Body {
	return &Body{src: src, ctx: ctx, pos: off, end: end}
}

// Begin opens the first part, so that errors show before any byte is read.
// Afterwards the end is known unless the server does not know it either.
// A server that sent everything in place of the range leaves Whole true and the
// body where it began: the caller decides by All.
func (b *Body) Begin() error {
	for {
		p, err := b.open(b.ctx)
		if err == nil {
			b.cur = p
			if b.end < 0 {
				b.end = max(p.End, p.Total)
			}
			return b.passOver(p)
		}
		if err = b.src.Tries.Again(b.ctx, err); err != nil {
			return err
		}
	}
}

// passOver skips what a part has before the body's first byte, unless that is the
// start of a whole blob. A part that fails there is opened anew by Read.
func (b *Body) passOver(p *Part) error {
	if p.Whole {
		return nil
	}
	if err := skip(p, b.pos-p.At); err != nil {
		b.drop()
	}
	return nil
}

// Whole reports whether the open part is the whole blob.
func (b *Body) Whole() bool { return b.cur != nil && b.cur.Whole }

// All makes a body of [off, end) whose server sent the whole blob one that begins
// at 0, and returns that: it ends at end if it began there anyway, else where the
// blob does. check follows what is then the whole blob; it may be nil.
func (b *Body) All(off, end int64, check Check) int64 {
	b.pos, b.end = 0, b.cur.End
	if off == 0 && end >= 0 && end != b.cur.End {
		b.end = end
		return 0
	}
	b.check = check
	return 0
}

// Pos is the offset of the next byte, and End that behind the last one, -1 if it
// is unknown.
func (b *Body) Pos() int64 { return b.pos }

// End is the offset behind the last byte, -1 if it is unknown.
func (b *Body) End() int64 { return b.end }

// open asks for what is left. The part's request ends with the part.
func (b *Body) open(ctx context.Context) (*Part, error) {
	ctx, cancel := context.WithCancel(ctx)
	p, err := b.src.Open(ctx, b.pos, b.end)
	if err != nil {
		cancel()
		return nil, err
	}
	p.cancel = cancel
	return p, nil
}

// openHere is open, with the part at the body's place.
func (b *Body) openHere(ctx context.Context) (*Part, error) {
	p, err := b.open(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case p.At > b.pos:
		err = errkind.New(errkind.Unavailable, "%s sends from byte %d on, not from %d", p.Host, p.At, b.pos)
	case p.At < b.pos && p.Whole && b.src.OnlyRanges:
		err = ErrNoRange
	default:
		err = skip(p, b.pos-p.At)
	}
	if err != nil {
		p.end()
		return nil, err
	}
	return p, nil
}

// skip reads n bytes away.
func skip(p *Part, n int64) error {
	if n <= 0 {
		return nil
	}
	_, err := io.CopyN(io.Discard, p, n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return transport.Classify(err, p.Host)
}

// Open continues at Pos, as often as Tries allows. Read does it when it is needed;
// a caller may do it before.
func (b *Body) Open() error {
	for b.cur == nil {
		p, err := b.openHere(b.ctx)
		if err == nil {
			b.cur = p
			return nil
		}
		if err == ErrNoRange {
			return err
		}
		if err = b.src.Tries.Again(b.ctx, err); err != nil {
			return err
		}
	}
	return nil
}

// Read implements io.Reader.
func (b *Body) Read(p []byte) (int, error) {
	for b.err == nil {
		if b.end >= 0 && b.pos >= b.end {
			b.conclude()
			break
		}
		if err := b.Open(); err != nil {
			b.finish(err)
			break
		}
		n, err := b.readPart(p)
		switch {
		case b.complete(err):
			if b.conclude(); b.err != io.EOF {
				return 0, b.err
			}
		case err != nil:
			b.mend(err)
		}
		if n > 0 || len(p) == 0 {
			return n, nil
		}
	}
	return 0, b.err
}

// readPart reads from the open part, or from a rival that was faster.
func (b *Body) readPart(p []byte) (int, error) {
	if b.end >= 0 {
		p = p[:min(int64(len(p)), b.end-b.pos)]
	}
	n, err := b.readOrReplace(p)
	b.pos += int64(n)
	b.gained += int64(n)
	if b.gained >= progress {
		b.src.Tries.Progress()
	}
	if b.check != nil {
		b.check.Write(p[:n])
	}
	return n, err
}

// readOrReplace reads from the open part. If that has been silent for longer than
// patience, another connection is asked for the rest, and whichever has a byte
// first is the one to go on with.
func (b *Body) readOrReplace(p []byte) (n int, err error) {
	if b.src.Patience == nil {
		return b.cur.Read(p)
	}
	var rival *Part
	won, _ := transport.Race(b.ctx, b.src.Patience(b.cur.Host), func() error {
		n, err = b.cur.Read(p)
		if n > 0 || err == io.EOF {
			return nil
		}
		return err
	}, b.cur.cancel, func(ctx context.Context) (err error) {
		rival, err = b.openRival(ctx)
		return err
	})
	switch {
	case won:
		b.drop()
		b.cur = rival
		return rival.Read(p)
	case rival != nil: // it came too late
		rival.end()
	}
	return n, err
}

// openRival opens a part beside the silent one and waits for its first bytes.
func (b *Body) openRival(ctx context.Context) (*Part, error) {
	// A rival outlives the race that it wins, and so the context of that.
	own, cancel := context.WithCancel(transport.Fresh(b.ctx))
	stop := context.AfterFunc(ctx, cancel)
	p, err := b.openHere(own)
	if err != nil {
		stop()
		cancel()
		return nil, err
	}
	inner := p.cancel
	p.cancel = func() { inner(); cancel() }
	buf := make([]byte, 32<<10)
	n := 0
	for n == 0 && err == nil {
		n, err = p.Read(buf)
	}
	if n == 0 || !stop() {
		p.end()
		return nil, io.ErrUnexpectedEOF
	}
	p.ReadCloser = &begun{p.ReadCloser, buf[:n]}
	return p, nil
}

// begun is a body of which the first bytes were read already.
type begun struct {
	io.ReadCloser
	first []byte
}

func (b *begun) Read(p []byte) (int, error) {
	if len(b.first) == 0 {
		return b.ReadCloser.Read(p)
	}
	n := copy(p, b.first)
	b.first = b.first[n:]
	return n, nil
}

// complete reports whether the bytes so far are all that there are. err is what
// the open part said along with the last of them.
func (b *Body) complete(err error) bool {
	switch {
	case b.end >= 0 && b.pos >= b.end:
		return true
	case err == nil:
		return false
	}
	announced := err != io.EOF || b.cur.End >= 0
	if b.check != nil {
		return b.check.Ended(b.pos, announced)
	}
	return b.end < 0 && !announced
}

// conclude ends a body that is complete: with io.EOF, or what its check says.
func (b *Body) conclude() {
	err := io.EOF
	if b.check != nil {
		if bad := b.check.Verify(b.pos); bad != nil {
			err = bad
		}
	}
	b.finish(err)
}

// mend decides what follows a part that ended with err before the body did:
// another part, or failure.
func (b *Body) mend(err error) {
	ended := err == io.EOF && (b.cur.End < 0 || b.pos >= b.cur.End)
	host := b.cur.Host
	if err == io.EOF && !ended {
		err = errkind.New(errkind.Unavailable, "%s ends %d bytes before the end that it has announced", host, b.cur.End-b.pos)
	}
	b.drop()
	more := ended && b.gained > 0 // the server sends less at once than was asked for
	b.gained = 0
	if more {
		return
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err = b.src.Tries.Again(b.ctx, transport.Classify(err, host)); err != nil {
		b.finish(err)
	}
}

func (b *Body) drop() {
	if b.cur != nil {
		b.cur.end()
		b.cur = nil
	}
}

func (b *Body) finish(err error) {
	b.drop()
	b.err = err
}

// Close implements io.Closer.
func (b *Body) Close() error {
	b.finish(errkind.New(errkind.Internal, "read of a closed body"))
	return nil
}
