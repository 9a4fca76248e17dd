package fusefs

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const (
	slowWait     = time.Second           // a request that waits longer is logged
	recheckAfter = 50 * time.Millisecond // between looks at an interrupted caller
)

// session is what all requests of a mount share.
type session struct {
	log    *slog.Logger
	budget time.Duration // for a request's wait, if nothing else is said
	path   func(node uint64) string
	device int // a descriptor of the connection, to see whether it still is

	closing  chan struct{} // closed when all waits are to fail
	closed   sync.Once
	watchers sync.WaitGroup

	patience limiter // of the lines about requests that wait

	waits, slow, interrupts atomic.Uint64 // see Stats
}

// close fails all requests that wait.
func (s *session) close() { s.closed.Do(func() { close(s.closing) }) }

// request is the context of one request. Most never wait for anything, so a
// goroutine that watches over the wait exists only once someone asks for Done.
//
// States: quiet -> watched (Done) -> ended (cancelled, or over the budget);
// finish leaves each of them. err is set exactly when done is closed.
type request struct {
	*session
	limit  time.Duration   // how long it may wait
	cancel <-chan struct{} // closed when the kernel says INTERRUPT, or is gone
	caller uint32          // thread id, 0 if the kernel itself asks
	node   uint64
	opcode uint32

	mu struct {
		sync.Mutex
		done, finished chan struct{} // both nil while quiet
		err            error
	}
}

func (s *session) begin(cancel <-chan struct{}, h *fuse.InHeader) *request {
	return &request{session: s, limit: s.budget, cancel: cancel, caller: h.Pid, node: h.NodeId, opcode: h.Opcode}
}

// finish ends the watch. The request must not be used as a context any more.
func (r *request) finish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.finished != nil {
		close(r.mu.finished)
	}
}

// Done is closed when the request's wait is over: its caller wants to stop, the
// mount ends, or the budget is used up.
func (r *request) Done() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.done == nil {
		r.mu.done, r.mu.finished = make(chan struct{}), make(chan struct{})
		r.waits.Add(1)
		r.watchers.Add(1)
		go r.watch(r.mu.finished)
	}
	return r.mu.done
}

// Err is context.Canceled or context.DeadlineExceeded after Done, else nil.
func (r *request) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.err
}

// Deadline is not known: the budget begins with the wait.
func (r *request) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value has none.
func (r *request) Value(any) any { return nil }

func (r *request) end(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.err = err
	close(r.mu.done)
}

// watch ends the wait when it should end. The kernel says INTERRUPT once, for
// the first signal of any sort; whether to stop is looked up in the caller's
// pending signals, then and again.
func (r *request) watch(finished <-chan struct{}) {
	defer r.watchers.Done()
	budget, slow := time.NewTimer(r.limit), time.NewTimer(slowWait)
	defer budget.Stop()
	defer slow.Stop()
	began := time.Now()
	cancel, recheck := r.cancel, make(<-chan time.Time)
	for {
		select {
		case <-finished:
			return
		case <-r.closing:
			r.end(context.Canceled)
			return
		case <-budget.C:
			r.end(context.DeadlineExceeded)
			return
		case <-slow.C:
			r.logSlow(began)
			continue
		case <-cancel:
			cancel = nil
			ticker := time.NewTicker(recheckAfter)
			defer ticker.Stop()
			recheck = ticker.C
		case <-recheck:
		}
		r.interrupts.Add(1)
		if wantsToStop(r.caller) || connectionLost(r.device) {
			r.end(context.Canceled)
			return
		}
	}
}

func (r *request) logSlow(began time.Time) {
	r.slow.Add(1)
	skipped, ok := r.patience.allow(time.Now())
	if !ok {
		return
	}
	r.log.Warn("waiting for data", "path", r.path(r.node), "operation", opName(r.opcode),
		"process", processOf(r.caller), "since", began.Format(time.RFC3339), "unlogged", skipped)
}

// connectionLost says whether the kernel has given the connection up, in which
// case all requests are cancelled without any signal.
func connectionLost(device int) bool {
	fds := []unix.PollFd{{Fd: int32(device)}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&unix.POLLERR != 0
}
