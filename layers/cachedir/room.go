package cachedir

import "time"

// vainPause is how long a disk on which nothing was left to drop is believed to
// stay full.
const vainPause = 5 * time.Second

// MakeRoom runs write, and again after each layer that could be dropped for as
// long as the disk is full, whatever the bound of the cache.
func (j *Janitor) MakeRoom(write func() error) error {
	for {
		err := write()
		if !IsFull(err) || !j.dropOne() {
			return err
		}
	}
}

// dropOne drops the data of a layer that no process has open and nobody pinned,
// of those the one that was used longest ago. It reports whether there was one.
func (j *Janitor) dropOne() bool {
	j.mu.Lock()
	vain := time.Since(j.mu.vain) < vainPause
	j.mu.Unlock()
	if vain {
		return false
	}
	for _, d := range j.cache.List() {
		if d.Data > 0 && !pinned(d.Dir) && j.cache.dropIdle(d, 0) > 0 {
			j.cache.log.Info("the disk is full: data that nobody uses is dropped", "layer", d.Digest, "bytes", d.Data)
			return true
		}
	}
	j.mu.Lock()
	j.mu.vain = time.Now()
	j.mu.Unlock()
	return false
}
