package layers

import (
	"time"

	"github.com/peelfs/peelfs/layers/cachedir"
)

// vainPause is how long a disk on which nothing was left to drop is believed to
// stay full.
const vainPause = 5 * time.Second

// MakeRoom runs write, and again after each layer that could be dropped for as
// long as the disk is full, whatever the bound of the cache.
func (j *janitor) MakeRoom(write func() error) error {
	for {
		err := write()
		if !cachedir.IsFull(err) || !j.dropOne() {
			return err
		}
	}
}

// dropOne drops the data of a layer that no process has open and nobody pinned,
// of those the one that was used longest ago. It reports whether there was one.
func (j *janitor) dropOne() bool {
	j.mu.Lock()
	vain := time.Since(j.mu.vain) < vainPause
	j.mu.Unlock()
	if vain {
		return false
	}
	for _, d := range j.store.stored() {
		if d.data > 0 && !cachedir.Pinned(d.dir) && j.store.dropIdle(d, 0) > 0 {
			j.store.log.Info("the disk is full: data that nobody uses is dropped", "layer", digestOf(d.dir), "bytes", d.data)
			return true
		}
	}
	j.mu.Lock()
	j.mu.vain = time.Now()
	j.mu.Unlock()
	return false
}
