package registry

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/peelfs/peelfs/fetch/transport"
	"github.com/peelfs/peelfs/internal/errkind"
)

// Policy says how failures that may pass are met. The zero value is replaced by
// DefaultPolicy.
type Policy struct {
	Attempts int           // in a row without progress, the first included
	First    time.Duration // the pause after the first failure; it doubles each time
	Max      time.Duration // the longest pause, unless the server asks for more
	Budget   time.Duration // the longest time without progress after which to ask again

	// Sleep waits, for tests; nil waits really.
	Sleep func(ctx context.Context, d time.Duration) error
}

// DefaultPolicy survives the restart of a server and the hiccups of a network.
func DefaultPolicy() Policy {
	return Policy{Attempts: 6, First: 250 * time.Millisecond, Max: 15 * time.Second, Budget: 90 * time.Second}
}

func (p Policy) orDefault() Policy {
	def := DefaultPolicy()
	if p.Attempts <= 0 {
		p.Attempts = def.Attempts
	}
	if p.First <= 0 {
		p.First = def.First
	}
	if p.Max <= 0 {
		p.Max = def.Max
	}
	if p.Budget <= 0 {
		p.Budget = def.Budget
	}
	if p.Sleep == nil {
		p.Sleep = sleep
	}
	return p
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return errkind.Wrap(errkind.Of(context.Cause(ctx)), context.Cause(ctx))
	case <-t.C:
		return nil
	}
}

// attempts counts the failures since the last progress.
type attempts struct {
	policy  Policy
	retried func()      // called before each repetition
	met     func() bool // whether the registry has ever answered
	failed  int
	since   time.Time     // the attempt under way began, or got on
	waited  time.Duration // in attempts that failed, and between them
}

// progress forgives what went wrong so far.
func (a *attempts) progress() { a.failed, a.waited, a.since = 0, 0, time.Now() }

// again waits before the next attempt. It returns err, at once, if there is to
// be none: because err will not pass, or patience is at its end.
func (a *attempts) again(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return canceled(ctx)
	}
	if !errkind.Of(err).Retryable() || !a.met() && (transport.NobodyThere(err) || errkind.Is(err, errkind.Timeout)) {
		return err
	}
	a.failed++
	a.waited += time.Since(a.since)
	pause, asked := retryAfter(err)
	if !asked {
		pause = a.backoff()
	}
	if a.failed >= a.policy.Attempts || a.waited+pause > a.policy.Budget {
		return err
	}
	a.waited += pause
	if serr := a.policy.Sleep(ctx, pause); serr != nil {
		return serr
	}
	a.retried()
	a.since = time.Now()
	return nil
}

// backoff doubles with each failure; half of it is random, so that clients that
// failed together do not come back together.
func (a *attempts) backoff() time.Duration {
	d := a.policy.First << min(a.failed-1, 20)
	d = min(d, a.policy.Max)
	return d/2 + rand.N(d/2+1)
}

func canceled(ctx context.Context) error {
	cause := context.Cause(ctx)
	return errkind.Wrap(errkind.Of(cause), cause)
}

// later is an error of a server that said when to come back.
type later struct {
	error
	after time.Duration
}

func (l later) Unwrap() error { return l.error }

// parseRetryAfter reads seconds or a date (RFC 9110, 10.2.3).
func parseRetryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	v := h.Get("Retry-After")
	if v == "" {
		return 0, false
	}
	if s, err := strconv.Atoi(v); err == nil && s >= 0 {
		return time.Duration(min(s, 24*3600)) * time.Second, true
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, t.Sub(now)), true
	}
	return 0, false
}
