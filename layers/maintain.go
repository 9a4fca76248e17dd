package layers

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/layers/cachedir"
)

// Cached describes a layer as the cache has it.
type Cached struct {
	cachedir.Stored
	InUse  bool   // some process has it open
	Status Status // what its index and data say; State is Cold without an index
}

// List tells what is in the cache, least recently used first.
func (s *Store) List() []Cached {
	var all []Cached
	for _, d := range s.cache.List() {
		c := Cached{Stored: d, InUse: s.cache.InUse(d), Status: Status{State: Cold}}
		if a, err := s.cache.Look(d.Dir); err == nil {
			tell(a, &c.Status)
			a.Close()
		}
		all = append(all, c)
	}
	return all
}

// The words of maintenance are those of the cache directory.
type (
	PruneOptions = cachedir.PruneOptions // what Prune removes
	Pruned       = cachedir.Pruned       // what Prune removed
	Problem      = cachedir.Problem      // a layer whose cached bytes are wrong
	Verified     = cachedir.Verified     // what Verify found
)

// Prune removes layers that are not pinned, kept, or open in any process. With
// DataOnly it drops only data, and that of open layers too: what they need, they
// fetch again.
func (s *Store) Prune(opt PruneOptions) (Pruned, error) { return s.cache.Prune(opt) }

// Verify reads everything in the cache again and compares it with its checksums.
// Wrong bytes are dropped, so that they are fetched anew when they are needed, and
// told to report; in a cache that cannot be written they stay and are only told.
// Other processes may use the cache at the same time: a span that one of them is
// changing is waited for, until ctx ends.
func (s *Store) Verify(ctx context.Context, report func(Problem)) (Verified, error) {
	return s.cache.Verify(ctx, report)
}

// Pin makes Prune leave the layer d alone, Unpin takes that back.
func (s *Store) Pin(d digest.Digest) error { return s.cache.Pin(d) }

// Unpin undoes Pin. It does not matter if the layer was not pinned.
func (s *Store) Unpin(d digest.Digest) error { return s.cache.Unpin(d) }

// Learned is the digest that the layer with an alias turned out to have when it
// was read; "" if it was not read here.
func (s *Store) Learned(alias string) digest.Digest { return s.cache.Learned(alias) }
