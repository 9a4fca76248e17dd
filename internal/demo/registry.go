package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"
)

// registry serves images from memory on loopback and remembers what it was
// asked for. It knows as much of the distribution API as a pull needs.
type registry struct {
	addr   string
	server *http.Server
	done   chan struct{}
	blobs  map[string]blob // by digest
	tags   map[string]string

	mu struct {
		sync.Mutex
		log []answer
	}
}

// A blob is something that the registry serves, with a name for people.
type blob struct {
	label     string
	mediaType string
	data      []byte
}

// An answer is one line of the registry's log.
type answer struct {
	method string
	label  string
	bytes  int64
	pieces int // 0 or 1: all at once
}

func (a answer) String() string {
	if a.method == http.MethodHead {
		return "HEAD " + a.label
	}
	text := fmt.Sprintf("GET %s, %s", a.label, size(a.bytes))
	if a.pieces > 1 {
		text += fmt.Sprintf(" in %d pieces", a.pieces)
	}
	return text
}

// startRegistry listens on a free port of loopback until close.
func startRegistry() (*registry, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &registry{
		addr:  ln.Addr().String(),
		done:  make(chan struct{}),
		blobs: map[string]blob{},
		tags:  map[string]string{},
	}
	r.server = &http.Server{Handler: http.HandlerFunc(r.serve)}
	go func() {
		defer close(r.done)
		_ = r.server.Serve(ln) // ends with close
	}()
	return r, nil
}

func (r *registry) close() {
	_ = r.server.Close()
	<-r.done
}

// add makes data available and returns its digest. Only before the first request.
func (r *registry) add(label, mediaType string, data []byte) string {
	sum := sha256.Sum256(data)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	r.blobs[digest] = blob{label, mediaType, data}
	return digest
}

// serve answers /v2/, /v2/NAME/manifests/REF and /v2/NAME/blobs/DIGEST.
func (r *registry) serve(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	rest, isV2 := strings.CutPrefix(req.URL.Path, "/v2/")
	if !isV2 || req.Method != http.MethodGet && req.Method != http.MethodHead {
		http.NotFound(w, req)
		return
	}
	if rest == "" {
		return
	}
	digest := path.Base(rest)
	if kind := path.Base(path.Dir(rest)); kind != "manifests" && kind != "blobs" {
		http.NotFound(w, req)
		return
	}
	if named, ok := r.tags[digest]; ok {
		digest = named
	}
	b, ok := r.blobs[digest]
	if !ok {
		http.NotFound(w, req)
		return
	}
	w.Header().Set("Docker-Content-Digest", digest)
	w.Header().Set("Content-Type", b.mediaType)
	counted := &countingWriter{ResponseWriter: w}
	http.ServeContent(counted, req, "", time.Time{}, bytes.NewReader(b.data))
	r.remember(answer{method: req.Method, label: b.label, bytes: counted.n})
}

func (r *registry) remember(a answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.log = append(r.mu.log, a)
}

// since returns the log from the line mark on, and the mark for the next call.
func (r *registry) since(mark int) ([]answer, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]answer(nil), r.mu.log[mark:]...), len(r.mu.log)
}

type countingWriter struct {
	http.ResponseWriter
	n int64
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.n += int64(n)
	return n, err
}

// size writes n bytes as people say it.
func size(n int64) string {
	switch {
	case n >= 10e6:
		return fmt.Sprintf("%d MB", n/1e6)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d bytes", n)
}
