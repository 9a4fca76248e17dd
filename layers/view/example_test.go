package view_test

import (
	"context"
	"fmt"

	"github.com/peelfs/peelfs/layers/view"
)

// An image without layers is an empty directory. Layers are those of a
// layers.Store, base first.
func ExampleNew() {
	ctx := context.Background()
	dirs, err := view.EmptyDirs([]string{"proc", "tmp"})
	if err != nil {
		panic(err)
	}
	v := view.New([]view.Layer{dirs}, view.Options{Symlinks: view.Raw})
	root, err := v.Root(ctx)
	if err != nil {
		panic(err)
	}
	list, err := v.ReadDir(ctx, root.Ino)
	if err != nil {
		panic(err)
	}
	for i := range list.Len() {
		fmt.Printf("%o %s\n", list.Attr(i).Mode, list.Name(i))
	}
	// Output:
	// 555 proc
	// 1777 tmp
}
