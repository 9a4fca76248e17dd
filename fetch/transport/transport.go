// Package transport is the one way to the network: connections, TLS, proxies,
// time limits and counters, for every protocol that fetch speaks.
//
// No request waits for a silent server longer than the I/O timeout, nothing is
// decompressed on the way, and plain http is spoken only where it was asked for
// or with this machine itself.
package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peelfs/peelfs/internal/errkind"
)

// Options configure a Transport. The zero value is usable.
type Options struct {
	PlainHTTP   bool          // http with every registry
	HTTPS       bool          // https with every registry, this machine's included
	InsecureTLS bool          // accept any certificate
	CAFile      string        // PEM file of authorities besides the system's
	CertDirs    []string      // directories that hold HOST[:PORT]/*.crt; nil for the usual ones
	UserAgent   string        // "" for peelfs
	IOTimeout   time.Duration // longest silence of a server; 0 for DefaultIOTimeout
	Patience    time.Duration // shortest silence after which a second connection is asked; 0 for DefaultPatience
	Logger      *slog.Logger  // nil discards; sees no query strings and no headers
}

// DefaultIOTimeout is how long a server may be silent.
const DefaultIOTimeout = time.Minute

// DefaultPatience is how long a server may be silent, where it is not known to be
// slow, before the same is asked for over a second connection.
const DefaultPatience = 3 * time.Second

// usualCertDirs are where docker and podman look for a registry's authorities.
func usualCertDirs() []string {
	dirs := []string{"/etc/containers/certs.d", "/etc/docker/certs.d"}
	if home, err := os.UserConfigDir(); err == nil {
		dirs = append([]string{filepath.Join(home, "containers/certs.d")}, dirs...)
	}
	return dirs
}

// Stats are counters since the Transport was made.
type Stats struct {
	Requests int64 // sent, redirects and logins included
	Bytes    int64 // of response bodies, as read
}

// Transport is an http.RoundTripper. It is safe for concurrent use.
type Transport struct {
	opt   Options
	base  *http.Transport
	roots *x509.CertPool // nil for the system's

	requests, bytes atomic.Int64

	mu struct {
		sync.Mutex
		hosts map[string]*http.Transport // those with certificates of their own
		https map[string]bool            // loopback hosts that were asked whether they speak TLS
		roads map[string]*road           // by host
	}
}

// New makes a Transport. The error is of kind Invalid: a CA file that cannot be
// used.
func New(opt Options) (*Transport, error) {
	if opt.IOTimeout <= 0 {
		opt.IOTimeout = DefaultIOTimeout
	}
	if opt.Patience <= 0 {
		opt.Patience = DefaultPatience
	}
	if opt.UserAgent == "" {
		opt.UserAgent = "peelfs"
	}
	if opt.CertDirs == nil {
		opt.CertDirs = usualCertDirs()
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	t := &Transport{opt: opt}
	t.mu.hosts = map[string]*http.Transport{}
	t.mu.https = map[string]bool{}
	t.mu.roads = map[string]*road{}
	if opt.CAFile != "" {
		pool, err := systemPool()
		if err == nil {
			err = addPEM(pool, opt.CAFile)
		}
		if err != nil {
			return nil, errkind.Wrap(errkind.Invalid, err)
		}
		t.roots = pool
	}
	t.base = t.newHTTP(&tls.Config{RootCAs: t.roots, InsecureSkipVerify: opt.InsecureTLS})
	return t, nil
}

// newHTTP speaks HTTP/1.1 only: parallel ranges are worth something only on
// connections of their own, and HTTP/2 would put them all on one.
func (t *Transport) newHTTP(conf *tls.Config) *http.Transport {
	conf.MinVersion = tls.VersionTLS12
	dialer := &net.Dialer{Timeout: min(t.opt.IOTimeout, 15*time.Second), KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		TLSClientConfig:       conf,
		TLSHandshakeTimeout:   min(t.opt.IOTimeout, 15*time.Second),
		ResponseHeaderTimeout: t.opt.IOTimeout,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   16,
		ReadBufferSize:        64 << 10,
		DisableCompression:    true,
		TLSNextProto:          map[string]func(string, *tls.Conn) http.RoundTripper{},
	}
}

// RoundTrip sends one request. A server that does not begin to answer for longer
// than Patience is asked once more, over another connection, if the request may be
// repeated; the first answer counts. The body that it returns counts what is read
// and fails with kind Timeout after a silence.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", t.opt.UserAgent)
	}
	if req.Header.Get("Accept-Encoding") == "" {
		req.Header.Set("Accept-Encoding", "identity")
	}
	rt, err := t.forHost(req.URL.Host)
	if err != nil {
		return nil, err
	}
	main := t.newAttempt(rt, req)
	if !repeatable(req) {
		return main.send()
	}
	rival := t.newAttempt(rt, req.WithContext(Fresh(req.Context())))
	won, err := Race(req.Context(), t.Patience(req.URL.Host), func() error {
		_, err := main.send()
		return err
	}, func() { main.cancel(nil) }, func(ctx context.Context) error {
		defer context.AfterFunc(ctx, func() { rival.cancel(nil) })()
		_, err := rival.send()
		return err
	})
	if won {
		main.discard()
		return rival.resp, nil
	}
	rival.discard()
	return main.resp, err
}

// repeatable reports whether a request may be sent twice.
func repeatable(req *http.Request) bool {
	return (req.Method == http.MethodGet || req.Method == http.MethodHead) && (req.Body == nil || req.Body == http.NoBody)
}

