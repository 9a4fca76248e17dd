//go:build interop

package interop

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
	"testing"
	"time"
)

// registry is Debian's docker-registry behind a proxy of our own that writes
// down each request as it arrives: the registry's own log has a line only when
// an answer is over, which may be after its reader went on.
type registry struct {
	addr    string // of the proxy: what references name
	process *exec.Cmd
	proxy   *http.Server
	served  chan struct{}
	backend *url.URL

	mu struct {
		sync.Mutex
		log []request
	}
}

// A request is one line of the log.
type request struct {
	method, path, ranges, agent string
}

func (r request) String() string { return strings.TrimSpace(r.method + " " + r.path + " " + r.ranges) }

const registryConfig = `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: %q}}
http: {addr: %q}
compatibility: {schema1: {enabled: true}}
`

func startRegistry(dir string) (*registry, error) {
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
	r := &registry{backend: &url.URL{Scheme: "http", Host: backend}}
	r.process = exec.Command("docker-registry", "serve", config)
	r.process.Stderr = os.Stderr
	if err := r.process.Start(); err != nil {
		return nil, err
	}
	if err := r.listen("127.0.0.1:0"); err != nil {
		return nil, err
	}
	return r, r.waitUntilUp()
}

// listen starts the proxy at addr.
func (r *registry) listen(addr string) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	r.addr = ln.Addr().String()
	forward := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(r.backend)
			p.Out.Host = p.In.Host // the registry writes it into Location
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	r.proxy = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.remember(req)
		forward.ServeHTTP(w, req)
	})}
	r.served = make(chan struct{})
	go func() {
		defer close(r.served)
		_ = r.proxy.Serve(ln) // ends with Close
	}()
	return nil
}

func (r *registry) remember(req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.log = append(r.mu.log, request{req.Method, req.URL.Path, req.Header.Get("Range"), req.UserAgent()})
}

func (r *registry) waitUntilUp() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		resp, err := http.Get(r.backend.String() + "/v2/")
		if err == nil {
			resp.Body.Close()
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("docker-registry does not answer: %w", err)
		}
	}
}

func (r *registry) stop() {
	r.hide()
	_ = r.process.Process.Kill()
	_ = r.process.Wait()
}

// hide makes the registry unreachable, connections refused, until show.
func (r *registry) hide() {
	_ = r.proxy.Close()
	<-r.served
}

func (r *registry) show(t *testing.T) {
	t.Helper()
	if err := r.listen(r.addr); err != nil {
		t.Fatal(err)
	}
}

// requests returns what peelfs asked since mark, and the mark for the next call.
func (r *registry) requests(mark int) ([]request, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ours []request
	for _, q := range r.mu.log[mark:] {
		if strings.Contains(q.agent, "peelfs") {
			ours = append(ours, q)
		}
	}
	return ours, len(r.mu.log)
}

// blobs are the digests of the blobs that were asked for, each as often as it was.
func blobs(requests []request) []string {
	var digests []string
	for _, q := range requests {
		if _, digest, ok := strings.Cut(q.path, "/blobs/"); ok && q.method == http.MethodGet {
			digests = append(digests, digest)
		}
	}
	slices.Sort(digests)
	return digests
}

// ref is a reference to name in this registry.
func (r *registry) ref(name string) string { return r.addr + "/" + name }

// push copies source, in skopeo's words, to name. The bytes stay as they are
// unless flags say otherwise.
func (r *registry) push(t *testing.T, source, name string, flags ...string) string {
	t.Helper()
	if len(flags) == 0 {
		flags = []string{"--preserve-digests"}
	}
	args := append([]string{"copy", "-q", "--dest-tls-verify=false"}, flags...)
	must(t, "skopeo", append(args, source, "docker://"+r.ref(name))...)
	return r.ref(name)
}

func freePort() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}
