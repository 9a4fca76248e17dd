package view

import "github.com/peelfs/peelfs/layers/index"

// Ino is an inode number. It names a place in an immutable layer index, so it
// is the same in every process, and can always be resolved again.
//
//	narrow  bits 31..25 layer, from 1 for the base   24..0 entry
//	wide    bits 61..40 layer, from 1                39..38 0    31..0 entry
//	own     bit 62, then as wide with 39..38 = which marker
//
// Numbers are narrow where layer < 128 and entry < 2^25, so that 32-bit programs
// can stat and list; a stack of 128 layers or more is wide throughout. No narrow
// number reaches 2^32 and no wide one is below 2^40. RootIno is 1. The numbers
// from 2 to 2^25-1, and all with bit 63, are free for a file system that shows
// files of its own beside the view.
//
// A directory has the number of the topmost entry in which it appears, a file
// that of its entry, which all its names share. A symbolic link whose text
// depends on the place has a number for each name: that of the name's entry.
type Ino uint64

// RootIno is the root directory of the view.
const RootIno Ino = 1

// The layout of inode numbers, as Ino draws it. A file system that has to fit them
// into fewer bits takes it from here.
const (
	NarrowShift = 25 // of the layer in a narrow number; smaller numbers are no view's
	WideShift   = 40 // of the layer in a wide one
	OwnShift    = 62 // of the bit of a layer tree
	MarkerShift = 38 // of the marker
	MarkerMask  = 1<<2 - 1
	EntryMask   = 1<<32 - 1 // of the entry in a wide number
)

const (
	narrowLayers = 1 << 7 // layers from 1 are below it
	layerTreeBit = Ino(1) << OwnShift
)

// A marker is a file of a layer tree that its index keeps as a flag.
type marker uint32

const (
	noMarker      marker = iota
	opaqueMarker         // ".wh..wh..opq" in the directory entry
	replaceMarker        // ".wh.NAME" beside the directory entry NAME
)

// place is an entry of a layer's index; layer 0 is the base. The entry 0 of any
// layer is the root.
type place struct{ layer, entry uint32 }

// nowhere is the place of attributes that no layer gives.
var nowhere = place{layer: 1<<32 - 1}

// key is p as a key of a table.
func (p place) key() uint64 { return uint64(p.layer)<<32 | uint64(p.entry) }

// number is the inode number of the place p in the merged view.
func (v *View) number(p place) Ino {
	switch {
	case p.entry == 0:
		return RootIno
	case len(v.layers) >= narrowLayers || p.entry >= 1<<NarrowShift:
		return Ino(p.layer+1)<<WideShift | Ino(p.entry)
	}
	return Ino(p.layer+1)<<NarrowShift | Ino(p.entry)
}

// layerTreeNumber is the inode number of a place, or of a marker at it, in the
// tree of its layer.
func layerTreeNumber(p place, m marker) Ino {
	return layerTreeBit | Ino(p.layer+1)<<WideShift | Ino(m)<<MarkerShift | Ino(p.entry)
}

// inLayerTree reports whether the number is one of a layer tree.
func (ino Ino) inLayerTree() bool { return ino&layerTreeBit != 0 }

// locate is the place that ino names; ErrStale if it cannot be one. It does not
// look whether the index has such an entry.
func (v *View) locate(ino Ino) (place, marker, error) {
	var p place
	m := noMarker
	switch {
	case ino == RootIno:
		return place{}, noMarker, nil
	case ino >= 1<<WideShift:
		p = place{uint32(ino &^ layerTreeBit >> WideShift), uint32(ino)}
		m = marker(ino >> MarkerShift & MarkerMask)
	default:
		p = place{uint32(ino >> NarrowShift), uint32(ino & (1<<NarrowShift - 1))}
	}
	p.layer--
	if uint64(p.layer) >= uint64(len(v.layers)) {
		return place{}, noMarker, ErrStale
	}
	if ino.inLayerTree() && ino == layerTreeNumber(p, m) || !ino.inLayerTree() && ino == v.number(p) {
		return p, m, nil
	}
	return place{}, noMarker, ErrStale
}

// entryOf is the entry at p, ErrStale if its layer has none such.
func (v *View) entryOf(p place) (index.Entry, error) {
	x, err := v.index(p.layer)
	if err != nil {
		return index.Entry{}, err
	}
	if int(p.entry) >= x.Len() {
		return index.Entry{}, ErrStale
	}
	return x.Entry(p.entry), nil
}
