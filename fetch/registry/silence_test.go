package registry

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peelfs/peelfs/fetch/image"
	"github.com/peelfs/peelfs/fetch/login"
	"github.com/peelfs/peelfs/fetch/transport"
	"github.com/peelfs/peelfs/fetch/transport/retry"
	"github.com/peelfs/peelfs/internal/errkind"
)

// silent accepts connections and never says a word. It counts them.
func silent(t *testing.T) (addr string, met *atomic.Int64) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	met = &atomic.Int64{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			met.Add(1)
			defer conn.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String(), met
}

// Whoever has never answered is not asked again after a silence that was as long
// as patience allows.
func TestSilenceAtFirstContact(t *testing.T) {
	addr, met := silent(t)
	tr, err := transport.New(transport.Options{IOTimeout: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := image.ParseReference(addr + "/app:1")
	if err != nil {
		t.Fatal(err)
	}
	finder, err := login.NewFinder(login.Options{Anonymous: true})
	if err != nil {
		t.Fatal(err)
	}
	policy := retry.Policy{Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}
	repo := Open(&Shared{Transport: tr, Credentials: finder, Policy: policy}, ref)
	if _, err := repo.Head(t.Context(), "1"); !errkind.Is(err, errkind.Timeout) || errkind.Hint(err) == "" {
		t.Errorf("%v, hint %q", err, errkind.Hint(err))
	}
	if n := met.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}
