// Package testregistry is a registry on loopback for tests and demonstrations.
//
// It keeps everything in memory, writes down every request that it gets, and
// misbehaves exactly as it was told to. Manifests and uploads are the work of
// go-containerregistry's registry; blobs are served here, so that ranges are
// what RFC 9110 says.
package testregistry

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Auth is how a registry lets clients in.
type Auth int

// The ways: anybody, a password with each request, or a token for a password.
// Anybody gets a token from an Anonymous one.
const (
	Open Auth = iota
	Basic
	Bearer
	Anonymous
)

// Options describe a registry. The zero value is open and speaks http.
type Options struct {
	Addr           string // listens here; "" for a free port of 127.0.0.1
	Auth           Auth
	User, Password string
	TokenLife      time.Duration // said to clients; 0 says nothing
	Redirect       bool          // blobs are at a second host, by signed URLs
	TLS            bool
}

// Registry is a running registry. It is safe for concurrent use.
type Registry struct {
	Host    string // host:port, as in references
	CDN     string // host:port of the second host; "" if there is none
	TokenAt string // host:port of the token server

	opt   Options
	inner http.Handler
	blobs *blobs
	main  *httptest.Server
	cdn   *httptest.Server
	token *httptest.Server
	fail  func(format string, args ...any)

	mu struct {
		sync.Mutex
		requests []Request
		faults   []*Fault
		tokens   int             // issued
		dead     map[string]bool // tokens that no longer count
		post     bool            // the token server takes POST
	}
}

// New starts a registry for a test and stops it at its end.
func New(tb testing.TB, opt Options) *Registry {
	tb.Helper()
	r, err := Start(opt)
	if err != nil {
		tb.Fatal(err)
	}
	r.fail = tb.Fatalf
	tb.Cleanup(r.Close)
	return r
}

// Start starts a registry outside of tests; the caller closes it. There, a
// failing push panics.
func Start(opt Options) (*Registry, error) {
	r := &Registry{opt: opt, blobs: &blobs{}}
	r.fail = func(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
	r.blobs.mu.m = map[string][]byte{}
	r.mu.dead = map[string]bool{}
	r.mu.post = true
	r.inner = registry.New(registry.WithBlobHandler(r.blobs), registry.WithReferrersSupport(true),
		registry.Logger(log.New(io.Discard, "", 0)))
	var err error
	if r.main, err = listen(opt.Addr, r.record(http.HandlerFunc(r.serve)), opt.TLS); err != nil {
		return nil, err
	}
	r.Host = r.main.Listener.Addr().String()
	if r.token, err = listen("", r.record(http.HandlerFunc(r.serveToken)), opt.TLS); err != nil {
		return nil, err
	}
	r.TokenAt = r.token.Listener.Addr().String()
	if opt.Redirect {
		if r.cdn, err = listen("", r.record(http.HandlerFunc(r.serveCDN)), opt.TLS); err != nil {
			return nil, err
		}
		r.CDN = r.cdn.Listener.Addr().String()
	}
	return r, nil
}

func listen(addr string, h http.Handler, secure bool) (*httptest.Server, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}}
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	return s, nil
}

// Close ends the registry and all its connections.
func (r *Registry) Close() {
	for _, s := range []*httptest.Server{r.main, r.cdn, r.token} {
		if s != nil {
			s.CloseClientConnections()
			s.Close()
		}
	}
}

// Certificate is that of a registry with TLS, in DER.
func (r *Registry) Certificate() *x509.Certificate { return r.main.Certificate() }

// TLSConfig trusts the registry.
func (r *Registry) TLSConfig() *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(r.Certificate())
	return &tls.Config{RootCAs: pool}
}

// Request is one request and its answer.
type Request struct {
	Host   string // that was asked: Host, CDN or TokenAt of the registry
	Method string
	Path   string
	Range  string // of the request
	Auth   string // the scheme of its Authorization; "" if there was none
	Agent  string
	Accept string
	Status int
	Bytes  int64 // of the body
}

// String is "GET /v2/a/blobs/sha256:… bytes=0-9 206".
func (q Request) String() string {
	return strings.Join(strings.Fields(fmt.Sprintf("%s %s %s %d", q.Method, q.Path, q.Range, q.Status)), " ")
}

// Requests lists the requests so far, in the order of their answers' ends.
func (r *Registry) Requests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.mu.requests)
}

// Forget empties the list of requests.
func (r *Registry) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.requests = nil
}

