package retry

import (
	"context"
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/peelfs/peelfs/internal/errkind"
)

// server is one that was met or not, and counts repetitions.
type server struct {
	met     bool
	retries int
}

func (s *server) Met() bool { return s.met }
func (s *server) Retried()  { s.retries++ }

// The budget is of all time without progress, not only of the pauses.
func TestBudgetCountsAttempts(t *testing.T) {
	slept := 0
	policy := Policy{Budget: time.Hour, Sleep: func(context.Context, time.Duration) error { slept++; return nil }}
	a := policy.Start(&server{met: true})
	failure := errkind.New(errkind.Timeout, "silence")
	a.since = a.since.Add(-40 * time.Minute)
	if err := a.Again(t.Context(), failure); err != nil || slept != 1 {
		t.Fatalf("after 40 minutes of an hour: %v, %d pauses", err, slept)
	}
	a.since = a.since.Add(-40 * time.Minute)
	if err := a.Again(t.Context(), failure); err == nil || slept != 1 {
		t.Fatalf("after 80 minutes of an hour: %v, %d pauses", err, slept)
	}
	a.Progress()
	if err := a.Again(t.Context(), failure); err != nil {
		t.Fatalf("after progress: %v", err)
	}
}

// A failure that will not pass is not repeated, others as often as the policy says.
func TestWhatIsRepeated(t *testing.T) {
	overload := errkind.New(errkind.Unavailable, "busy")
	refused := errkind.Wrap(errkind.Unavailable, syscall.ECONNREFUSED)
	silence := errkind.New(errkind.Timeout, "silence")
	for name, c := range map[string]struct {
		err  error
		met  bool
		want int
	}{
		"overload":                          {overload, true, 5},
		"overload at first contact":         {overload, false, 5},
		"marked as final":                   {Final(overload), true, 0},
		"final below other words":           {errkind.WithHint(fmt.Errorf("x: %w", Final(overload)), "y"), true, 0},
		"doubtful":                          {Doubtful(errkind.New(errkind.Corrupt, "too short")), true, 2},
		"doubtful, and busy":                {Doubtful(overload), true, 2},
		"denied":                            {errkind.New(errkind.Denied, "no"), true, 0},
		"nothing listens":                   {refused, true, 5},
		"nothing listens, at first contact": {refused, false, 0},
		"silence":                           {silence, true, 5},
		"silence at first contact":          {silence, false, 0},
	} {
		s := &server{met: c.met}
		a := Policy{Sleep: func(context.Context, time.Duration) error { return nil }}.Start(s)
		for a.Again(t.Context(), c.err) == nil {
		}
		if s.retries != c.want {
			t.Errorf("%s: repeated %d times, want %d", name, s.retries, c.want)
		}
		if errkind.Of(Final(c.err)) != errkind.Of(c.err) {
			t.Errorf("%s: marking it changed its kind", name)
		}
	}
}

func TestPauses(t *testing.T) {
	var pauses []time.Duration
	p := Policy{Sleep: func(_ context.Context, d time.Duration) error { pauses = append(pauses, d); return nil }}
	a := p.Start(&server{met: true})
	busy := errkind.New(errkind.Unavailable, "busy")
	for _, err := range []error{busy, busy, WithAfter(busy, http.Header{"Retry-After": {"7"}})} {
		if err := a.Again(t.Context(), err); err != nil {
			t.Fatal(err)
		}
	}
	if len(pauses) != 3 || pauses[0] > 250*time.Millisecond || pauses[0] < 125*time.Millisecond ||
		pauses[1] < 250*time.Millisecond || pauses[2] != 7*time.Second {
		t.Errorf("pauses %v", pauses)
	}
	if err := a.Again(t.Context(), WithAfter(busy, http.Header{"Retry-After": {"3600"}})); err == nil {
		t.Error("waited for longer than the budget")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Again(ctx, busy); !errkind.Is(err, errkind.Canceled) {
		t.Errorf("after the end of the context: %v", err)
	}
}

func TestPausesGrowAndAreBounded(t *testing.T) {
	var all []time.Duration
	p := Policy{Attempts: 100, First: time.Second, Max: 4 * time.Second, Budget: 20 * time.Second,
		Sleep: func(_ context.Context, d time.Duration) error { all = append(all, d); return nil }}
	a := p.Start(&server{met: true})
	for a.Again(t.Context(), errkind.New(errkind.Unavailable, "busy")) == nil {
	}
	var sum time.Duration
	for i, d := range all {
		longest := min(time.Second<<i, 4*time.Second)
		if d < longest/2 || d > longest {
			t.Errorf("pause %d is %v, want %v to %v", i, d, longest/2, longest)
		}
		sum += d
	}
	if sum > 20*time.Second || len(all) < 5 {
		t.Errorf("%d pauses, %v in all", len(all), sum)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]string{
		"": "0s false", "7": "7s true", "-1": "0s false", "soon": "0s false", "999999999": "24h0m0s true",
		now.Add(time.Minute).Format(http.TimeFormat): "1m0s true", now.Add(-time.Minute).Format(http.TimeFormat): "0s true",
	} {
		d, ok := parseAfter(text, now)
		if got := fmt.Sprint(d, ok); got != want {
			t.Errorf("%q = %s, want %s", text, got, want)
		}
	}
}
