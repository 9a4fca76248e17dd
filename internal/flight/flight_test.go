package flight

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var errBad = errors.New("bad")

// work is a piece of work that begins when it is called and ends as it is told.
type work struct {
	calls atomic.Int32
	begun chan struct{}
	end   chan error
}

func newWork() *work { return &work{begun: make(chan struct{}, 8), end: make(chan error, 8)} }

func (w *work) do(ctx context.Context) (int, error) {
	n := int(w.calls.Add(1))
	w.begun <- struct{}{}
	select {
	case err := <-w.end:
		return n, err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func TestAllWaitForOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group[string, int]
		w := newWork()
		var callers sync.WaitGroup
		for range 8 {
			callers.Go(func() {
				if n, err := g.Do(t.Context(), "a", w.do); n != 1 || err != nil {
					t.Errorf("%d, %v", n, err)
				}
			})
		}
		synctest.Wait()
		w.end <- nil
		callers.Wait()
		if n := w.calls.Load(); n != 1 {
			t.Errorf("done %d times", n)
		}
	})
}

func TestAFailureIsForAllThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group[string, int]
		w := newWork()
		var callers sync.WaitGroup
		for range 8 {
			callers.Go(func() {
				if _, err := g.Do(t.Context(), "a", w.do); err != errBad {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		w.end <- errBad
		callers.Wait()
		if n := w.calls.Load(); n != 1 {
			t.Errorf("done %d times", n)
		}
	})
}

func TestKeysAreApart(t *testing.T) {
	var g Group[int, int]
	for i := range 100 {
		if n, err := g.Do(t.Context(), i, func(context.Context) (int, error) { return i, nil }); n != i || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
}

// The one that does the work gives up: of those that wait one takes over, and the
// others wait for that one.
func TestTheOneThatWorksGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := Group[string, int]{KeepError: Forever}
		w := newWork()
		ctx, cancel := context.WithCancel(t.Context())
		var callers sync.WaitGroup
		callers.Go(func() {
			if _, err := g.Do(ctx, "a", w.do); err != context.Canceled {
				t.Errorf("who gave up got %v", err)
			}
		})
		<-w.begun
		for range 4 {
			callers.Go(func() {
				if n, err := g.Do(t.Context(), "a", w.do); n != 2 || err != nil {
					t.Errorf("%d, %v", n, err)
				}
			})
		}
		synctest.Wait()
		cancel()
		<-w.begun
		w.end <- nil
		callers.Wait()
		if n := w.calls.Load(); n != 2 {
			t.Errorf("done %d times", n)
		}
	})
}

// A result is for all, even if nobody was there to take it.
func TestAValueCountsThoughItsMakerGaveUp(t *testing.T) {
	g := Group[string, int]{KeepValue: Forever}
	ctx, cancel := context.WithCancel(t.Context())
	if n, err := g.Do(ctx, "a", func(context.Context) (int, error) { cancel(); return 7, nil }); n != 7 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if n, err := g.Do(t.Context(), "a", newWork().do); n != 7 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

func TestOneThatWaitsGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group[string, int]
		w := newWork()
		var callers sync.WaitGroup
		callers.Go(func() {
			if n, err := g.Do(t.Context(), "a", w.do); n != 1 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
		})
		<-w.begun
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errBad)
		if _, err := g.Do(ctx, "a", w.do); err != errBad {
			t.Errorf("not the cause: %v", err)
		}
		w.end <- nil
		callers.Wait()
		if n := w.calls.Load(); n != 1 {
			t.Errorf("done %d times", n)
		}
	})
}

func TestNobodyIsThereToTakeOver(t *testing.T) {
	g := Group[string, int]{KeepError: Forever}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := newWork()
	if _, err := g.Do(ctx, "a", w.do); err != context.Canceled {
		t.Fatal(err)
	}
	w.end <- nil
	if n, err := g.Do(t.Context(), "a", w.do); n != 2 || err != nil {
		t.Errorf("the next one got %d, %v", n, err)
	}
}

func TestAPanicLeavesTheWorkToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := Group[string, int]{KeepValue: Forever, KeepError: Forever}
		start := make(chan struct{})
		go func() {
			defer func() { recover() }()
			g.Do(t.Context(), "a", func(context.Context) (int, error) { <-start; panic("bad") })
		}()
		synctest.Wait()
		got := make(chan int)
		go func() {
			n, _ := g.Do(t.Context(), "a", func(context.Context) (int, error) { return 3, nil })
			got <- n
		}()
		synctest.Wait()
		close(start)
		if n := <-got; n != 3 {
			t.Errorf("got %d", n)
		}
	})
}

func TestResultsAreKept(t *testing.T) {
	for _, c := range []struct {
		value, err time.Duration // kept
		fails      bool
		later      time.Duration
		calls      int32
	}{
		{0, 0, false, 0, 2},
		{0, 0, true, 0, 2},
		{time.Minute, 0, false, 59 * time.Second, 1},
		{time.Minute, 0, false, time.Minute, 2},
		{time.Minute, 0, true, 0, 2},
		{0, time.Minute, true, 59 * time.Second, 1},
		{0, time.Minute, true, time.Minute, 2},
		{0, time.Minute, false, 0, 2},
		{Forever, 0, false, 1000 * time.Hour, 1},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := Group[string, int]{KeepValue: c.value, KeepError: c.err}
				w := newWork()
				for range 2 {
					var want error
					if c.fails {
						want = errBad
					}
					w.end <- want
					if _, err := g.Do(t.Context(), "a", w.do); err != want {
						t.Error(err)
					}
					<-time.After(c.later)
				}
				if n := w.calls.Load(); n != c.calls {
					t.Errorf("done %d times", n)
				}
			})
		})
	}
}

// Flights that one piece of work ends for several keys.
func TestJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := Group[int, struct{}]{KeepError: time.Second}
		f, mine := g.Join(1)
		if !mine || !g.Has(1) || !g.Running(1) || g.Has(2) || g.Running(2) {
			t.Fatal("a new flight is not under way")
		}
		if other, mine := g.Join(1); other != f || mine {
			t.Error("two flights for one key")
		}
		f.End(struct{}{}, errBad)
		if _, err := f.Wait(t.Context()); err != errBad || g.Running(1) {
			t.Errorf("ended with %v", err)
		}
		if !g.Has(1) {
			t.Error("the failure is forgotten at once")
		}
		<-time.After(time.Second)
		if _, mine := g.Join(1); !mine {
			t.Error("the failure is never forgotten")
		}
	})
}

func TestAGroupForgetsKeys(t *testing.T) {
	g := Group[int, int]{}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range 10000 {
		g.Do(t.Context(), 2*i, func(context.Context) (int, error) { return i, nil })
		g.Do(gone, 2*i+1, func(context.Context) (int, error) { return 0, errBad })
	}
	if n := len(g.mu.flights); n > 100 {
		t.Errorf("%d flights that are over are kept", n)
	}
}

func TestCrew(t *testing.T) {
	type key struct{}
	c := NewCrew()
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, 1))
	cancel()
	looked, ended := make(chan struct{}), make(chan error, 1)
	if !c.Run(ctx, func(ctx context.Context) {
		if ctx.Value(key{}) != 1 {
			t.Error("the values of the caller's context are lost")
		}
		if err := ctx.Err(); err != nil {
			t.Errorf("the caller's end is the work's: %v", err)
		}
		close(looked)
		<-ctx.Done()
		ended <- ctx.Err()
	}) {
		t.Fatal("a new crew is closed")
	}
	<-looked
	c.Close()
	select {
	case err := <-ended:
		if err != context.Canceled {
			t.Error(err)
		}
	default:
		t.Error("Close did not wait")
	}
	if c.Run(t.Context(), func(context.Context) {}) {
		t.Error("a closed crew works")
	}
	c.Close()
}
