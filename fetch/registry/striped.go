package registry

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/peelfs/peelfs/fetch/transport/ranges"
	"github.com/peelfs/peelfs/fetch/transport/retry"
	"github.com/peelfs/peelfs/internal/errkind"
)

// How a long range is read. The figures are bytes, but for rates.
const (
	stripeMin  = 16 << 20 // shorter ranges use one connection
	leadSize   = 8 << 20  // what is read, and measured, before anything is decided
	decideAt   = 6 << 20  // of the lead: early enough to have the next request under way
	pieceSize  = 4 << 20
	workers    = 4
	maxSpare   = 8         // connections beyond the first of each stream, in a client
	fastEnough = 100 << 20 // bytes a second above which one connection is no bottleneck
	judgeAfter = 32 << 20  // of parallel reading, before it is compared with one connection
)

// striped reads a long range of a server that honours ranges.
//
// It begins with one connection, and watches the time spent waiting for it. If
// the reader waits much and little comes, several connections fetch pieces
// ahead, in a window of bounded buffers; else one goes on to the end. If the
// pieces then come slower than the first connection was, one connection it is
// again.
//
//	lead -> single      the connection is fast, or the reader is the slow one
//	lead -> pieces      more connections may help
//	pieces -> single    they did not, or a server began to ignore ranges
//
// Whatever the state, Read continues at pos.
type striped struct {
	b      *blob
	ctx    context.Context // of the whole read
	pos    int64
	end    int64
	lead   *ranges.Body // until it ends
	single *ahead       // then this,
	pieces *pieces      // or this

	begun    time.Time
	blocked  time.Duration // time spent waiting for bytes since the state began
	got      int64         // bytes since the state began
	leadRate float64       // bytes a second of the lead
}

func newStriped(ctx context.Context, b *blob, lead *ranges.Body, end int64) *striped {
	return &striped{b: b, ctx: ctx, pos: lead.Pos(), end: end, lead: lead, begun: time.Now()}
}

func (s *striped) Read(p []byte) (int, error) {
	if s.pos >= s.end {
		return 0, io.EOF
	}
	start := time.Now()
	n, err := s.read(p)
	s.blocked += time.Since(start)
	s.pos += int64(n)
	s.got += int64(n)
	switch {
	case err != nil:
	case s.undecided() && s.got >= decideAt:
		s.decide()
	case s.pieces != nil && s.got >= judgeAfter && s.rate() < 0.8*s.leadRate:
		s.toSingle()
	}
	return n, err
}

func (s *striped) undecided() bool { return s.single == nil && s.pieces == nil }

func (s *striped) rate() float64 { return float64(s.got) / max(s.blocked.Seconds(), 1e-9) }

func (s *striped) read(p []byte) (int, error) {
	if s.lead != nil {
		n, err := s.lead.Read(p)
		if err != io.EOF {
			return n, err
		}
		s.lead.Close()
		s.lead = nil
		s.blocked, s.got = 0, 0
		if s.undecided() {
			s.decide()
		}
	}
	if s.pieces != nil {
		n, err := s.pieces.Read(p)
		if !errors.Is(err, ranges.ErrNoRange) {
			return n, err
		}
		s.toSingle()
	}
	return s.single.Read(p)
}

// decide chooses how to go on after the lead, and starts it.
func (s *striped) decide() {
	s.leadRate = s.rate()
	waits := s.blocked > time.Since(s.begun)/2
	next := s.pos
	if s.lead != nil {
		next = s.lead.End()
	}
	if waits && s.leadRate < fastEnough {
		if spare := s.b.repo.shared.takeSpare(workers - 1); spare > 0 {
			s.pieces = newPieces(s.ctx, s.b, next, s.end, spare)
			return
		}
	}
	s.single = newAhead(s.ctx, s.b, next, s.end)
}

func (s *striped) toSingle() {
	s.pieces.Close()
	s.pieces = nil
	s.single = newAhead(s.ctx, s.b, s.pos, s.end)
}

// Close implements io.Closer.
func (s *striped) Close() error {
	if s.lead != nil {
		s.lead.Close()
	}
	if s.single != nil {
		s.single.Close()
	}
	if s.pieces != nil {
		s.pieces.Close()
		s.pieces = nil
	}
	s.pos = s.end
	return nil
}

// takeSpare reserves up to n of the client's spare connections.
func (s *Shared) takeSpare(n int64) int64 {
	for {
		used := s.spare.Load()
		n = min(n, maxSpare-used)
		if n <= 0 {
			return 0
		}
		if s.spare.CompareAndSwap(used, used+n) {
			return n
		}
	}
}

