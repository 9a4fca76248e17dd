package layers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/flock"
	"github.com/peelfs/peelfs/layers/cachedir"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/spanfile"
)

// Cached describes a layer as the cache has it. Sizes are in bytes.
type Cached struct {
	Digest digest.Digest `json:"digest"`
	Status Status        `json:"-"`
	State  State         `json:"state"`
	Format string        `json:"format"`
	Index  int64         `json:"index"`  // length of the index file
	Data   int64         `json:"data"`   // disk space of the data
	Used   time.Time     `json:"used"`   // when it was opened last
	InUse  bool          `json:"inUse"`  // some process has it open
	Pinned bool          `json:"pinned"` // Prune leaves it alone
}

// List tells what is in the cache, least recently used first.
func (s *Store) List() []Cached {
	var all []Cached
	for _, d := range s.stored() {
		c := Cached{Digest: digestOf(d.dir), State: Cold, Index: d.index, Data: d.data, Used: d.used, Pinned: cachedir.Pinned(d.dir)}
		c.InUse = !cachedir.Alone(d.dir, func(*flock.File) {})
		if a, err := cachedir.Look(d.dir); err == nil {
			tell(a, &c.Status)
			c.State, c.Format = c.Status.State, c.Status.Format
			a.Close()
		}
		all = append(all, c)
	}
	return all
}

// has reports whether the layer d has an index in the cache.
func (s *Store) has(d digest.Digest) bool {
	dir, err := s.cache.LayerDir(d)
	if err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join(dir, cachedir.IndexName))
	return err == nil
}

// Pin makes Prune leave the layer d alone, Unpin takes that back.
func (s *Store) Pin(d digest.Digest) error { return s.cache.Pin(d) }

// Unpin undoes Pin. It does not matter if the layer was not pinned.
func (s *Store) Unpin(d digest.Digest) error { return s.cache.Unpin(d) }

func digestOf(dir string) digest.Digest {
	return digest.NewDigestFromEncoded(digest.Algorithm(filepath.Base(filepath.Dir(dir))), filepath.Base(dir))
}

// PruneOptions say what Prune removes.
type PruneOptions struct {
	DataOnly bool                     // keep indexes; drop data, even of layers in use
	Keep     func(digest.Digest) bool // layers to leave alone; nil for none
	DryRun   bool                     // remove nothing, only tell
}

// Pruned tells what Prune removed.
type Pruned struct {
	Layers []digest.Digest `json:"layers"`
	Bytes  int64           `json:"bytes"`
	InUse  int             `json:"inUse"` // layers left alone because a process has them open
}

// Prune removes layers that are not pinned, kept, or open in any process. With
// DataOnly it drops only data, and that of open layers too: what they need, they
// fetch again.
func (s *Store) Prune(opt PruneOptions) (Pruned, error) {
	var p Pruned
	var errs []error
	s.cache.Sweep()
	for _, d := range s.stored() {
		dg := digestOf(d.dir)
		if cachedir.Pinned(d.dir) || opt.Keep != nil && opt.Keep(dg) {
			continue
		}
		freed, done, err := s.pruneOne(d, opt)
		errs = append(errs, err)
		if !done {
			p.InUse++
		} else if freed > 0 || !opt.DataOnly {
			p.Layers = append(p.Layers, dg)
		}
		p.Bytes += freed
	}
	return p, errors.Join(errs...)
}

func (s *Store) pruneOne(d storedLayer, opt PruneOptions) (freed int64, done bool, err error) {
	if opt.DataOnly {
		if opt.DryRun {
			return d.data, true, nil
		}
		if freed := s.dropIdle(d, 0); freed > 0 || d.data == 0 {
			return freed, true, nil
		}
		return s.evict(d, math.MaxInt64/2, true), true, nil
	}
	done = cachedir.Alone(d.dir, func(*flock.File) {
		if !opt.DryRun {
			err = os.RemoveAll(d.dir)
		}
	})
	if !done || err != nil {
		return 0, done, err
	}
	return d.data + d.index, true, nil
}

// Problem is a layer whose cached bytes are wrong.
type Problem struct {
	Digest digest.Digest `json:"digest"`
	Spans  []int         `json:"spans"` // those that are wrong; none if the index is
	Detail string        `json:"problem"`
}

// Verified tells what Verify found to be right, or impossible to say.
type Verified struct {
	Bytes int64 // read and found right

	// Unknown counts spans of which nobody kept a checksum, as programs before
	// this one left them. They are dropped, and fetched anew when they are needed.
	Unknown int
}

// Verify reads everything in the cache again and compares it with its checksums.
// What is wrong is dropped, so that it is fetched anew when it is needed, and
// told to report. Other processes may use the cache at the same time: a span that
// one of them is changing is waited for, until ctx ends.
func (s *Store) Verify(ctx context.Context, report func(Problem)) (v Verified, err error) {
	for _, d := range s.stored() {
		if d.index == 0 {
			continue
		}
		if err := s.verifyLayer(ctx, d.dir, &v, report); err != nil {
			return v, err
		}
	}
	return v, nil
}

func (s *Store) verifyLayer(ctx context.Context, dir string, v *Verified, report func(Problem)) error {
	a, err := cachedir.Look(dir)
	if errkind.Is(err, errkind.Corrupt) {
		var removed bool
		if removed, err = s.removeIndex(ctx, dir); removed && err == nil {
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
		if found == cachedir.Wrong {
			bad = append(bad, i)
		}
	}
	if len(bad) > 0 {
		report(Problem{digestOf(dir), bad, fmt.Sprintf("%d of %d spans are wrong; they are dropped", len(bad), a.Index.Spans())})
	}
	return nil
}

// removeIndex removes the index in dir if it is damaged, which it may no longer
// be when nobody else makes one.
func (s *Store) removeIndex(ctx context.Context, dir string) (bool, error) {
	lock, err := flock.Open(filepath.Join(dir, cachedir.LockName))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer lock.Close()
	if err := lock.Lock(ctx, cachedir.MakeLock, 1); err != nil {
		return false, err
	}
	idx, err := index.Open(filepath.Join(dir, cachedir.IndexName))
	if err == nil {
		return false, idx.Close()
	}
	if !errkind.Is(err, errkind.Corrupt) {
		return false, nil
	}
	return true, cachedir.RemoveIfThere(filepath.Join(dir, cachedir.IndexName))
}

// verifySpan compares span i with its checksum under its lock, and confirms or
// drops it. What it returns is unknown as well if the span is not on disk.
func verifySpan(ctx context.Context, a *cachedir.Files, i int, v *Verified) (cachedir.Verdict, error) {
	h, err := lockStored(ctx, a, i)
	if h == nil {
		return cachedir.Unknown, err
	}
	defer h.Release()
	found, sum := a.Check(i)
	switch found {
	case cachedir.Right:
		v.Bytes += a.Index.Span(i).OutLen
		if a.Data.Suspect(i) {
			err = h.ConfirmUnread(sum)
		}
	case cachedir.Unknown:
		v.Unknown++
		fallthrough
	case cachedir.Wrong:
		h.Drop()
	}
	return found, err
}

// lockStored takes the lock of span i as soon as nobody else has it; it returns
// nil if the span is not on disk, or no longer.
func lockStored(ctx context.Context, a *cachedir.Files, i int) (*spanfile.Held, error) {
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
