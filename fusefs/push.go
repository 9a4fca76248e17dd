package fusefs

import (
	"sync/atomic"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/peelfs/peelfs/internal/mapfault"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/view"
)

const (
	pushSize   = 32 << 10 // bytes of the largest file that is pushed
	pushWindow = 64       // files to be ahead at most
	pushFirst  = 4        // files to be ahead at first
	pushGap    = 16       // how far behind the pushed ones the reader may read next
)

// cachePusher puts small files into the kernel's cache before they are read. Reading
// many of them costs two wake-ups each, more than the copying.
//
// Children of a directory have consecutive inode numbers within a layer, in the
// order in which they are listed. So a reader that goes through a directory is
// seen by the numbers of its reads alone: each lies a little behind the last.
// Only for such a one is anything pushed, and further ahead as it goes on.
//
// Invariant: what is pushed is what a READ would have answered. It is pushed
// only while all data is local, so that a guess never costs a download.
type cachePusher struct {
	tree   *tree
	server *fuse.Server
	wake   chan view.Ino // of the latest read; holds one
	count  atomic.Uint64 // files pushed

	// Owned by run.
	last, next view.Ino // last read by the reader; first that is not pushed
	window     view.Ino // 0: no reader goes through a directory
	buf        []byte
}

func newCachePusher(t *tree) *cachePusher {
	return &cachePusher{tree: t, wake: make(chan view.Ino, 1), buf: make([]byte, pushSize)}
}

// saw notes a READ of a whole small file. It never waits.
func (p *cachePusher) saw(ino view.Ino) {
	select {
	case p.wake <- ino:
	default:
	}
}

// run pushes until the session ends.
func (p *cachePusher) run() {
	for {
		select {
		case ino := <-p.wake:
			p.adapt(ino)
			err := mapfault.Catch(func() error {
				p.push()
				return nil
			})
			if err != nil {
				p.tree.heal(err)
			}
		case <-p.tree.closing:
			return
		}
	}
}

// adapt moves the window to the latest read.
func (p *cachePusher) adapt(ino view.Ino) {
	switch {
	case ino <= p.last || ino-p.last > p.window+pushGap:
		p.window, p.next = 0, ino+1
	case p.window == 0:
		p.window = pushFirst
	default:
		p.window = min(2*p.window, pushWindow)
	}
	p.last, p.next = ino, max(p.next, ino+1)
}

// push sends files up to the window. It stops early when a newer READ is waiting.
func (p *cachePusher) push() {
	for p.window > 0 && p.next <= p.last+p.window && len(p.wake) == 0 {
		if !p.pushOne(p.next) {
			return
		}
		p.next++
	}
}

// pushOne says whether to go on behind ino. The kernel refuses what it has never
// heard of: that is the end of what the reader listed.
func (p *cachePusher) pushOne(ino view.Ino) bool {
	r := p.tree.begin(nil, &fuse.InHeader{NodeId: uint64(ino)})
	defer r.finish()
	a, err := p.tree.view.Attr(r, ino)
	if err != nil {
		return false
	}
	if a.Kind != index.File || a.Size == 0 || a.Size > pushSize {
		return true
	}
	data := p.buf[:a.Size]
	if n, err := p.tree.view.ReadAt(r, ino, data, 0); err != nil || int64(n) != a.Size {
		return false
	}
	if !p.server.InodeNotifyStoreCache(p.tree.numbers.out(uint64(ino)), 0, data).Ok() {
		return false
	}
	p.count.Add(1)
	return true
}
