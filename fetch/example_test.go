package fetch_test

import (
	"context"
	"fmt"
	"os"

	"github.com/peelfs/peelfs/fetch"
)

// Resolving an image reads its manifest and its configuration; its layers are
// read when their blobs are.
func ExampleClient_Resolve() {
	ctx := context.Background()
	cache, err := os.MkdirTemp("", "example-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(cache)
	client, err := fetch.NewClient(fetch.Config{CacheDir: cache})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	ref, err := fetch.ParseReference("oci:../testdata/fixture/images:gzip")
	if err != nil {
		panic(err)
	}
	platform, err := fetch.ParsePlatform("linux/amd64")
	if err != nil {
		panic(err)
	}
	img, err := client.Resolve(ctx, ref, platform)
	if err != nil {
		panic(err)
	}
	fmt.Println(len(img.Layers), "layers for", fetch.FormatPlatform(img.Platform))
	// Output: 4 layers for linux/amd64
}
