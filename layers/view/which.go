package view

import (
	"context"
	gopath "path"
	"strings"

	"github.com/peelfs/peelfs/layers/index"
)

// Act is what one layer does to a path.
type Act uint8

// The acts of a layer on a path, at the path itself or at a directory above it.
const (
	Nothing  Act = iota // the layer says nothing about the path
	Has                 // it has the object
	Implied             // it has something below, so that there is a directory
	Traces              // it has only markers below
	Whiteout            // it deletes what lower layers have
	Opaque              // it empties a directory of what lower layers have
	Replaced            // it has something else in place of a directory
	Dangling            // it has a hard link to nothing, which is left out
	numActs
)

var actNames = [numActs]string{"nothing", "has", "implied", "traces", "whiteout", "opaque", "replaced", "dangling"}

// String is the act's name in messages.
func (a Act) String() string {
	if a >= numActs {
		return "invalid"
	}
	return actNames[a]
}

// Effect is what one layer does to a path.
type Effect struct {
	Layer   int // 0 is the base
	Act     Act
	Kind    index.Kind // of what it has: Link for a hard link to a lower layer
	At      string     // where it acts: the path itself or one above
	Hides   bool       // of lower layers, nothing at the path shows
	Decides bool       // this entry gives the attributes that the view shows
	Hidden  bool       // a layer above hides what this one has
}

// Which tells for each layer, top first, what it does to a path. Symbolic links
// above the last element are followed, as far as the view has them; real is the
// path after that. It asks every layer.
func (v *View) Which(ctx context.Context, path string) (real string, effects []Effect, err error) {
	if len(path) > maxPath {
		return "", nil, tooLong(path)
	}
	real, err = v.realPath(ctx, path)
	if err != nil {
		return "", nil, err
	}
	for {
		effects, err := v.effects(strings.TrimPrefix(real, "/"))
		m, ok := err.(missing)
		if !ok {
			return real, effects, err
		}
		if err := v.gather(ctx, m, func() error { return v.anyMissing(m) }); err != nil {
			return "", nil, err
		}
	}
}

// anyMissing returns the first layer from m down whose index is not at hand.
func (v *View) anyMissing(m missing) error {
	for layer := int64(m); layer >= 0; layer-- {
		if _, err := v.index(uint32(layer)); err != nil {
			return err
		}
	}
	return nil
}

// realPath resolves all of a path but its last element. A path
// that the view does not have stays as it is.
func (v *View) realPath(ctx context.Context, path string) (string, error) {
	clean := gopath.Join("/", path)
	dir, name := gopath.Split(strings.TrimRight(path, "/"))
	if name == "." || name == ".." {
		dir, name = path, "" // behind a symbolic link it leads elsewhere
	}
	w := v.walker(RootIno)
	err := w.enter(ctx, dir)
	if leadsNowhere(err) {
		return clean, nil
	}
	return w.join(name), err
}

// effects is what each layer does to a clean path, top first.
func (v *View) effects(path string) ([]Effect, error) {
	effects := make([]Effect, 0, len(v.layers))
	hidden, directory := false, false
	for layer := len(v.layers) - 1; layer >= 0; layer-- {
		e, err := v.effect(uint32(layer), path)
		if err != nil {
			return nil, err
		}
		isDir := e.Kind == index.Dir && (e.Act == Has || e.Act == Implied)
		e.Hidden = e.Act != Nothing && (hidden || directory && e.Act == Has && !isDir)
		hidden = hidden || e.Hides
		directory = directory || isDir
		effects = append(effects, e)
	}
	if i := decider(effects); i >= 0 {
		effects[i].Decides = true
	}
	return effects, nil
}

// decider is the effect that gives the attributes: of a directory the topmost
// explicit one, else the topmost; -1 if the path does not exist.
func decider(effects []Effect) int {
	first := -1
	for i, e := range effects {
		switch {
		case e.Hidden || e.Hides && e.Act == Whiteout:
			return first
		case e.Act == Has:
			return i
		case e.Act == Implied && first < 0:
			first = i
		}
	}
	return first
}

// effect is what one layer does to a path.
func (v *View) effect(layer uint32, path string) (Effect, error) {
	t, err := v.trace(layer, path)
	if err != nil {
		return Effect{}, err
	}
	out := Effect{Layer: int(layer)}
	if t.emptied >= 0 {
		out.Act, out.At, out.Hides = Opaque, "/"+path[:t.emptied], true
		if t.by&index.Replaces != 0 {
			out.Act = Whiteout
		}
	}
	switch {
	case t.missing:
		return out, nil
	case t.e.Kind != index.Dir:
		return v.effectOf(out, t.at, &t.e, "/"+path[:t.end], t.end == len(path))
	}
	out.At, out.Kind, out.Act = "/"+path, index.Dir, Has
	replaces := t.e.Flags&index.Replaces != 0
	out.Hides = out.Hides || replaces
	switch {
	case t.e.Flags&index.MarkersOnly != 0 && replaces:
		out.Act, out.Kind = Whiteout, 0
	case t.e.Flags&index.MarkersOnly != 0:
		out.Act = Traces
	case t.e.Flags&index.Implied != 0:
		out.Act = Implied
	}
	return out, nil
}

// effectOf is the effect on a path of e, which is no directory; last if it is at
// the path itself.
func (v *View) effectOf(out Effect, p place, e *index.Entry, at string, last bool) (Effect, error) {
	a, err := v.weigh(p, e)
	if err != nil {
		return Effect{}, err
	}
	out.At = at
	switch {
	case a == gone:
		out.Act, out.Hides = Whiteout, true
	case a == passes:
		out.Act, out.Kind = Dangling, e.Kind
	case last:
		out.Act, out.Kind, out.Hides = Has, e.Kind, true
	default:
		out.Act, out.Kind, out.Hides = Replaced, e.Kind, true
	}
	return out, nil
}
