package registryv1

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/fetch/transport"
	"github.com/peelfs/peelfs/fetch/transport/retry"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/testregistryv1"
)

func id(c string) string { return strings.Repeat(c, 64) }

// chain makes images of the given identifiers' letters, base first.
func chain(letters ...string) []testregistryv1.Image {
	var out []testregistryv1.Image
	r := rand.New(rand.NewPCG(1, 2))
	for i, c := range letters {
		doc := map[string]any{"id": id(c), "created": "2014-01-01T00:00:00Z",
			"container_config": map[string]any{"Cmd": []string{"layer", c}},
			"config":           map[string]any{"Env": []string{"TOP=" + c}}}
		if i > 0 {
			doc["parent"] = id(letters[i-1])
		}
		raw, err := json.Marshal(doc)
		if err != nil {
			panic(err)
		}
		layer := make([]byte, 3000+i*1000)
		for j := range layer {
			layer[j] = byte(r.Uint32())
		}
		out = append(out, testregistryv1.Image{ID: id(c), JSON: raw, Layer: layer,
			Checksums: []string{testregistryv1.PayloadChecksum(raw, layer)}})
	}
	return out
}

// pauses counts and skips the pauses between attempts.
type pauses struct {
	mu  sync.Mutex
	all []time.Duration
}

func (p *pauses) sleep(ctx context.Context, d time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, d)
	return ctx.Err()
}

func (p *pauses) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.all)
}

