// Package retry decides whether a request that failed is sent once more, and
// when.
//
// It is the one place for both registry protocols: how often, how long apart, how
// long in all, what a server's Retry-After means, and which failures no
// repetition can mend. An Attempts counts failures since the last progress, so
// that a transfer of any length survives any number of failures as long as it
// gets on.
package retry

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/peelfs/peelfs/internal/errkind"
)

// Policy says how failures that may pass are met. Fields that are zero are taken
// from Default.
type Policy struct {
	Attempts int           // in a row without progress, the first included
	First    time.Duration // the pause after the first failure; it doubles each time
	Max      time.Duration // the longest pause, unless the server asks for more
	Budget   time.Duration // the longest time without progress after which to ask again

	// Sleep waits, for tests; nil waits really.
	Sleep func(ctx context.Context, d time.Duration) error
}

// Default is a policy that survives the restart of a server and the hiccups of a
// network.
func Default() Policy {
	return Policy{Attempts: 6, First: 250 * time.Millisecond, Max: 15 * time.Second, Budget: 90 * time.Second, Sleep: sleep}
}

func (p Policy) orDefault() Policy {
	def := Default()
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
		p.Sleep = def.Sleep
	}
	return p
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return Canceled(ctx)
	case <-t.C:
		return nil
	}
}

// Server is what all attempts at one server have in common. It is safe for
// concurrent use.
type Server interface {
	// Met reports whether the server has ever answered. One that has not is not
	// asked again after a silence, nor where nothing listens.
	Met() bool
	// Retried is told of each repetition before it is sent.
	Retried()
}

// Attempts counts the failures of one request, or of the requests of one
// transfer, since the last progress. It is for one goroutine.
type Attempts struct {
	policy Policy
	server Server
	failed int
	since  time.Time     // the attempt under way began, or got on
	waited time.Duration // in attempts that failed, and between them
}

// Start begins to count; the first attempt begins now.
func (p Policy) Start(server Server) *Attempts {
	return &Attempts{policy: p.orDefault(), server: server, since: time.Now()}
}

// Progress forgives what went wrong so far.
func (a *Attempts) Progress() { a.failed, a.waited, a.since = 0, 0, time.Now() }

// Again waits before the next attempt and returns nil if there is to be one. It
// returns err, at once, if there is to be none: because err will not pass, or
// because the policy allows no more. If ctx ends it returns what ended it.
func (a *Attempts) Again(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return Canceled(ctx)
	}
	if !a.mayPass(err) {
		return err
	}
	a.failed++
	if isDoubtful(err) && a.failed >= doubtfulAttempts {
		return err
	}
	a.waited += time.Since(a.since)
	pause, said := asked(err)
	if !said {
		pause = a.backoff()
	}
	if a.failed >= a.policy.Attempts || a.waited+pause > a.policy.Budget {
		return err
	}
	a.waited += pause
	if err := a.policy.Sleep(ctx, pause); err != nil {
		return err
	}
	a.server.Retried()
	a.since = time.Now()
	return nil
}

// mayPass reports whether the same request may succeed a moment later.
func (a *Attempts) mayPass(err error) bool {
	if IsFinal(err) || !errkind.Of(err).Retryable() && !isDoubtful(err) {
		return false
	}
	return a.server.Met() || !nobodyThere(err) && !errkind.Is(err, errkind.Timeout)
}

// nobodyThere reports whether err says that there is no such host, or nothing
// that listens. Where nobody has answered yet, nobody will a moment later.
func nobodyThere(err error) bool {
	var dns *net.DNSError
	return errors.Is(err, syscall.ECONNREFUSED) || errors.As(err, &dns) && dns.IsNotFound
}

// backoff doubles with each failure; half of it is random, so that clients that
// failed together do not come back together.
func (a *Attempts) backoff() time.Duration {
	d := a.policy.First << min(a.failed-1, 20)
	d = min(d, a.policy.Max)
	return d/2 + rand.N(d/2+1)
}

// Canceled is the error of a context that has ended, with its kind.
func Canceled(ctx context.Context) error {
	cause := context.Cause(ctx)
	return errkind.Wrap(errkind.Of(cause), cause)
}

// final is an error that no repetition mends, whatever its kind.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// Final marks an error as one that no repetition mends although its kind says
// that it may pass: a redirect loop, an answer without sense. Final(nil) is nil.
func Final(err error) error {
	if err == nil {
		return nil
	}
	return errkind.Wrap(errkind.Of(err), final{err})
}

// IsFinal reports whether err, or an error in its chain, was marked by Final.
func IsFinal(err error) bool {
	var f final
	return errors.As(err, &f)
}

// doubtful is an error that may be that of something on the way.
type doubtful struct{ error }

func (d doubtful) Unwrap() error { return d.error }

// doubtfulAttempts is how often something doubtful is asked for.
const doubtfulAttempts = 3

// Doubtful marks an error as one that may come from something on the way, such as
// a proxy or a captive portal: it is worth a few attempts whatever its kind, and no
// more even where its kind says so. Doubtful(nil) is nil.
func Doubtful(err error) error {
	if err == nil {
		return nil
	}
	return errkind.Wrap(errkind.Of(err), doubtful{err})
}

func isDoubtful(err error) bool {
	var d doubtful
	return errors.As(err, &d)
}

// later is an error of a server that said when to come back.
type later struct {
	error
	after time.Duration
}

func (l later) Unwrap() error { return l.error }

// WithAfter adds to err what a server's Retry-After says, if anything.
func WithAfter(err error, h http.Header) error {
	if d, ok := parseAfter(h.Get("Retry-After"), time.Now()); ok {
		return errkind.Wrap(errkind.Of(err), later{err, d})
	}
	return err
}

// After is how long the server that err comes from wants to be left alone; 0 if it
// does not say.
func After(err error) time.Duration {
	d, _ := asked(err)
	return d
}

func asked(err error) (time.Duration, bool) {
	var l later
	if errors.As(err, &l) {
		return l.after, true
	}
	return 0, false
}

// parseAfter reads seconds or a date (RFC 9110, 10.2.3).
func parseAfter(v string, now time.Time) (time.Duration, bool) {
	if s, err := strconv.Atoi(v); err == nil && s >= 0 {
		return time.Duration(min(s, 24*3600)) * time.Second, true
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, t.Sub(now)), true
	}
	return 0, false
}
