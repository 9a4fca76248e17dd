package cachedir

import (
	"errors"
	"math"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/flock"
)

// PruneOptions say what Prune removes.
type PruneOptions struct {
	DataOnly bool                     // keep indexes; drop data, even of layers in use
	Keep     func(digest.Digest) bool // layers to leave alone; nil for none
	DryRun   bool                     // remove nothing, only tell
}

// Pruned tells what Prune removed.
type Pruned struct {
	Layers []digest.Digest
	Bytes  int64
	InUse  int // layers left alone because a process has them open
}

// Prune removes layers that are not pinned, kept, or open in any process. With
// DataOnly it drops only data, and that of open layers too: what they need, they
// fetch again.
func (c *Cache) Prune(opt PruneOptions) (Pruned, error) {
	var p Pruned
	var errs []error
	if c.readOnly != nil {
		return p, c.readOnly
	}
	c.sweep()
	for _, d := range c.List() {
		if pinned(d.Dir) || opt.Keep != nil && opt.Keep(d.Digest) {
			continue
		}
		freed, done, err := c.pruneOne(d, opt)
		errs = append(errs, err)
		if !done {
			p.InUse++
		} else if freed > 0 || !opt.DataOnly {
			p.Layers = append(p.Layers, d.Digest)
		}
		p.Bytes += freed
	}
	return p, errors.Join(errs...)
}

func (c *Cache) pruneOne(d Stored, opt PruneOptions) (freed int64, done bool, err error) {
	if opt.DataOnly {
		if opt.DryRun {
			return d.Data, true, nil
		}
		if freed := c.dropIdle(d, 0); freed > 0 || d.Data == 0 {
			return freed, true, nil
		}
		return c.Evict(d, math.MaxInt64/2, true), true, nil
	}
	done = Alone(d.Dir, func(*flock.File) {
		if !opt.DryRun {
			err = os.RemoveAll(d.Dir)
		}
	})
	if !done || err != nil {
		return 0, done, err
	}
	return d.Data + d.Index, true, nil
}
