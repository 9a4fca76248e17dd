package flock

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
)

func open(t *testing.T, path string) *File {
	t.Helper()
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func try(t *testing.T, what func(off, n int64) (bool, error), off int64, want bool) {
	t.Helper()
	got, err := what(off, 1)
	if err != nil || got != want {
		t.Fatalf("at %d: %v, %v; want %v", off, got, err, want)
	}
}

func TestTwoOpenFilesTakeTurns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	a, b := open(t, path), open(t, path)
	try(t, a.TryLock, 5, true)
	try(t, a.TryLock, 5, true) // one's own lock is no obstacle
	try(t, b.TryLock, 5, false)
	try(t, b.TryRLock, 5, false)
	try(t, b.TryLock, 6, true)
	if err := a.Unlock(5, 1); err != nil {
		t.Fatal(err)
	}
	try(t, b.TryRLock, 5, true)
	try(t, a.TryRLock, 5, true)
	try(t, a.TryLock, 5, false)
	b.Close()
	try(t, a.TryLock, 5, true)
}

func TestLockWaitsUntilContextEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	a, b := open(t, path), open(t, path)
	try(t, a.TryLock, 0, true)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Lock(ctx, 0, 1) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	go func() { done <- b.Lock(context.Background(), 0, 1) }()
	a.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
