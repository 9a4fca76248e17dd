package fusefs

import (
	"context"
	"sync"
	"time"
)

// slot is one image of a library: a path, and the image that it named. Nodes that
// the kernel was told of have the slot's number, and are good for this image for
// as long as the mount lasts. So an image that a name has moved to gets a slot of
// its own.
//
//	unbound -> bound    which image it is was asked; never changes again
//	closed  -> opening -> open    for a request, which does it; others wait
//	opening -> closed   it failed
//	open    -> closed   no request was in it for the idle time
//
// INVARIANT: tree is not nil exactly while open; it is closed only while busy is
// 0. id is set before any node but the root was told.
type slot struct {
	number uint64
	path   string

	mu struct {
		sync.Mutex
		id      string
		tree    *tree
		close   func() error
		opening chan struct{} // closed when an attempt is over
		busy    int           // requests in tree
		last    time.Time     // when one was last
	}
}

// id is the image, "" while unbound; open says whether it is ready.
func (s *slot) state() (id string, open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.id, s.mu.tree != nil
}

// enter takes the image's tree for one request, and opens it if need be. Of
// several that come at once one opens. Leave it with leave.
func (s *slot) enter(ctx context.Context, open func() (string, *tree, func() error, error)) (*tree, error) {
	for {
		t, wait, mine := s.claim()
		if t != nil {
			return t, nil
		}
		if mine {
			if err := s.open(open); err != nil {
				return nil, err
			}
			continue
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *slot) claim() (t *tree, wait chan struct{}, mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.tree != nil {
		s.mu.busy++
		return s.mu.tree, nil, false
	}
	if s.mu.opening != nil {
		return nil, s.mu.opening, false
	}
	s.mu.opening = make(chan struct{})
	return nil, s.mu.opening, true
}

func (s *slot) open(open func() (string, *tree, func() error, error)) error {
	id, t, closer, err := open()
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.mu.opening)
	s.mu.opening = nil
	if err == nil {
		s.mu.id, s.mu.tree, s.mu.close, s.mu.last = id, t, closer, time.Now()
	}
	return err
}

func (s *slot) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.busy--
	s.mu.last = time.Now()
}

// takeIdle takes the tree out if nobody was in it since then.
func (s *slot) takeIdle(since time.Time) (*tree, func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.tree == nil || s.mu.busy > 0 || s.mu.last.After(since) {
		return nil, nil
	}
	t, closer := s.mu.tree, s.mu.close
	s.mu.tree, s.mu.close = nil, nil
	return t, closer
}

// current is the tree, if it is open. The caller must not wait with it.
func (s *slot) current() *tree {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.tree
}
