package layers

import (
	"context"
	"sync"
	"time"
)

// failureMemory is how long a failed fetch stays failed. The kernel asks two or
// three times for one failed read; only the first shall pay for the attempt.
const failureMemory = time.Second

// flight is work that is under way for whoever waits for it. It ends once, with
// err; done is closed after err is set.
type flight struct {
	done  chan struct{}
	err   error
	ended time.Time
}

func newFlight() *flight { return &flight{done: make(chan struct{})} }

func (f *flight) end(err error) {
	f.err, f.ended = err, time.Now()
	close(f.done)
}

// wait returns the flight's error, or the context's if that ends first; the
// flight goes on then.
func (f *flight) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stale reports whether the flight has failed and the failure is forgotten.
func (f *flight) stale() bool {
	return !f.running() && f.err != nil && time.Since(f.ended) > failureMemory
}

// running reports whether the flight has not ended.
func (f *flight) running() bool {
	select {
	case <-f.done:
		return false
	default:
		return true
	}
}

// crew runs goroutines that outlive the call that started them, until close.
type crew struct {
	wg   sync.WaitGroup
	quit chan struct{}
	mu   struct {
		sync.Mutex
		closed bool
	}
}

func newCrew() *crew { return &crew{quit: make(chan struct{})} }

// run starts fn with a context that has the values of ctx but ends only when
// the crew does. It reports false if the crew is closed.
func (c *crew) run(ctx context.Context, fn func(context.Context)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return false
	}
	c.wg.Add(1)
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer c.wg.Done()
		defer cancel()
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			select {
			case <-c.quit:
				cancel()
			case <-stop:
			}
		}()
		fn(ctx)
	}()
	return true
}

// close cancels what runs and waits for it.
func (c *crew) close() {
	c.mu.Lock()
	closed := c.mu.closed
	c.mu.closed = true
	c.mu.Unlock()
	if !closed {
		close(c.quit)
	}
	c.wg.Wait()
}
