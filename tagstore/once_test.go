package tagstore

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/peelfs/peelfs/internal/errkind"
)

// Everybody who comes while a pull runs gets its result, and it runs once.
func TestOnceShares(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
	}{
		{"success", nil},
		{"failure", errkind.WithHint(errkind.New(errkind.Denied, "no entry"), "log in")},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _ := newStore(t)
			const waiters = 5
			var waiting, runs, shares atomic.Int32
			allWait, release := make(chan struct{}), make(chan struct{})
			wait := func() {
				if waiting.Add(1) == waiters {
					close(allWait)
				}
			}
			var all sync.WaitGroup
			pull := func() error { runs.Add(1); <-release; return c.err }
			for range waiters + 1 {
				all.Go(func() {
					shared, err := s.Once(t.Context(), "k", wait, pull)
					if shared {
						shares.Add(1)
					}
					if (err == nil) != (c.err == nil) || err != nil && (err.Error() != "no entry" || !errkind.Is(err, errkind.Denied) || errkind.Hint(err) != "log in") {
						t.Errorf("got %v", err)
					}
				})
			}
			<-allWait
			close(release)
			all.Wait()
			if runs.Load() != 1 || shares.Load() != waiters {
				t.Errorf("%d runs, %d shared", runs.Load(), shares.Load())
			}
			// Who comes later pulls for itself.
			if shared, _ := s.Once(t.Context(), "k", wait, func() error { return nil }); shared {
				t.Error("an old result was shared")
			}
		})
	}
}

// A pull that its user interrupts passes the turn to one who waits.
func TestOnceInterruptedFirst(t *testing.T) {
	s, _ := newStore(t)
	waits := make(chan struct{})
	first, second := make(chan error, 1), make(chan error, 1)
	ctx, interrupt := context.WithCancel(t.Context())
	started := make(chan struct{})
	go func() {
		_, err := s.Once(ctx, "k", func() {}, func() error { close(started); <-ctx.Done(); return ctx.Err() })
		first <- err
	}()
	<-started
	ran := false
	go func() {
		shared, err := s.Once(t.Context(), "k", func() { close(waits) }, func() error { ran = true; return nil })
		if shared {
			err = errors.Join(err, errors.New("shared"))
		}
		second <- err
	}()
	<-waits
	interrupt()
	wantKind(t, <-first, errkind.Canceled)
	if err := <-second; err != nil || !ran {
		t.Errorf("%v, ran %v", err, ran)
	}
}

// A caller that waits can give up, and the pull goes on.
func TestOnceInterruptedWaiter(t *testing.T) {
	s, _ := newStore(t)
	started, release := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	go func() {
		_, err := s.Once(t.Context(), "k", func() {}, func() error { close(started); <-release; return nil })
		first <- err
	}()
	<-started
	ctx, interrupt := context.WithCancel(t.Context())
	_, err := s.Once(ctx, "k", interrupt, func() error { return nil })
	wantKind(t, err, errkind.Canceled)
	close(release)
	must(t, <-first)
}

func TestOnceKeysDoNotMeet(t *testing.T) {
	s, _ := newStore(t)
	_, err := s.Once(t.Context(), "a", nil, func() error {
		_, err := s.Once(t.Context(), "b", nil, func() error { return nil })
		return err
	})
	must(t, err)
}
