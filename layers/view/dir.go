package view

import "github.com/peelfs/peelfs/layers/index"

// Dir is the complete listing of a directory, in the order of the names' bytes,
// without "." and "..". It is immutable and safe for concurrent use.
type Dir struct{}

// Len is the number of names.
func (d *Dir) Len() int { panic("todo") }

// Entry is the i-th name with its inode number and kind. The caller must not
// change the name.
func (d *Dir) Entry(i int) (name []byte, ino Ino, kind index.Kind) { panic("todo") }

// Attr is what Lookup returns for the i-th name. It never waits.
func (d *Dir) Attr(i int) Attr { panic("todo") }
