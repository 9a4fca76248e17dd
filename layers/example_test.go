package layers_test

import (
	"fmt"
	"os"

	"github.com/peelfs/peelfs/layers"
)

// A store is a directory that processes of one user share. It is opened before
// layers are asked for, and closed when nothing reads them any more.
func ExampleOpenStore() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	store, err := layers.OpenStore(dir, layers.Options{Size: 1 << 30})
	if err != nil {
		panic(err)
	}
	defer store.Close()
	fmt.Println(len(store.List()), "layers are here")
	// Output: 0 layers are here
}
