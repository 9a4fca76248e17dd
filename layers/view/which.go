package view

import (
	"context"

	"github.com/peelfs/peelfs/layers/index"
)

// Act is what one layer does to a path.
type Act uint8

const (
	Nothing   Act = iota // the layer says nothing about the path
	Has                  // it has the object
	Implied              // it has something below, so that a directory exists
	Traces               // it has only markers below
	Whiteout             // it deletes the path, or a directory above it (At)
	Opaque               // it empties a directory above the path (At) of what lower layers have
	Replaced             // it has something else in place of a directory above (At)
	Redundant            // it has a hard link whose target does not exist
)

// Effect is what one layer does to a path.
type Effect struct {
	Layer   int // 0 is the base
	Act     Act
	Kind    index.Kind // of what it has
	At      string     // the path where it acts: the path itself or one above
	Hides   bool       // nothing of the path in lower layers shows through
	Decides bool       // this is the object that the view shows
	Hidden  bool       // some layer above hides what this one does
}

// Which tells for each layer, top first, what it does to a path. Symbolic links
// above the last element are followed; real is the path after that.
func (v *View) Which(ctx context.Context, path string) (real string, effects []Effect, err error) {
	panic("todo")
}
