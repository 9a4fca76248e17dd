package flight

import (
	"context"
	"sync"
)

// Crew runs goroutines that outlive the calls that started them, until Close.
// Methods are safe for concurrent use.
type Crew struct {
	wg   sync.WaitGroup
	quit chan struct{}
	mu   struct {
		sync.Mutex
		closed bool
	}
}

// NewCrew returns a Crew. Close it.
func NewCrew() *Crew { return &Crew{quit: make(chan struct{})} }

// Run starts fn with a context that has the values of ctx but ends only when the
// crew does. It reports false, and starts nothing, if the crew is closed.
func (c *Crew) Run(ctx context.Context, fn func(context.Context)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return false
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	finished := make(chan struct{})
	c.wg.Go(func() {
		defer cancel()
		defer close(finished)
		fn(ctx)
	})
	c.wg.Go(func() {
		select {
		case <-c.quit:
			cancel()
		case <-finished:
		}
	})
	return true
}

// Close cancels what runs and waits for it. Calls after the first only wait.
func (c *Crew) Close() {
	c.mu.Lock()
	if !c.mu.closed {
		c.mu.closed = true
		close(c.quit)
	}
	c.mu.Unlock()
	c.Wait()
}

// Wait returns when nothing runs.
func (c *Crew) Wait() { c.wg.Wait() }