// Count is how many requests had the method ("" for any) and had part in their
// path.
func (r *Registry) Count(method, part string) int {
	n := 0
	for _, q := range r.Requests() {
		if (method == "" || q.Method == method) && strings.Contains(q.Path, part) {
			n++
		}
	}
	return n
}

// Bytes is how many bytes the answers to such requests had.
func (r *Registry) Bytes(method, part string) int64 {
	var n int64
	for _, q := range r.Requests() {
		if (method == "" || q.Method == method) && strings.Contains(q.Path, part) {
			n += q.Bytes
		}
	}
	return n
}

// record writes down every request when its answer has ended.
func (r *Registry) record(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		scheme, _, _ := strings.Cut(req.Header.Get("Authorization"), " ")
		cw := &counter{ResponseWriter: w}
		defer func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.mu.requests = append(r.mu.requests, Request{Host: req.Host, Method: req.Method, Path: req.URL.Path,
				Range: req.Header.Get("Range"), Auth: scheme, Agent: req.UserAgent(), Accept: req.Header.Get("Accept"),
				Status: cw.status, Bytes: cw.n})
		}()
		h.ServeHTTP(cw, req)
	})
}

type counter struct {
	http.ResponseWriter
	status int
	n      int64
}

func (c *counter) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *counter) Write(p []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	n, err := c.ResponseWriter.Write(p)
	c.n += int64(n)
	return n, err
}

func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// serve is the registry itself.
func (r *Registry) serve(w http.ResponseWriter, req *http.Request) {
	if !r.admit(w, req) {
		return
	}
	r.misbehave(w, req, func(w http.ResponseWriter, req *http.Request) {
		name, isBlob := blobOf(req)
		switch {
		case isBlob && r.opt.Redirect:
			http.Redirect(w, req, r.scheme()+"://"+r.CDN+"/signed/"+name+"?X-Signature="+secret, http.StatusTemporaryRedirect)
		case isBlob:
			r.serveBlob(w, req, name)
		default:
			r.inner.ServeHTTP(w, req)
		}
	})
}

// secret is in the query of redirects; it must not show anywhere.
const secret = "s3cr3t-signature"

func (r *Registry) scheme() string {
	if r.opt.TLS {
		return "https"
	}
	return "http"
}

// serveCDN is the second host: it wants its signature and no other credentials.
func (r *Registry) serveCDN(w http.ResponseWriter, req *http.Request) {
	if req.Header.Get("Authorization") != "" {
		http.Error(w, "only one auth mechanism allowed", http.StatusBadRequest)
		return
	}
	if req.URL.Query().Get("X-Signature") != secret {
		http.Error(w, "not signed", http.StatusForbidden)
		return
	}
	r.misbehave(w, req, func(w http.ResponseWriter, req *http.Request) {
		r.serveBlob(w, req, strings.TrimPrefix(req.URL.Path, "/signed/"))
	})
}

// blobOf is the digest of the blob that req wants to read.
func blobOf(req *http.Request) (string, bool) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		return "", false
	}
	_, name, ok := strings.Cut(req.URL.Path, "/blobs/")
	return name, ok && strings.Contains(name, ":")
}

func (r *Registry) serveBlob(w http.ResponseWriter, req *http.Request, name string) {
	data, ok := r.blobs.get(name)
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry"}]}`)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Docker-Content-Digest", name)
	http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(data))
}

// blobs is the store of all repositories; it implements registry.BlobHandler.
type blobs struct {
	mu struct {
		sync.Mutex
		m map[string][]byte
	}
}

func (b *blobs) get(name string) ([]byte, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	data, ok := b.mu.m[name]
	return data, ok
}

func (b *blobs) put(name string, data []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.m[name] = data
}

// Get implements registry.BlobHandler.
func (b *blobs) Get(_ context.Context, _ string, h v1.Hash) (io.ReadCloser, error) {
	data, ok := b.get(h.String())
	if !ok {
		return nil, registry.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// Stat implements registry.BlobStatHandler.
func (b *blobs) Stat(_ context.Context, _ string, h v1.Hash) (int64, error) {
	data, ok := b.get(h.String())
	if !ok {
		return 0, registry.ErrNotFound
	}
	return int64(len(data)), nil
}

// Put implements registry.BlobPutHandler.
func (b *blobs) Put(_ context.Context, _ string, h v1.Hash, rc io.ReadCloser) error {
	defer rc.Close()
	data, err := io.ReadAll(rc)
	if err == nil {
		b.put(h.String(), data)
	}
	return err
}
