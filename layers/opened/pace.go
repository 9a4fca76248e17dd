package opened

import (
	"sync"
	"time"
)

// longRoundTrip is from when on a round trip is worth guessing what comes next:
// a registry in the same house answers faster.
const longRoundTrip = 10 * time.Millisecond

// Pace is how fast the source answers: the time until a request's first bytes,
// and the bytes a second after them on one connection. Both follow what was seen.
type Pace struct {
	mu struct {
		sync.Mutex
		roundTrip time.Duration
		rate      float64
	}
}

// Note learns from a request of n bytes.
func (p *Pace) Note(first, rest time.Duration, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.roundTrip += (first - p.mu.roundTrip) / 4
	if p.mu.rate == 0 {
		p.mu.roundTrip = first
	}
	if rate := float64(n) / max(rest, time.Millisecond).Seconds(); n >= minAhead/4 || p.mu.rate == 0 {
		p.mu.rate += (rate - p.mu.rate) / 2
	}
}

// roundTripBytes is how many bytes cost as much as a round trip; 0 where round trips are
// short.
func (p *Pace) roundTripBytes() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.roundTrip < longRoundTrip {
		return 0
	}
	return min(int64(p.mu.roundTrip.Seconds()*p.mu.rate), maxAhead/2)
}

// stream is how long n bytes take when several connections bring them.
func (p *Pace) stream(n int64) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.roundTrip + time.Duration(float64(n)/(fillers*max(p.mu.rate, 1))*float64(time.Second))
}
