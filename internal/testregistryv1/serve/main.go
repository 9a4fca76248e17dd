// Command serve runs the registry for tests, so that other clients can be tried
// on it:
//
//	go run ./internal/testregistryv1/serve -layout testdata/fixture/images -image gzip -as foo/bar:latest
//
// It prints HOST:PORT and serves until it is killed.
package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/peelfs/peelfs/internal/testregistryv1"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address")
	server := flag.String("server", "python", "whose behaviour: python, python-token, contrib, ooyala or quay")
	layout := flag.String("layout", "testdata/fixture/images", "OCI layout to serve an image of")
	image := flag.String("image", "gzip", "which image of the layout")
	packing := flag.String("packing", "gzip", "how layers are stored: plain, gzip or xz")
	as := flag.String("as", "foo/bar:latest", "NAME:TAG of the image")
	basic := flag.String("basic", "", "USER:PASSWORD to ask for")
	slow := flag.Duration("slow", 0, "pause after each 4 KiB of a layer")
	flag.Parse()
	if err := run(*listen, *server, *layout, *image, testregistryv1.Packing(*packing), *as, *basic, *slow); err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
}

func run(listen, server, layout, image string, packing testregistryv1.Packing, as, basic string, slow time.Duration) error {
	quirks, ok := testregistryv1.Named(server)
	if !ok {
		return fmt.Errorf("no such server: %s", server)
	}
	quirks.RequireBasic = basic
	images, err := testregistryv1.FromLayout(layout, image, packing)
	if err != nil {
		return err
	}
	repo, tag, ok := strings.Cut(as, ":")
	if !ok {
		tag = "latest"
	}
	s := testregistryv1.New(testregistryv1.NewStore(), quirks)
	s.Store.Put(repo, tag, images...)
	if slow > 0 {
		s.Fail("/layer", -1, testregistryv1.Fault{BytePause: slow})
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return (&http.Server{Handler: s, ReadHeaderTimeout: time.Minute}).Serve(l)
}
