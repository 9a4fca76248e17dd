package fusefs

import (
	"sync"
	"time"
)

// logBurst bounds the lines of the log: a registry that is away can fail thousands of requests in a second: only
// logBurst of them are logged, and the rest counted.
const logBurst = 10

type limiter struct {
	mu struct {
		sync.Mutex
		since         time.Time
		used, skipped int
	}
}

// allow says whether to log now, and how many were skipped before.
func (l *limiter) allow(now time.Time) (skipped int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.mu.since) >= time.Second {
		l.mu.since, l.mu.used = now, 0
	}
	if l.mu.used == logBurst {
		l.mu.skipped++
		return 0, false
	}
	l.mu.used++
	skipped, l.mu.skipped = l.mu.skipped, 0
	return skipped, true
}
