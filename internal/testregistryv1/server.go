// Package testregistryv1 is a registry of Docker's first protocol for tests.
//
// It answers as servers of the time did, byte for byte where that was recorded
// (testdata): their differences are fields of Quirks, and what can go wrong on
// the way is a Fault. It is written from the recordings and shares no code with
// the client, so that the two of them do not merely agree with each other.
package testregistryv1

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// Server is one server, an http.Handler.
type Server struct {
	Store  *Store
	quirks Quirks

	mu struct {
		sync.Mutex
		plans []*plan
		log   []Request
	}
}

// Request is what a server was asked, for tests.
type Request struct {
	Method, Path, Host string
	Header             http.Header
}

// New makes a server over a store.
func New(store *Store, q Quirks) *Server { return &Server{Store: store, quirks: q} }

// Start serves on loopback by plain http until the test ends and returns
// HOST:PORT.
func (s *Server) Start(t testing.TB) string {
	t.Helper()
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

// Requests are all requests so far.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.mu.log...)
}

// Count is the number of requests whose "METHOD path" contains match.
func (s *Server) Count(match string) int {
	n := 0
	for _, r := range s.Requests() {
		if strings.Contains(r.Method+" "+r.Path, match) {
			n++
		}
	}
	return n
}

// call is one request on its way through the server.
type call struct {
	*Server
	w     http.ResponseWriter
	r     *http.Request
	q     Quirks
	fault Fault
	args  []string // what the route's pattern captured
}

type route struct {
	pattern *regexp.Regexp
	serve   func(*call)
	index   bool // belongs to the index
}

const (
	repoName = `([^/]+(?:/[^/]+)?)`
	anyID    = `([^/]+)`
)

// routes are looked through in order.
func routes() []route {
	on := func(p string, index bool, f func(*call)) route {
		return route{regexp.MustCompile("^/v1/" + p + "$"), f, index}
	}
	return []route{
		on(`_ping`, false, (*call).ping),
		on(`repositories/`+repoName+`/images`, true, (*call).images),
		on(`repositories/`+repoName+`/tags`, false, (*call).tags),
		on(`repositories/`+repoName+`/tags/([^/]+)`, false, (*call).tag),
		on(`repositories/`+repoName+`/`, true, (*call).repository),
		on(`images/`+anyID+`/ancestry`, false, (*call).ancestry),
		on(`images/`+anyID+`/json`, false, (*call).json),
		on(`images/`+anyID+`/layer`, false, (*call).layer),
		on(`images/`+anyID+`/checksum`, false, (*call).checksum),
	}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.mu.log = append(s.mu.log, Request{r.Method, r.URL.Path, r.Host, r.Header.Clone()})
	s.mu.Unlock()
	c := &call{Server: s, w: w, r: r, q: s.quirks, fault: s.fault(r)}
	if c.fault.preempt(w, r) {
		return
	}
	c.commonHeaders()
	for _, rt := range routes() {
		m := rt.pattern.FindStringSubmatch(r.URL.Path)
		if m == nil || rt.index && s.quirks.NoIndex {
			continue
		}
		c.args = m[1:]
		rt.serve(c)
		return
	}
	c.fail(http.StatusNotFound, "Not found")
}

func (c *call) commonHeaders() {
	h := c.w.Header()
	if c.q.NoCache {
		h.Set("Cache-Control", "no-cache")
		h.Set("Expires", "-1")
		h.Set("Pragma", "no-cache")
	}
	if c.q.Version != "" && (!c.q.VersionOnce || strings.HasSuffix(c.r.URL.Path, "/_ping")) {
		h.Set("X-Docker-Registry-Version", c.q.Version)
	}
	if c.q.RequestID {
		h.Set("X-Request-Id", "00000000-0000-0000-0000-000000000000")
	}
}

// cacheable are the headers of image routes.
func (c *call) cacheable() {
	if !c.q.Cacheable {
		return
	}
	h := c.w.Header()
	h.Del("Pragma")
	h.Set("Cache-Control", "public, max-age=31536000")
	h.Set("Expires", time.Now().AddDate(1, 0, 0).UTC().Format(http.TimeFormat))
	h.Set("Last-Modified", "Thu, 01 Jan 1970 00:00:00 GMT")
}

// unchanged answers 304, as all of the servers with cache headers do whatever
// date is given.
func (c *call) unchanged() bool {
	if !c.q.Cacheable || c.r.Header.Get("If-Modified-Since") == "" {
		return false
	}
	c.w.WriteHeader(http.StatusNotModified)
	return true
}

// send writes an answer with a type and a length.
func (c *call) send(status int, contentType string, body []byte) {
	h := c.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", fmt.Sprint(len(body)))
	c.fault.override(h)
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body) // the client may be gone
}

func (c *call) sendJSON(status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	if c.q.Spaced {
		b = spaced(b)
	}
	t := c.q.JSON
	if t == "" {
		t = "application/json"
	}
	c.send(status, t, b)
}

// spaced adds the blanks after colons and commas that Python's json writes.
func spaced(b []byte) []byte {
	var out []byte
	quoted := false
	for i, ch := range b {
		if ch == '"' && (i == 0 || b[i-1] != '\\') {
			quoted = !quoted
		}
		out = append(out, ch)
		if !quoted && (ch == ',' || ch == ':') {
			out = append(out, ' ')
		}
	}
	return out
}

// fail sends an error as the server words it.
func (c *call) fail(status int, text string) {
	if c.q.QuietError {
		c.w.Header().Set("Content-Length", "0")
		c.w.WriteHeader(status)
		return
	}
	c.sendJSON(status, map[string]string{"error": text})
}