// ahead is a body whose request is sent before the first Read.
type ahead struct {
	s      *ranges.Body
	cancel context.CancelFunc
	opened chan error // one value, from the goroutine that opens
	err    error      // of opening
	done   bool
}

func newAhead(ctx context.Context, b *blob, off, end int64) *ahead {
	ctx, cancel := context.WithCancel(ctx)
	a := &ahead{s: b.body(ctx, off, end), cancel: cancel, opened: make(chan error, 1)}
	go func() { a.opened <- a.s.Open() }()
	return a
}

func (a *ahead) Read(p []byte) (int, error) {
	if !a.done {
		a.done = true
		a.err = <-a.opened
	}
	if a.err != nil {
		return 0, a.err
	}
	return a.s.Read(p)
}

// Close waits for the goroutine.
func (a *ahead) Close() {
	a.cancel()
	if !a.done {
		a.done = true
		<-a.opened
	}
	a.s.Close()
}

// pieces is an ordered stream of pieces that several workers fetch.
//
// The reader hands the pieces out, in order, and a buffer that it has emptied
// carries the next one. So the pieces under way are always those needed next,
// and there are never more of them than buffers.
type pieces struct {
	b       *blob
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	spare   int64
	running sync.WaitGroup
	jobs    chan *piece // has room for all buffers, so handing out never waits

	// The reader's own:
	queue     []*piece // under way, in order
	next, end int64    // what nobody fetches yet
}

func newPieces(ctx context.Context, b *blob, off, end, spare int64) *pieces {
	window := int(spare) + 2
	ctx, cancel := context.WithCancel(ctx)
	s := &pieces{b: b, ctx: ctx, cancel: cancel, spare: spare, jobs: make(chan *piece, window), next: off, end: end}
	for range window {
		s.handOut(nil)
	}
	for range spare + 1 {
		s.running.Go(s.work)
	}
	return s
}

// handOut makes the next piece somebody's job, if there is one. buf is an empty
// buffer, nil for a new one.
func (s *pieces) handOut(buf []byte) {
	n := min(int64(pieceSize), s.end-s.next)
	if n <= 0 {
		return
	}
	if buf == nil {
		buf = make([]byte, pieceSize)
	}
	p := &piece{off: s.next, buf: buf[:n], wake: make(chan struct{}, 1)}
	s.next += n
	s.queue = append(s.queue, p)
	s.jobs <- p
}

// work fetches piece after piece until the reader is gone. A piece that fails
// says so to the reader, who ends it all.
func (s *pieces) work() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case p := <-s.jobs:
			p.fill(s.ctx, s.b)
		}
	}
}

func (s *pieces) Read(p []byte) (int, error) {
	if len(s.queue) == 0 {
		return 0, io.EOF
	}
	cur := s.queue[0]
	n, done, err := cur.read(s.ctx, p)
	if done {
		s.queue = s.queue[1:]
		s.handOut(cur.buf[:cap(cur.buf)])
	}
	return n, err
}

// Close ends the workers, waits for them, and gives their connections back.
func (s *pieces) Close() {
	s.cancel()
	s.running.Wait()
	s.b.repo.shared.spare.Add(-s.spare)
}

// piece is a buffer that one worker fills and the reader empties meanwhile.
type piece struct {
	off  int64
	buf  []byte
	done int           // bytes that the reader has taken; its own
	wake chan struct{} // the worker has news

	mu struct {
		sync.Mutex
		filled int
		err    error
	}
}

func (p *piece) fill(ctx context.Context, b *blob) {
	src := b.source()
	src.OnlyRanges = true
	s := ranges.New(ctx, src, p.off, p.off+int64(len(p.buf)))
	defer s.Close()
	for at := 0; at < len(p.buf); {
		n, err := s.Read(p.buf[at:])
		at += n
		if err == io.EOF && at < len(p.buf) {
			err = errkind.Wrap(errkind.Internal, io.ErrUnexpectedEOF)
		}
		p.note(at, err)
		if err != nil {
			return
		}
	}
}

// note publishes progress to the reader.
func (p *piece) note(filled int, err error) {
	p.mu.Lock()
	p.mu.filled = filled
	if err != io.EOF {
		p.mu.err = err
	}
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// read copies what is there, or waits for something to be.
func (p *piece) read(ctx context.Context, dst []byte) (n int, done bool, err error) {
	for {
		p.mu.Lock()
		filled, err := p.mu.filled, p.mu.err
		p.mu.Unlock()
		if p.done < filled {
			n = copy(dst, p.buf[p.done:filled])
			p.done += n
			return n, p.done == len(p.buf), nil
		}
		if err != nil {
			return 0, false, err
		}
		select {
		case <-ctx.Done():
			return 0, false, retry.Canceled(ctx)
		case <-p.wake:
		}
	}
}