func network(t testing.TB, opt transport.Options) *transport.Transport {
	t.Helper()
	n, err := transport.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// session is one to host/foo/bar that never pauses; with changes the options.
func session(t testing.TB, host string, with ...func(*Options)) *Session {
	t.Helper()
	opt := Options{Host: host, Repository: "foo/bar", Network: network(t, transport.Options{}), Policy: retry.Policy{Sleep: (&pauses{}).sleep}}
	for _, f := range with {
		f(&opt)
	}
	s, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func credentials(user, password string) func(*Options) {
	return func(o *Options) {
		o.Credentials = func(context.Context) (string, string, string, error) { return user, password, "the test", nil }
	}
}

func named(repository string) func(*Options) { return func(o *Options) { o.Repository = repository } }

func wantKind(t *testing.T, err error, kind errkind.Kind, words ...string) {
	t.Helper()
	if !errkind.Is(err, kind) {
		t.Errorf("error %v, want kind %v", err, kind)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func readLayer(t *testing.T, s *Session, l ManifestLayer) ([]byte, error) {
	t.Helper()
	body, at, err := s.Layer(l).ReadRange(t.Context(), 0, -1)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	if at != 0 {
		t.Errorf("the whole begins at %d", at)
	}
	return io.ReadAll(body)
}

// pull resolves foo/bar:latest and reads all its layers.
func pull(t *testing.T, s *Session, want []testregistryv1.Image) *Manifest {
	t.Helper()
	m, err := s.Resolve(t.Context(), "latest")
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Layers) != len(want) || m.ID != want[len(want)-1].ID {
		t.Fatalf("%d layers of %s, want %d", len(m.Layers), m.ID, len(want))
	}
	for i, l := range m.Layers {
		if l.ID != want[i].ID || !bytes.Equal(l.JSON, want[i].JSON) {
			t.Errorf("layer %d is %s: %s", i, l.ID, l.JSON)
		}
		if data, err := readLayer(t, s, l); err != nil || !bytes.Equal(data, want[i].Layer) {
			t.Errorf("layer %d: %d bytes, %v", i, len(data), err)
		}
	}
	return m
}

func TestPullFromEachServer(t *testing.T) {
	images := chain("a", "b", "c", "d")
	for _, q := range []testregistryv1.Quirks{testregistryv1.Python(), testregistryv1.Contrib(), testregistryv1.Ooyala(), testregistryv1.Quay()} {
		t.Run(q.Name, func(t *testing.T) {
			srv := testregistryv1.New(testregistryv1.NewStore(), q)
			srv.Store.Put("foo/bar", "latest", images...)
			m := pull(t, session(t, srv.Start(t)), images)
			raw, history, err := m.Config()
			if err != nil {
				t.Fatal(err)
			}
			var config ocispec.Image
			if err := json.Unmarshal(raw, &config); err != nil {
				t.Fatal(err)
			}
			if config.Config.Env[0] != "TOP=d" || len(history) != 4 || history[0].CreatedBy != "layer a" {
				t.Errorf("config %+v, history %+v", config.Config, history)
			}
			checkManners(t, srv.Requests())
		})
	}
}

// checkManners holds what every request must and must not have.
func checkManners(t *testing.T, requests []testregistryv1.Request) {
	t.Helper()
	for _, r := range requests {
		if !strings.HasPrefix(r.Header.Get("User-Agent"), "docker/1.") || r.Header.Get("If-Modified-Since") != "" {
			t.Errorf("%s: header %v", r.Path, r.Header)
		}
	}
}

func TestIndexAndRegistryOnTwoHosts(t *testing.T) {
	images := chain("a", "b")
	store := testregistryv1.NewStore()
	store.Put("foo/bar", "latest", images...)
	registry := testregistryv1.New(store, testregistryv1.PythonToken())
	q := testregistryv1.Python()
	q.Endpoints = []string{registry.Start(t)}
	index := testregistryv1.New(store, q)
	s := session(t, index.Start(t))
	pull(t, s, images)
	if index.Count("images/"+id("a")) != 0 || registry.Count("layer") != 2 {
		t.Errorf("index: %v", index.Requests())
	}
	r, err := s.Repository(t.Context())
	if err != nil || len(r.Images) != 2 || !r.Standalone || r.Endpoints[0] != "http://"+q.Endpoints[0]+"/v1/" {
		t.Errorf("repository %+v, %v", r, err)
	}
}

func TestTokenSpellings(t *testing.T) {
	images := chain("a")
	for name, token := range map[string]testregistryv1.Token{
		"with the word": testregistryv1.TokenWithWord, "bare": testregistryv1.TokenBare,
		"in pieces": testregistryv1.TokenSplit, "only the challenge": testregistryv1.TokenChallenge,
	} {
		q := testregistryv1.Python()
		q.Token, q.RequireToken = token, true
		srv := testregistryv1.New(testregistryv1.NewStore(), q)
		srv.Store.Put("foo/bar", "latest", images...)
		if _, err := session(t, srv.Start(t)).Resolve(t.Context(), "latest"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, r := range srv.Requests() {
			if a := r.Header.Get("Authorization"); strings.Contains(a, "Token Token") {
				t.Errorf("%s: Authorization %q", name, a)
			}
		}
	}
}

func TestTokenOf(t *testing.T) {
	for _, c := range []struct {
		header http.Header
		want   string
	}{
		{http.Header{}, ""},
		{http.Header{"X-Docker-Token": {"token"}}, "token"},
		{http.Header{"X-Docker-Token": {"Token signature=a"}}, "signature=a"},
		{http.Header{"X-Docker-Token": {" token  signature=a "}}, "signature=a"},
		{http.Header{"X-Docker-Token": {"a=1", "Token b=2"}}, "a=1,b=2"},
		{http.Header{"X-Docker-Token": {"x"}, "Www-Authenticate": {"Token y"}}, "x"},
		{http.Header{"Www-Authenticate": {`Basic realm="x"`, "Token y"}}, "y"},
		{http.Header{"Www-Authenticate": {"Token"}}, ""},
	} {
		if got := tokenOf(c.header); got != c.want {
			t.Errorf("%v: %q, want %q", c.header, got, c.want)
		}
	}
}

func TestExpiredTokenLeadsToOneFreshLogin(t *testing.T) {
	images := chain("a", "b")
	for _, q := range []testregistryv1.Quirks{testregistryv1.Quay(), func() testregistryv1.Quirks {
		q := testregistryv1.Python()
		q.RequireToken = true
		return q
	}()} {
		srv := testregistryv1.New(testregistryv1.NewStore(), q)
		srv.Store.Put("foo/bar", "latest", images...)
		s := session(t, srv.Start(t))
		pull(t, s, images)
		if n := srv.Count("_ping"); n != 1 {
			t.Errorf("%s: %d logins for one pull", q.Name, n)
		}
		srv.Store.Expire()
		pull(t, s, images)
		if n := srv.Count("_ping"); n != 2 {
			t.Errorf("%s: %d logins after the token expired once", q.Name, n)
		}
	}
}

func TestNothingInParallelBeforeTheFirstAnswer(t *testing.T) {
	images := chain("a", "b", "c", "d", "e")
	srv := testregistryv1.New(testregistryv1.NewStore(), testregistryv1.Python())
	srv.Store.Put("foo/bar", "latest", images...)
	release := make(chan struct{})
	srv.Fail("/json", -1, testregistryv1.Fault{Hold: release})
	s := session(t, srv.Start(t))
	done := make(chan error, 1)
	go func() {
		_, err := s.Resolve(t.Context(), "latest")
		done <- err
	}()
	for srv.Count("/json") < len(images) { // all of them are asked for while none is answered
		select {
		case err := <-done:
			t.Fatalf("resolved without an answer: %v", err)
		default:
		}
	}
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, r := range srv.Requests()[:4] {
		order = append(order, r.Path[strings.LastIndex(r.Path, "/")+1:])
	}
	if got := strings.Join(order, " "); got != "_ping images latest ancestry" {
		t.Errorf("order %s", got)
	}
}

func TestBasic(t *testing.T) {
	images := chain("a", "b")
	for name, c := range map[string]struct {
		standalone string
		everywhere bool
	}{
		"the index is the registry": {"true", true},
		"the index is apart":        {"false", false},
	} {
		q := testregistryv1.Python()
		q.RequireBasic, q.Standalone = "me:secret", c.standalone
		q.RequireToken = !c.everywhere
		srv := testregistryv1.New(testregistryv1.NewStore(), q)
		srv.Store.Put("foo/bar", "latest", images...)
		host := srv.Start(t)
		pull(t, session(t, host, credentials("me", "secret")), images)
		for _, r := range srv.Requests() {
			basic := strings.HasPrefix(r.Header.Get("Authorization"), "Basic ")
			ping, index := strings.HasSuffix(r.Path, "_ping"), strings.HasPrefix(r.Path, "/v1/repositories/") && strings.HasSuffix(r.Path, "/images")
			if want := !ping && (index || c.everywhere); basic != want {
				t.Errorf("%s: %s: Basic %v, want %v", name, r.Path, basic, want)
			}
		}
		_, err := session(t, host, credentials("me", "wrong")).Resolve(t.Context(), "latest")
		wantKind(t, err, errkind.Denied, "the test", "Requires authorization")
		if strings.Contains(err.Error(), "wrong") {
			t.Errorf("the password is in %q", err)
		}
		_, err = session(t, host).Resolve(t.Context(), "latest")
		wantKind(t, err, errkind.Denied, "no credentials")
	}
}

// A server that wants a password even for the ping gets it, with every request; an
// error tells which one was used.
func TestPingWantsBasic(t *testing.T) {
	images := chain("a", "b")
	inner := testregistryv1.New(testregistryv1.NewStore(), testregistryv1.Python())
	inner.Store.Put("foo/bar", "latest", images...)
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="door"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(door.Close)
	host := strings.TrimPrefix(door.URL, "http://")
	pull(t, session(t, host, credentials("me", "secret")), images)
	for _, c := range []struct {
		with func(*Options)
		say  string
	}{{credentials("me", "wrong"), "used the test"}, {func(*Options) {}, "used no credentials"}} {
		_, err := session(t, host, c.with).Resolve(t.Context(), "latest")
		wantKind(t, err, errkind.Denied, c.say)
		if strings.Contains(err.Error(), "wrong") {
			t.Errorf("the password is in %q", err)
		}
	}
}

func TestBasicStaysAtTheIndex(t *testing.T) {
	images := chain("a")
	store := testregistryv1.NewStore()
	store.Put("foo/bar", "latest", images...)
	other := testregistryv1.New(store, testregistryv1.Python())
	q := testregistryv1.Python()
	q.RequireBasic, q.Endpoints = "me:secret", []string{other.Start(t)}
	srv := testregistryv1.New(store, q)
	pull(t, session(t, srv.Start(t), credentials("me", "secret")), images)
	for _, r := range other.Requests() {
		if a := r.Header.Get("Authorization"); !strings.HasPrefix(a, "Token ") {
			t.Errorf("%s: Authorization %q at another host", r.Path, a)
		}
	}
}

func TestEndpointsTakeOver(t *testing.T) {
	images := chain("a", "b", "c")
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for name, fault := range map[string]testregistryv1.Fault{
		"5xx":       {Status: 503},
		"no answer": {Close: true},
		"no image":  {Status: 404},
	} {
		store := testregistryv1.NewStore()
		store.Put("foo/bar", "latest", images...)
		bad, good := testregistryv1.New(store, testregistryv1.Python()), testregistryv1.New(store, testregistryv1.Python())
		bad.Fail("/v1/images/", -1, fault)
		q := testregistryv1.Python()
		q.Endpoints = []string{strings.TrimPrefix(gone.URL, "http://"), bad.Start(t), good.Start(t)}
		q.EndpointLines = name == "5xx"
		p := &pauses{}
		s := session(t, testregistryv1.New(store, q).Start(t), func(o *Options) { o.Policy.Sleep = p.sleep })
		pull(t, s, images)
		if p.count() != 0 {
			t.Errorf("%s: %d pauses although another endpoint was there", name, p.count())
		}
		if n := bad.Count("/layer"); n != 0 {
			t.Errorf("%s: the bad endpoint was asked for %d layers", name, n)
		}
	}
}

func TestNoTagsAtOneEndpointIsFinal(t *testing.T) {
	store := testregistryv1.NewStore()
	store.Put("foo/bar", "latest", chain("a")...)
	one, two := testregistryv1.New(store, testregistryv1.Python()), testregistryv1.New(store, testregistryv1.Python())
	q := testregistryv1.Python()
	q.Endpoints = []string{one.Start(t), two.Start(t)}
	_, err := session(t, testregistryv1.New(store, q).Start(t)).Tag(t.Context(), "nope")
	wantKind(t, err, errkind.NotFound, "nope", "foo/bar")
	if two.Count("tags") != 0 {
		t.Error("the second endpoint was asked as well")
	}
}

func TestEndpointsOf(t *testing.T) {
	s := session(t, "registry.example")
	for _, c := range []struct {
		lines []string
		index string
		want  string
	}{
		{nil, "https://i.example/v1/", "https://i.example/v1/"},
		{[]string{"a.example , \tb.example:5000", "i.example"}, "https://i.example/v1/",
			"https://a.example/v1/ https://b.example:5000/v1/ https://i.example/v1/"},
		{[]string{"http://a.example, a.example/path, u@a.example, ,a.example?x, :80"}, "https://i.example/v1/", "https://i.example/v1/"},
		{[]string{"a.example,127.0.0.1:5"}, "http://localhost:5/v1/", "https://a.example/v1/ http://127.0.0.1:5/v1/"},
		{[]string{"127.0.0.1:5"}, "https://i.example/v1/", "https://127.0.0.1:5/v1/"},
	} {
		var got []string
		for _, e := range s.endpointsOf(http.Header{"X-Docker-Endpoints": c.lines}, mustURL(t, c.index)) {
			got = append(got, e.String())
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q from %s: %v, want %s", c.lines, c.index, got, c.want)
		}
	}
	many := s.endpointsOf(http.Header{"X-Docker-Endpoints": {strings.Repeat("a.example,", 1000)}}, mustURL(t, "https://i.example/v1/"))
	if len(many) != maxEndpoints {
		t.Errorf("%d endpoints", len(many))
	}
}

func TestNamesOfOnePart(t *testing.T) {
	images := chain("a")
	for _, q := range []testregistryv1.Quirks{testregistryv1.Python(), func() testregistryv1.Quirks {
		q := testregistryv1.Python()
		q.NoLibrary = true
		return q
	}()} {
		srv := testregistryv1.New(testregistryv1.NewStore(), q)
		srv.Store.Put("foo", "latest", images...)
		pull(t, session(t, srv.Start(t), named("foo")), images)
		if srv.Count("/v1/repositories/foo/images") != 1 || srv.Count("/v1/repositories/library/foo/tags/latest") != 1 {
			t.Errorf("asked for %v", srv.Requests())
		}
	}
}

func TestTagAnswers(t *testing.T) {
	images := chain("a")
	for name, change := range map[string]func(*testregistryv1.Quirks){
		"string": func(*testregistryv1.Quirks) {}, "bare": func(q *testregistryv1.Quirks) { q.Tags = testregistryv1.TagBare },
		"map":      func(q *testregistryv1.Quirks) { q.Tags = testregistryv1.TagMap },
		"no route": func(q *testregistryv1.Quirks) { q.Tags = testregistryv1.TagMissing },
		"no list":  func(q *testregistryv1.Quirks) { q.EmptyImages = true },
	} {
		q := testregistryv1.Python()
		change(&q)
		srv := testregistryv1.New(testregistryv1.NewStore(), q)
		srv.Store.Put("foo/bar", "latest", images...)
		srv.Store.Put("foo/bar", "v1.0", images...)
		s := session(t, srv.Start(t))
		if got, err := s.Tag(t.Context(), "v1.0"); err != nil || got != id("a") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		_, err := s.Tag(t.Context(), "nope")
		wantKind(t, err, errkind.NotFound, "nope")
		tags, err := s.Tags(t.Context())
		if err != nil || len(tags) != 2 || tags["v1.0"] != id("a") {
			t.Errorf("%s: tags %v, %v", name, tags, err)
		}
	}
}

func TestUnknownRepository(t *testing.T) {
	for _, q := range []testregistryv1.Quirks{testregistryv1.Python(), testregistryv1.Contrib(), testregistryv1.Ooyala()} {
		srv := testregistryv1.New(testregistryv1.NewStore(), q)
		_, err := session(t, srv.Start(t)).Resolve(t.Context(), "latest")
		wantKind(t, err, errkind.NotFound, "foo/bar")
		if n := len(srv.Requests()); n != 2 {
			t.Errorf("%s: %d requests for nothing", q.Name, n)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, c := range []struct{ host, repository string }{
		{"", "a"}, {"a/b", "a"}, {"http://a", "a"}, {"u@a", "a"}, {"a?b", "a"}, {"a#b", "a"}, {":5000", "a"}, {"a b", "a"},
		{"a", ""}, {"a", "/x"}, {"a", "x/../y"}, {"a", "x//y"}, {"a", "x?y"}, {"a", "x%2fy"}, {"a", "."},
	} {
		if _, err := New(Options{Host: c.host, Repository: c.repository, Network: network(t, transport.Options{})}); !errkind.Is(err, errkind.Invalid) {
			t.Errorf("%q, %q: %v", c.host, c.repository, err)
		}
	}
	for _, host := range []string{"a", "a:5000", "127.0.0.1:5", "[::1]:5000"} {
		if _, err := New(Options{Host: host, Repository: "a", Network: network(t, transport.Options{})}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestPing(t *testing.T) {
	answer := func(status int, contentType, body string) string {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}))
		t.Cleanup(srv.Close)
		return strings.TrimPrefix(srv.URL, "http://")
	}
	ping := func(host string) error {
		return Ping(t.Context(), Options{Host: host, Repository: "x", Network: network(t, transport.Options{})})
	}
	for _, body := range []string{"true", `""`, "{}", "pong", ""} {
		if err := ping(answer(200, "application/json", body)); err != nil {
			t.Errorf("%q: %v", body, err)
		}
	}
	wantKind(t, ping(answer(404, "text/plain", "404 page not found")), errkind.NotFound)
	wantKind(t, ping(answer(200, "text/html; charset=utf-8", "<html>")), errkind.NotFound, "web page")
	wantKind(t, ping(answer(502, "text/html", "")), errkind.Unavailable)
	wantKind(t, ping(answer(401, "text/html", "")), errkind.Denied)
}