// attempt is one sending of a request, with a context that ends with its answer.
type attempt struct {
	t      *Transport
	rt     *http.Transport
	req    *http.Request
	ctx    context.Context // of this one request
	cancel context.CancelCauseFunc
	resp   *http.Response // nil before the answer, and after a failure
}

func (t *Transport) newAttempt(rt *http.Transport, req *http.Request) *attempt {
	a := &attempt{t: t, rt: rt}
	a.ctx, a.cancel = context.WithCancelCause(req.Context())
	a.req = req.WithContext(a.ctx)
	return a
}

func (a *attempt) send() (*http.Response, error) {
	if isFresh(a.ctx) {
		a.rt.CloseIdleConnections()
	}
	a.t.requests.Add(1)
	began := time.Now()
	resp, err := a.rt.RoundTrip(a.req)
	a.t.log(a.req, resp, err)
	if err == nil {
		if err = checkLocation(resp); err != nil {
			resp.Body.Close()
		}
	}
	if err != nil {
		a.cancel(nil)
		return nil, err
	}
	road := a.t.road(a.req.URL.Host)
	road.note(time.Since(began))
	idle := time.AfterFunc(a.t.opt.IOTimeout, func() { a.cancel(errSilent) })
	idle.Stop()
	resp.Body = &body{ReadCloser: resp.Body, t: a.t, road: road, ctx: a.ctx, cancel: a.cancel, idle: idle}
	a.resp = resp
	return resp, nil
}

// discard ends an attempt whose answer, if it has one, is of no use.
func (a *attempt) discard() {
	a.cancel(nil)
	if a.resp != nil {
		a.resp.Body.Close()
	}
}

func (t *Transport) log(req *http.Request, resp *http.Response, err error) {
	if !t.opt.Logger.Enabled(req.Context(), slog.LevelDebug) {
		return
	}
	args := []any{"method", req.Method, "url", RedactURL(req.URL), "range", req.Header.Get("Range")}
	if err != nil {
		t.opt.Logger.Debug("request failed", append(args, "error", Redact(err.Error()))...)
		return
	}
	t.opt.Logger.Debug("request", append(args, "status", resp.StatusCode, "length", resp.ContentLength)...)
}

var errSilent = errkind.New(errkind.Timeout, "the server stopped sending")

// body counts, and guards against a server that falls silent. The timer runs
// only while somebody waits in Read.
type body struct {
	io.ReadCloser
	t      *Transport
	road   *road
	ctx    context.Context // of this one request; it ends with the body
	cancel context.CancelCauseFunc
	idle   *time.Timer
}

func (b *body) Read(p []byte) (int, error) {
	b.idle.Reset(b.t.opt.IOTimeout)
	began := time.Now()
	n, err := b.ReadCloser.Read(p)
	b.idle.Stop()
	b.t.bytes.Add(int64(n))
	if n > 0 {
		b.road.note(time.Since(began))
	}
	if err != nil && err != io.EOF {
		if cause := context.Cause(b.ctx); cause != nil {
			err = cause
		}
	}
	return n, err
}

func (b *body) Close() error {
	b.idle.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

// forHost is the base transport, or one with the authorities and the client
// certificate that a certs.d directory has for host.
func (t *Transport) forHost(host string) (*http.Transport, error) {
	dir := t.certDir(host)
	if dir == "" {
		return t.base, nil
	}
	t.mu.Lock()
	known := t.mu.hosts[host]
	t.mu.Unlock()
	if known != nil {
		return known, nil
	}
	conf, err := t.hostTLS(dir)
	if err != nil {
		return nil, errkind.Wrap(errkind.Invalid, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.hosts[host] == nil {
		t.mu.hosts[host] = t.newHTTP(conf)
	}
	return t.mu.hosts[host], nil
}

func (t *Transport) certDir(host string) string {
	if host == "" || strings.ContainsAny(host, "/\\") {
		return ""
	}
	for _, d := range t.opt.CertDirs {
		dir := filepath.Join(d, host)
		if st, err := os.Stat(dir); err == nil && st.IsDir() {
			return dir
		}
	}
	return ""
}

func (t *Transport) hostTLS(dir string) (*tls.Config, error) {
	conf := &tls.Config{InsecureSkipVerify: t.opt.InsecureTLS}
	var err error
	if t.roots != nil {
		conf.RootCAs = t.roots.Clone()
	} else if conf.RootCAs, err = systemPool(); err != nil {
		return nil, err
	}
	crts, _ := filepath.Glob(filepath.Join(dir, "*.crt"))
	for _, crt := range crts {
		if err := addPEM(conf.RootCAs, crt); err != nil {
			return nil, err
		}
	}
	certs, _ := filepath.Glob(filepath.Join(dir, "*.cert"))
	for _, cert := range certs {
		pair, err := tls.LoadX509KeyPair(cert, strings.TrimSuffix(cert, ".cert")+".key")
		if err != nil {
			return nil, err
		}
		conf.Certificates = append(conf.Certificates, pair)
	}
	return conf, nil
}

func systemPool() (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		return x509.NewCertPool(), nil
	}
	return pool, nil
}

func addPEM(pool *x509.CertPool, file string) error {
	pem, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !pool.AppendCertsFromPEM(pem) {
		return errkind.New(errkind.Invalid, "%s holds no PEM certificate", file)
	}
	return nil
}

// Stats returns the counters so far.
func (t *Transport) Stats() Stats {
	return Stats{Requests: t.requests.Load(), Bytes: t.bytes.Load()}
}

// Close ends idle connections.
func (t *Transport) Close() {
	t.base.CloseIdleConnections()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range t.mu.hosts {
		h.CloseIdleConnections()
	}
}
