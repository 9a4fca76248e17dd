package main

import (
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/internal/testregistry"
)

// cmdOdd pushes what the scripts about looking into images need:
//
//	app:loop    two links that lead to each other
//	app:odd     app:1 with something of every kind changed
//	app:multi   app:1 for amd64 and app:2 for arm64
func cmdOdd(ts *testscript.TestScript, neg bool, args []string) {
	r := stateOf(ts).registry(ts, args[0])
	r.Push("app:loop", testregistry.Image{Layers: testregistry.Layers(
		tartest.Of(tartest.Symlink("a", "b"), tartest.Symlink("b", "a")))})
	odd := image("one")
	odd.Layers = append(odd.Layers, testregistry.Layers(tartest.Of(
		tartest.File("etc/os-release", "NAME=other\n", tartest.Mode(0o600), tartest.Owner(5, 6)),
		tartest.File("etc/middle", "muddle\n", tartest.Xattr("user.x", "y")),
		tartest.Symlink("link", "/elsewhere"), tartest.Dir("top/"), tartest.Whiteout("big"),
		tartest.File("new/sub/deep", strings.Repeat("x", 2000)),
	))...)
	r.Push("app:odd", odd)
	arm := image("two")
	arm.Platform = ocispec.Platform{OS: "linux", Architecture: "arm64"}
	r.PushIndex("app:multi", r.Push("app", image("one")), r.Push("app", arm))
	r.Forget()
}
