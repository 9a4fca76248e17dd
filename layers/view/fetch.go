package view

import (
	"context"
	"fmt"

	"github.com/peelfs/peelfs/layers/index"
)

// missing is the error of deciding code that needs the index of a layer that is
// not at hand. It never leaves the package.
type missing uint32

func (m missing) Error() string { return fmt.Sprintf("index of layer %d is not at hand", uint32(m)) }

// index is the index of a layer, if it is at hand.
func (v *View) index(layer uint32) (*index.Index, error) {
	if x := v.layers[layer].idx.Load(); x != nil && !x.Cut() {
		return x, nil
	}
	return nil, missing(layer)
}

// fetch gets the index of a layer, which may take a download. Failures leave
// nothing behind: the next call tries again.
func (v *View) fetch(ctx context.Context, layer uint32) error {
	s := &v.layers[layer]
	had := s.idx.Load()
	if had != nil && !had.Cut() {
		return nil
	}
	x, err := s.layer.Index(ctx)
	if err != nil {
		return fmt.Errorf("layer %d: %w", layer, err)
	}
	s.idx.CompareAndSwap(had, x) // the first stays: names alias it
	return nil
}

// fetched gets the index that *err says is missing and reports whether to start
// over. Where it cannot, *err becomes the reason.
func (v *View) fetched(ctx context.Context, err *error) bool {
	m, ok := (*err).(missing)
	if !ok {
		return false
	}
	*err = v.fetch(ctx, uint32(m))
	return *err == nil
}

// gather fetches the layers from m down all at once, and calls try whenever one
// has come, until that misses none of them, or one that failed. Fetches that are
// then still under way are left to themselves: gather only waits for their calls
// to notice.
func (v *View) gather(ctx context.Context, m missing, try func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	type outcome struct {
		layer missing
		err   error
	}
	outcomes := make(chan outcome)
	running := 0
	for i := int64(m); i >= 0; i-- {
		if _, err := v.index(uint32(i)); err != nil {
			running++
			go func() { outcomes <- outcome{missing(i), v.fetch(ctx, uint32(i))} }()
		}
	}
	defer func() {
		cancel()
		for ; running > 0; running-- {
			<-outcomes
		}
	}()
	failed := make(map[missing]error)
	for running > 0 {
		o := <-outcomes
		running--
		if o.err != nil {
			failed[o.layer] = o.err
		}
		err := try()
		need, ok := err.(missing)
		if !ok {
			return err
		}
		if failed[need] != nil {
			return failed[need]
		}
	}
	return nil
}
