// Package slownet puts a long and narrow wire between two ends on loopback.
//
// A Proxy forwards TCP connections. Each direction of each connection is a wire
// of its own: a byte leaves it half a round trip after it entered, and no faster
// than the bandwidth allows. Opening a connection costs one round trip more, as
// a handshake does. Bytes are neither lost nor changed.
package slownet

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A Link says what the wire is like.
type Link struct {
	RTT       time.Duration // round trip; zero for none
	Bandwidth int64         // bytes a second, for each connection and direction; zero for no limit
}

// A wire computes when bytes come out. It is for one goroutine.
type wire struct {
	link Link
	free time.Time // when the wire has sent all that it was given
}

// due is when n bytes that enter at now have all come out.
func (w *wire) due(now time.Time, n int) time.Time {
	if w.free.Before(now) {
		w.free = now
	}
	if w.link.Bandwidth > 0 {
		w.free = w.free.Add(time.Duration(int64(n) * int64(time.Second) / w.link.Bandwidth))
	}
	return w.free.Add(w.link.RTT / 2)
}

// Proxy forwards connections to a target until Close.
type Proxy struct {
	target string
	link   Link
	ln     net.Listener
	stop   chan struct{}
	work   sync.WaitGroup

	connections, down, up atomic.Int64

	mu struct {
		sync.Mutex
		open map[net.Conn]struct{} // nil after Close
	}
}

// Start listens on a free port of loopback for connections to target.
func Start(target string, link Link) (*Proxy, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{target: target, link: link, ln: ln, stop: make(chan struct{})}
	p.mu.open = map[net.Conn]struct{}{}
	p.work.Go(p.accept)
	return p, nil
}

// Addr is where to connect.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

// Stats are what went through so far.
type Stats struct {
	Connections int64
	Down, Up    int64 // bytes from the target, and to it
}

// Stats tells what went through so far.
func (p *Proxy) Stats() Stats {
	return Stats{p.connections.Load(), p.down.Load(), p.up.Load()}
}

// Close ends all connections and waits until nothing of the proxy runs.
func (p *Proxy) Close() error {
	err := p.ln.Close()
	p.mu.Lock()
	open := p.mu.open
	p.mu.open = nil
	p.mu.Unlock()
	close(p.stop)
	for c := range open {
		c.Close()
	}
	p.work.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		client, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.work.Go(func() { p.serve(client) })
	}
}

// keep notes an open connection; false if the proxy is closed already.
func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.open == nil {
		return false
	}
	p.mu.open[c] = struct{}{}
	return true
}

func (p *Proxy) drop(c net.Conn) {
	p.mu.Lock()
	delete(p.mu.open, c)
	p.mu.Unlock()
	c.Close()
}

func (p *Proxy) serve(client net.Conn) {
	defer p.drop(client)
	if !p.keep(client) || !p.pause(time.Now().Add(p.link.RTT)) {
		return
	}
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer p.drop(server)
	if !p.keep(server) {
		return
	}
	p.connections.Add(1)
	var both sync.WaitGroup
	both.Go(func() { p.carry(server, client, &p.up) })
	both.Go(func() { p.carry(client, server, &p.down) })
	both.Wait()
}

// A parcel is bytes on the wire, and when they come out.
type parcel struct {
	data []byte
	due  time.Time
}

const (
	parcelSize = 16 << 10
	onTheWire  = 256 // parcels: 4 MiB, more than fits on any link of interest
)

// carry moves bytes from src to dst until src ends.
func (p *Proxy) carry(dst, src net.Conn, count *atomic.Int64) {
	parcels := make(chan parcel, onTheWire)
	var sender sync.WaitGroup
	sender.Go(func() { p.deliver(dst, src, parcels, count) })
	w := wire{link: p.link}
	for {
		buf := make([]byte, parcelSize)
		n, err := src.Read(buf)
		if n > 0 {
			parcels <- parcel{buf[:n], w.due(time.Now(), n)}
		}
		if err != nil {
			break
		}
	}
	close(parcels)
	sender.Wait()
}

// deliver writes parcels when they are due, then passes the end of the stream
// on. If dst takes no more it closes both, and takes the parcels that are left:
// the reader of src must come to its end.
func (p *Proxy) deliver(dst, src net.Conn, parcels <-chan parcel, count *atomic.Int64) {
	whole := true
	for next := range parcels {
		if !whole {
			continue
		}
		if whole = p.pause(next.due); whole {
			n, err := dst.Write(next.data)
			count.Add(int64(n))
			whole = err == nil
		}
		if !whole {
			dst.Close()
			src.Close()
		}
	}
	if half, ok := dst.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // a connection that is gone has said its end
	}
}

// pause waits until a time has come; false if the proxy closes before.
func (p *Proxy) pause(until time.Time) bool {
	wait := time.Until(until)
	if wait <= 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-p.stop:
		return false
	}
}
