package fusefs

import (
	"context"
	"sync"
	"time"

	"github.com/peelfs/peelfs/internal/flight"
)

// libraryImage is one image of a library: a path, and the image that the path named
// when it was opened first. Nodes that the kernel was told of have its number, and
// are good for this image for as long as the mount lasts. When a name moves to
// another image, that one gets a libraryImage of its own.
//
//	unbound -> bound    which image it is was asked; never changes again
//	closed  -> opening -> open    for a request, which does it; others wait
//	opening -> closed   it failed
//	open    -> closed   no request was in it for the idle time
//
// INVARIANT: tree is not nil exactly while open; it is closed only while busy is
// 0. id is set before any node but the root was told.
type libraryImage struct {
	number uint64
	path   string

	opening flight.Group[struct{}, struct{}]
	mu      struct {
		sync.Mutex
		opened
		busy int       // requests in tree
		last time.Time // when one was last
	}
}

// state returns the id of the image, "" while unbound, and whether it is open.
func (s *libraryImage) state() (id string, open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.id, s.mu.tree != nil
}

// opened is an image that is ready: which one it is, its tree, and how it is
// closed.
type opened struct {
	id    string
	tree  *tree
	close func() error
}

// enter takes the image's tree for one request, and opens it if need be: of several
// requests that come at once one opens, and what it fails with is for all of them.
// Leave it with leave.
func (s *libraryImage) enter(ctx context.Context, open func() (opened, error)) (*tree, error) {
	for {
		if t := s.take(); t != nil {
			return t, nil
		}
		if _, err := s.opening.Do(ctx, struct{}{}, func(context.Context) (struct{}, error) { return struct{}{}, s.open(open) }); err != nil {
			return nil, err
		}
	}
}

func (s *libraryImage) take() *tree {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.tree != nil {
		s.mu.busy++
	}
	return s.mu.tree
}

func (s *libraryImage) open(open func() (opened, error)) error {
	if s.current() != nil {
		return nil // since the caller looked
	}
	o, err := open()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.opened, s.mu.last = o, time.Now()
	return nil
}

func (s *libraryImage) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.busy--
	s.mu.last = time.Now()
}

// takeIdle takes the tree out if nobody was in it since then.
func (s *libraryImage) takeIdle(since time.Time) (*tree, func() error) {
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
func (s *libraryImage) current() *tree {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.tree
}
