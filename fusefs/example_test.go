package fusefs_test

import (
	"fmt"
	"os"

	"github.com/peelfs/peelfs/fusefs"
	"github.com/peelfs/peelfs/layers/view"
)

// A mount is served until somebody unmounts it. This one needs /dev/fuse, and says
// nothing else where that is missing.
func ExampleMount() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		panic(err)
	}
	defer os.Remove(dir)
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		fmt.Println("unmounted")
		return
	} else {
		f.Close()
	}
	server, err := fusefs.Mount(dir, view.New(nil, view.Options{}), fusefs.Options{FSName: "peelfs:example"})
	if err != nil {
		panic(err)
	}
	if err := server.Unmount(false); err != nil {
		panic(err)
	}
	<-server.Done()
	fmt.Println("unmounted")
	// Output: unmounted
}
