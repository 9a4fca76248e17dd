package cachedir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/flock"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/spanfile"
)

// Problem is a layer whose cached bytes are wrong.
type Problem struct {
	Digest digest.Digest
	Spans  []int // those that are wrong; none if the index is
	Detail string
}

// Verified tells what Verify found to be right, or impossible to say.
type Verified struct {
	Bytes int64 // read and found right

	// Unknown counts spans of which nobody kept a checksum, as programs before
	// this one left them. They are dropped, and fetched anew when they are needed.
	Unknown int
}

// Verify reads everything in the cache again and compares it with its checksums.
// Wrong bytes are dropped, so that they are fetched anew when they are needed, and
// told to report; in a cache that cannot be written they stay and are only told.
// Other processes may use the cache at the same time: a span that one of them is
// changing is waited for, until ctx ends.
func (c *Cache) Verify(ctx context.Context, report func(Problem)) (v Verified, err error) {
	for _, d := range c.List() {
		if d.Index == 0 {
			continue
		}
		if err := c.verifyLayer(ctx, d.Dir, &v, report); err != nil {
			return v, err
		}
	}
	return v, nil
}

func (c *Cache) verifyLayer(ctx context.Context, dir string, v *Verified, report func(Problem)) error {
	a, err := c.Look(dir)
	if errkind.Is(err, errkind.Corrupt) {
		if c.readOnly != nil {
			report(Problem{Digest: digestOf(dir), Detail: "the index is damaged, and stays since the cache cannot be written"})
			return nil
		}
		var removed bool
		if removed, err = c.removeIndex(ctx, dir); removed && err == nil {
			report(Problem{Digest: digestOf(dir), Detail: "the index is damaged; it is removed"})
		}
		return err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil // somebody removes the layer
	}
	if err != nil {
		return err
	}
	defer a.Close()
	var bad []int
	for i := range a.Index.Spans() {
		found, err := verifySpan(ctx, a, i, v)
		if err != nil {
			return err
		}
		if found == Wrong {
			bad = append(bad, i)
		}
	}
	if len(bad) > 0 {
		end := "they are dropped"
		if c.readOnly != nil {
			end = "they stay since the cache cannot be written"
		}
		report(Problem{digestOf(dir), bad, fmt.Sprintf("%d of %d spans are wrong; %s", len(bad), a.Index.Spans(), end)})
	}
	return nil
}

// removeIndex removes the index in dir if it is damaged, which it may no longer
// be when nobody else makes one.
func (c *Cache) removeIndex(ctx context.Context, dir string) (bool, error) {
	lock, err := flock.Open(filepath.Join(dir, LockName))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer lock.Close()
	if err := lock.Lock(ctx, MakeLock, 1); err != nil {
		return false, err
	}
	idx, err := index.Open(filepath.Join(dir, IndexName))
	if err == nil {
		return false, idx.Close()
	}
	if !errkind.Is(err, errkind.Corrupt) {
		return false, nil
	}
	return true, RemoveIfThere(filepath.Join(dir, IndexName))
}

// verifySpan compares span i with its checksum under its lock, and confirms or
// drops it. It returns Unknown as well if the span is not on disk.
func verifySpan(ctx context.Context, a *Files, i int, v *Verified) (Verdict, error) {
	h, err := lockStored(ctx, a, i)
	if h == nil {
		return Unknown, err
	}
	defer h.Release()
	found, sum := a.Check(i)
	switch found {
	case Right:
		v.Bytes += a.Index.Span(i).OutLen
		if a.Data.Suspect(i) {
			err = h.ConfirmUnread(sum)
		}
	case Unknown:
		v.Unknown++
		fallthrough
	case Wrong:
		h.Drop()
	}
	return found, err
}

// lockStored takes the lock of span i as soon as nobody else has it; it returns
// nil if the span is not on disk, or no longer.
func lockStored(ctx context.Context, a *Files, i int) (*spanfile.Held, error) {
	stored := func() bool { return a.Data.Has(i) || a.Data.Suspect(i) }
	for pause := time.Millisecond; stored(); pause = min(2*pause, 20*time.Millisecond) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		h, err := a.Data.TryLock(i)
		if err != nil || h != nil && stored() {
			return h, err
		}
		h.Release()
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil, ctx.Err()
}
