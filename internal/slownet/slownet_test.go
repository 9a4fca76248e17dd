package slownet

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

func TestWire(t *testing.T) {
	start := time.Unix(1000, 0)
	w := wire{link: Link{RTT: 40 * time.Millisecond, Bandwidth: 1000}}
	for _, c := range []struct {
		at   time.Duration
		n    int
		want time.Duration
	}{
		{0, 0, 20 * time.Millisecond},
		{0, 500, 520 * time.Millisecond},
		{100 * time.Millisecond, 500, 1020 * time.Millisecond}, // behind the first
		{3 * time.Second, 100, 3120 * time.Millisecond},        // the wire was idle
	} {
		if got := w.due(start.Add(c.at), c.n).Sub(start); got != c.want {
			t.Errorf("%d bytes at %v are due at %v, want %v", c.n, c.at, got, c.want)
		}
	}
	unlimited := wire{}
	if got := unlimited.due(start, 1<<30); got != start {
		t.Errorf("without a limit bytes are due at %v", got)
	}
}

// echo is a server that sends back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() { ln.Close(); work.Wait() })
	return ln.Addr().String()
}

func TestBytesArriveWhole(t *testing.T) {
	p, err := Start(echo(t), Link{RTT: time.Millisecond, Bandwidth: 100 << 20})
	if err != nil {
		t.Fatal(err)
	}
	var clients sync.WaitGroup
	for i := range 4 {
		clients.Go(func() { roundTrip(t, p.Addr(), uint64(i)) })
	}
	clients.Wait()
	want := Stats{Connections: 4, Down: 4 * sent, Up: 4 * sent}
	if got := p.Stats(); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

const sent = 3<<20 + 17

func roundTrip(t *testing.T, addr string, seed uint64) {
	out := make([]byte, sent)
	src := rand.NewChaCha8([32]byte{byte(seed)})
	_, _ = src.Read(out)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	go func() {
		_, _ = c.Write(out)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	back, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(back, out) {
		t.Errorf("%d of %d bytes came back right or wrong, %v", len(back), len(out), err)
	}
}

// Close ends connections that wait, in either direction.
func TestCloseEndsEverything(t *testing.T) {
	p, err := Start(echo(t), Link{RTT: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a byte came out of a closed proxy")
	}
}

// A client that goes away in the middle does not keep the proxy's ends open.
func TestClientGoesAway(t *testing.T) {
	p, err := Start(echo(t), Link{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		_, _ = c.Write(make([]byte, 64<<20)) // fails when the client is closed
	}()
	if _, err := io.ReadFull(c, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	c.Close()
	<-written
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}
