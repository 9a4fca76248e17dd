package main

import (
	"io"
	"net/http"
	"testing"
)

func TestRegistryTellsWhatItSent(t *testing.T) {
	reg, err := startRegistry()
	if err != nil {
		t.Fatal(err)
	}
	defer reg.close()
	digest := reg.add("a page", "text/plain", []byte("0123456789"))
	reg.tags["1"] = digest

	fetch := func(path, ranges string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+reg.addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if ranges != "" {
			req.Header.Set("Range", ranges)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	for _, c := range []struct {
		path, ranges string
		status       int
		body         string
	}{
		{"/v2/demo/hello/manifests/1", "", 200, "0123456789"},
		{"/v2/demo/hello/blobs/" + digest, "bytes=2-4", 206, "234"},
	} {
		if status, body := fetch(c.path, c.ranges); status != c.status || body != c.body {
			t.Errorf("GET %s %s: %d %q", c.path, c.ranges, status, body)
		}
	}
	for _, path := range []string{"/v2/demo/hello/manifests/9", "/v2/demo/hello/referrers/" + digest, "/v1/_ping"} {
		if status, _ := fetch(path, ""); status != 404 {
			t.Errorf("GET %s: status %d", path, status)
		}
	}
	log, mark := reg.since(0)
	if len(log) != 2 || mark != 2 || log[1].String() != "GET a page, 3 bytes" {
		t.Errorf("the log is %v", log)
	}
	if log, _ := reg.since(mark); len(log) != 0 {
		t.Errorf("since(%d) repeats %v", mark, log)
	}
}

func TestBuildImages(t *testing.T) {
	if testing.Short() {
		t.Skip("packs the Go toolchain")
	}
	t.Chdir("../..")
	reg := &registry{blobs: map[string]blob{}, tags: map[string]string{}}
	set, err := buildImages(reg, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if len(set.layers) != 7 || set.size < 30e6 {
		t.Errorf("%d layers, %d bytes", len(set.layers), set.size)
	}
	if len(reg.tags) != 2 || len(reg.blobs) != 7+1+2*2 {
		t.Errorf("%d tags and %d blobs; the second image should add one layer, one config, one manifest", len(reg.tags), len(reg.blobs))
	}
}
