package main

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/peelfs/peelfs/internal/testregistryv1"
)

// cmdRegistryV1 starts a registry of the first protocol that behaves as the named
// server, with the fixture's image as foo/bar:latest. Stopped like others.
func cmdRegistryV1(ts *testscript.TestScript, neg bool, args []string) {
	quirks, ok := testregistryv1.Named(args[1])
	if !ok {
		ts.Fatalf("no server is called %s", args[1])
	}
	images, err := testregistryv1.FromLayout(filepath.Join(ts.Getenv("FIXTURE"), "images"), "gzip", testregistryv1.Gzip)
	ts.Check(err)
	store := testregistryv1.NewStore()
	store.Put("foo/bar", "latest", images...)
	srv := httptest.NewServer(testregistryv1.New(store, quirks))
	ts.Defer(srv.Close)
	stateOf(ts).old[args[0]] = srv
	ts.Setenv(args[0], strings.TrimPrefix(srv.URL, "http://"))
	ts.Setenv("OLDID", images[len(images)-1].ID)
}

// cmdOldSchema pushes the fixture as fixture:old, by its manifest of schema 1.
func cmdOldSchema(ts *testscript.TestScript, neg bool, args []string) {
	r := stateOf(ts).registry(ts, args[0])
	r.PushLayout("fixture", filepath.Join(ts.Getenv("FIXTURE"), "images"))
	raw, err := os.ReadFile(filepath.Join(ts.Getenv("FIXTURE"), "schema1-manifest.json"))
	ts.Check(err)
	r.PushManifest("fixture:old", "application/vnd.docker.distribution.manifest.v1+prettyjws", raw)
	r.Forget()
}
