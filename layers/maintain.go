package layers

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/zeebo/xxh3"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/flock"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/spanfile"
)

// pinName is the file that marks a layer as one that Prune leaves alone.
const pinName = "pinned"

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
		c := Cached{Digest: digestOf(d.dir), State: Cold, Index: d.index, Data: d.data, Used: d.used, Pinned: pinned(d.dir)}
		c.InUse = !withLease(d.dir, func() {})
		if a := s.open(d.dir); a != nil {
			a.describe(&c.Status)
			c.State, c.Format = c.Status.State, c.Status.Format
			a.close()
		}
		all = append(all, c)
	}
	return all
}

// has reports whether the layer d has an index in the cache.
func (s *Store) has(d digest.Digest) bool {
	dir, err := s.dirOf(d)
	if err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join(dir, indexName))
	return err == nil
}

// open opens what is in a layer's directory, without a lease; nil if it cannot.
func (s *Store) open(dir string) *acquired {
	idx, err := index.Open(filepath.Join(dir, indexName))
	if err != nil {
		return nil
	}
	lock, err := flock.Open(filepath.Join(dir, lockName))
	if err != nil {
		idx.Close()
		return nil
	}
	h := idx.Header()
	data, err := spanfile.Open(dir, dataName(idx), idx.Spans(), h.SpaceSize, lock)
	if err != nil {
		idx.Close()
		lock.Close()
		return nil
	}
	return &acquired{dir: dir, idx: idx, data: data, lock: lock}
}

func digestOf(dir string) digest.Digest {
	return digest.NewDigestFromEncoded(digest.Algorithm(filepath.Base(filepath.Dir(dir))), filepath.Base(dir))
}

func pinned(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, pinName))
	return err == nil
}

// Pin makes Prune leave the layer d alone, Unpin takes that back.
func (s *Store) Pin(d digest.Digest) error {
	dir, err := s.dirOf(d)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return cacheError(s.dir, err)
	}
	if err := os.WriteFile(filepath.Join(dir, pinName), nil, 0o600); err != nil {
		return writeError(err)
	}
	return nil
}

// Unpin undoes Pin. It does not matter if the layer was not pinned.
func (s *Store) Unpin(d digest.Digest) error {
	dir, err := s.dirOf(d)
	if err != nil {
		return err
	}
	return removeIfThere(filepath.Join(dir, pinName))
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
	sweep(filepath.Join(s.dir, "tmp"))
	for _, d := range s.stored() {
		dg := digestOf(d.dir)
		if pinned(d.dir) || opt.Keep != nil && opt.Keep(dg) {
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
	done = withLease(d.dir, func() {
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

// Verify reads everything in the cache again and compares it with its digests.
// What is wrong is dropped, so that it is fetched anew when it is needed, and
// told to report. Verified counts the bytes that are right.
func (s *Store) Verify(ctx context.Context, report func(Problem)) (verified int64, err error) {
	for _, d := range s.stored() {
		if d.index == 0 {
			continue
		}
		n, err := s.verifyLayer(ctx, d.dir, report)
		verified += n
		if err != nil {
			return verified, err
		}
	}
	return verified, nil
}

func (s *Store) verifyLayer(ctx context.Context, dir string, report func(Problem)) (int64, error) {
	a := s.open(dir)
	if a == nil {
		report(Problem{Digest: digestOf(dir), Detail: "the index is damaged; it is removed"})
		return 0, removeIfThere(filepath.Join(dir, indexName))
	}
	defer a.close()
	var n int64
	var bad []int
	for i := range a.idx.Spans() {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		if !a.data.Has(i) && !a.data.Suspect(i) {
			continue
		}
		if ok, err := a.verifySpan(i); err != nil {
			return n, err
		} else if !ok {
			a.data.Doubt(i)
			bad = append(bad, i)
			continue
		}
		a.data.Confirm(i)
		n += a.idx.Span(i).OutLen
	}
	if len(bad) > 0 {
		report(Problem{digestOf(dir), bad, fmt.Sprintf("%d of %d spans are wrong; they are dropped", len(bad), a.idx.Spans())})
	}
	return n, nil
}

// verifySpan reads a span of any length.
func (a *acquired) verifySpan(i int) (bool, error) {
	s := a.idx.Span(i)
	sum, strong := xxh3.New(), sha256.New()
	buf := make([]byte, min(s.OutLen, 1<<20))
	for off := s.Out; off < s.Out+s.OutLen; off += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), s.Out+s.OutLen-off)]
		if err := a.data.ReadRaw(buf, off); err != nil {
			return false, errkind.New(errkind.Internal, "read of the cache: %w", err)
		}
		sum.Write(buf)
		if s.DigestOf == index.DigestOutput {
			strong.Write(buf)
		}
	}
	if s.DigestOf == index.DigestOutput {
		return [32]byte(strong.Sum(nil)) == s.Digest, nil
	}
	return s.Sum == 0 || sum.Sum64() == s.Sum, nil
}
