package view

import (
	"context"

	"github.com/peelfs/peelfs/layers/index"
)

// Stored is a regular file of one layer and what became of it in the view.
type Stored struct {
	Size  int64
	Shown bool // under one of its names at least
	By    int  // the lowest layer above that hides its first name; -1 if none does
	Again bool // that layer has a file of the same size in its place

	x     *index.Index
	entry uint32
}

// Path is the path by which the layer has the file first, with a leading slash.
// Each call puts it together anew.
func (s Stored) Path() string { return "/" + s.x.Path(s.entry) }

// Census tells of every regular file that a layer has content of, once whatever
// its names, in the order of its index. It asks all layers from that one up.
func (v *View) Census(ctx context.Context, layer int, fn func(Stored) error) error {
	for i := len(v.layers) - 1; i >= layer; i-- {
		if err := v.fetch(ctx, uint32(i)); err != nil {
			return err
		}
	}
	x, err := v.index(uint32(layer))
	if err != nil {
		return err
	}
	for id := range uint32(x.Len()) {
		e := x.Entry(id)
		if e.Kind != index.File || e.Flags&index.HardLink != 0 {
			continue
		}
		if id%censusBreath == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		s, err := v.stored(x, place{uint32(layer), id}, &e)
		if err != nil {
			return err
		}
		if err := fn(s); err != nil {
			return err
		}
	}
	return nil
}

// censusBreath is after how many entries a census looks whether it is wanted.
const censusBreath = 1 << 10

func (v *View) stored(x *index.Index, p place, e *index.Entry) (Stored, error) {
	s := Stored{Size: e.Size, By: -1, x: x, entry: p.entry}
	path := x.Path(p.entry)
	for layer := p.layer + 1; int(layer) < len(v.layers); layer++ {
		_, above, a, err := v.probe(layer, path)
		if err != nil {
			return s, err
		}
		if a != passes {
			s.By = int(layer)
			s.Again = a == shows && above.Kind == index.File && above.Size == e.Size
			break
		}
	}
	if s.By < 0 {
		s.Shown = true
		return s, nil
	}
	names, err := v.countNames(p)
	if err != nil {
		return s, err
	}
	borrowed, err := v.borrowedBy(p)
	s.Shown = names+borrowed > 0
	return s, err
}
