package fusefs

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

// Requests that come while an image is opened in vain get the failure: each of them
// would otherwise wait for a timeout of its own, one after the other.
func TestAnImageThatCannotBeOpenedIsTriedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s libraryImage
		end, tries := make(chan error), 0
		open := func() (opened, error) { tries++; return opened{}, <-end }
		var requests sync.WaitGroup
		failed := errors.New("no answer")
		for range 8 {
			requests.Go(func() {
				if _, err := s.enter(t.Context(), open); err != failed {
					t.Errorf("got %v", err)
				}
			})
		}
		synctest.Wait()
		end <- failed
		requests.Wait()
		if tries != 1 {
			t.Errorf("%d tries", tries)
		}
		go func() { end <- nil }()
		if _, err := s.enter(t.Context(), func() (opened, error) { return opened{tree: &tree{}}, <-end }); err != nil {
			t.Errorf("the failure stays: %v", err)
		}
	})
}
