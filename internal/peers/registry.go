package peers

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Registry is Debian's docker-registry behind a proxy of our own that writes
// down each request as it arrives: the registry's own log has a line only when
// an answer is over, which may be after its reader went on.
type Registry struct {
	Addr    string // of the proxy: what references name
	process *exec.Cmd
	proxy   *http.Server
	served  chan struct{}
	backend *url.URL

	mu struct {
		sync.Mutex
		log   []Request
		bytes int64 // of bodies sent to peelfs
	}
}

// A Request is one line of the log.
type Request struct {
	Method, Path, Range, Agent string
}

func (r Request) String() string { return strings.TrimSpace(r.Method + " " + r.Path + " " + r.Range) }

const registryConfig = `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: %q}}
http: {addr: %q}
compatibility: {schema1: {enabled: true}}
`

// StartRegistry runs docker-registry on free ports of loopback, with its data
// below dir, and returns when it answers.
func StartRegistry(dir string) (*Registry, error) {
	backend, err := freePort()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf(registryConfig, filepath.Join(dir, "data"), backend)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	diary, err := os.Create(filepath.Join(dir, "registry.log"))
	if err != nil {
		return nil, err
	}
	defer diary.Close()
	r := &Registry{backend: &url.URL{Scheme: "http", Host: backend}}
	r.process = exec.Command("docker-registry", "serve", config)
	r.process.Stdout, r.process.Stderr = diary, diary
	if err := r.process.Start(); err != nil {
		return nil, err
	}
	if err := r.listen("127.0.0.1:0"); err != nil {
		return nil, err
	}
	return r, r.waitUntilUp()
}

// Backend is the address of docker-registry itself, past the proxy.
func (r *Registry) Backend() string { return r.backend.Host }

// Ref is a reference to name in this registry.
func (r *Registry) Ref(name string) string { return r.Addr + "/" + name }

// Close ends the registry; its data stays in its folder.
func (r *Registry) Close() {
	r.Hide()
	_ = r.process.Process.Kill()
	_ = r.process.Wait()
}

// Hide makes the registry unreachable, connections refused, until Show.
func (r *Registry) Hide() {
	_ = r.proxy.Close()
	<-r.served
}

// Show makes the registry reachable again, at the same address.
func (r *Registry) Show() error { return r.listen(r.Addr) }

func (r *Registry) listen(addr string) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	r.Addr = ln.Addr().String()
	forward := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(r.backend)
			p.Out.Host = p.In.Host // the registry writes it into Location
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	r.proxy = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.remember(req)
		if !isPeelfs(req.UserAgent()) {
			forward.ServeHTTP(w, req)
			return
		}
		forward.ServeHTTP(&counter{w, r}, req)
	})}
	r.served = make(chan struct{})
	go func() {
		defer close(r.served)
		_ = r.proxy.Serve(ln) // ends with Close
	}()
	return nil
}

func (r *Registry) remember(req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.log = append(r.mu.log, Request{req.Method, req.URL.Path, req.Header.Get("Range"), req.UserAgent()})
}

func isPeelfs(agent string) bool { return strings.Contains(agent, "peelfs") }

// A counter adds up the bodies that peelfs gets.
type counter struct {
	http.ResponseWriter
	r *Registry
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.r.mu.Lock()
	c.r.mu.bytes += int64(n)
	c.r.mu.Unlock()
	return n, err
}

// Unwrap lets the proxy flush.
func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// Sent is how many bytes of answers peelfs has got so far.
func (r *Registry) Sent() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.bytes
}

func (r *Registry) waitUntilUp() error {
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		resp, err := http.Get(r.backend.String() + "/v2/")
		if err == nil {
			return resp.Body.Close()
		}
		select {
		case <-tick.C:
		case <-deadline:
			return fmt.Errorf("docker-registry does not answer: %w", err)
		}
	}
}

// Requests returns what peelfs asked since mark, and the mark for the next call.
func (r *Registry) Requests(mark int) ([]Request, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ours []Request
	for _, q := range r.mu.log[mark:] {
		if isPeelfs(q.Agent) {
			ours = append(ours, q)
		}
	}
	return ours, len(r.mu.log)
}

// Blobs are the digests of the blobs that were asked for, sorted, each as often
// as it was.
func Blobs(requests []Request) []string {
	var digests []string
	for _, q := range requests {
		if _, digest, ok := strings.Cut(q.Path, "/blobs/"); ok && q.Method == http.MethodGet {
			digests = append(digests, digest)
		}
	}
	slices.Sort(digests)
	return digests
}

// Push copies source, in skopeo's words, to name and returns the reference. The
// bytes stay as they are unless flags of skopeo say otherwise.
func (r *Registry) Push(ctx context.Context, source, name string, flags ...string) (string, error) {
	if len(flags) == 0 {
		flags = []string{"--preserve-digests"}
	}
	args := append([]string{"copy", "-q", "--dest-tls-verify=false"}, flags...)
	_, err := Run(ctx, nil, "skopeo", append(args, source, "docker://"+r.Ref(name))...)
	return r.Ref(name), err
}
