package layers

import (
	"github.com/peelfs/peelfs/internal/mapfault"
	"github.com/peelfs/peelfs/layers/cachedir"
	"github.com/peelfs/peelfs/layers/opened"
	"github.com/peelfs/peelfs/layers/spanfile"
)

// maxHeals bounds how often one call starts over because files of the cache were
// damaged under it.
const maxHeals = 3

// healing runs fn, and runs it again when it met a file of the cache that was cut
// short or cannot be read: by then the layer is one that is opened anew. Any
// other error of fn is returned.
func (l *Layer) healing(fn func() error) error {
	for n := 1; ; n++ {
		err := mapfault.Catch(fn)
		if !opened.IsDamage(err) {
			return err
		}
		l.heal()
		if n == maxHeals {
			return err
		}
	}
}

// heal takes the layer out of use if its files in the cache are damaged, and
// removes those that are. The next caller makes them again; a caller that still
// uses the old ones may go on.
func (l *Layer) heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.current.Load()
	if a == nil {
		return
	}
	index, data := a.Index.Sound(), a.Data.Sound()
	if index && data {
		return
	}
	l.store.log.Error("cached files of a layer are damaged and are made again", "layer", l.build.name(), "index", !index, "data", !data)
	l.current.Store(nil)
	l.mu.old = append(l.mu.old, a)
	if l.store.Writable() != nil {
		l.build.shun(index, data)
		return
	}
	if !data && a.Lock != nil {
		if err := spanfile.Remove(a.Dir, cachedir.DataName(a.Index), a.Lock); err != nil {
			l.store.log.Error("damaged data stays", "layer", l.build.name(), "error", err)
		}
	}
	if index {
		return
	}
	if err := cachedir.RemoveIfThere(a.IndexPath()); err != nil {
		l.store.log.Error("a damaged index stays", "layer", l.build.name(), "error", err)
	}
}
