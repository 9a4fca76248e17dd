package registryv1

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/peelfs/peelfs/fetch/transport"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/testregistryv1"
)

func mustURL(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// deaf refuses all connections, and remembers to where they were to go.
type deaf struct {
	*transport.Transport
	urls []string
}

func (d *deaf) RoundTrip(r *http.Request) (*http.Response, error) {
	d.urls = append(d.urls, r.URL.String())
	return nil, errors.New("connection refused")
}

// A registry that cannot be reached by https is not asked by http (CVE-2014-5277).
func TestNoDowngrade(t *testing.T) {
	d := &deaf{Transport: network(t, transport.Options{})}
	_, err := session(t, "registry.example", func(o *Options) { o.Network = d }).Resolve(t.Context(), "latest")
	wantKind(t, err, errkind.Unavailable)
	if len(d.urls) == 0 {
		t.Fatal("nothing was asked")
	}
	for _, u := range d.urls {
		if !strings.HasPrefix(u, "https://") {
			t.Errorf("asked %s", u)
		}
	}
	asked := &deaf{Transport: network(t, transport.Options{PlainHTTP: true})}
	_, _ = session(t, "registry.example", func(o *Options) { o.Network = asked }).Resolve(t.Context(), "latest")
	if len(asked.urls) == 0 || !strings.HasPrefix(asked.urls[0], "http://") {
		t.Errorf("plain http was asked for, and tried was %v", asked.urls)
	}
}

// On loopback http is tried, and https where it turns out to be wanted.
func TestLoopbackByTLS(t *testing.T) {
	images := chain("a", "b")
	srv := testregistryv1.New(testregistryv1.NewStore(), testregistryv1.Python())
	srv.Store.Put("foo/bar", "latest", images...)
	tls := httptest.NewTLSServer(srv)
	t.Cleanup(tls.Close)
	pull(t, session(t, tls.Listener.Addr().String(), func(o *Options) {
		o.Network = network(t, transport.Options{InsecureTLS: true})
	}), images)
}

// store is a server of layers somewhere else, which remembers its requests.
func storage(t *testing.T, content []byte) (*httptest.Server, *[]http.Header) {
	seen := &[]http.Header{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*seen = append(*seen, r.Header.Clone())
		http.ServeContent(w, r, "", testTime, strings.NewReader(string(content)))
	}))
	t.Cleanup(srv.Close)
	return srv, seen
}

func TestRedirectKeepsRangeAndDropsCredentials(t *testing.T) {
	images := chain("a")
	far, seen := storage(t, images[0].Layer)
	q := testregistryv1.Quay()
	srv := testregistryv1.New(testregistryv1.NewStore(), q)
	srv.Store.Put("foo/bar", "latest", images...)
	s := session(t, srv.Start(t))
	m, err := s.Resolve(t.Context(), "latest")
	if err != nil {
		t.Fatal(err)
	}
	srv.Fail("/layer", -1, testregistryv1.Fault{Redirect: far.URL + "/far%s?signature=secret"})
	body, at, err := s.Layer(m.Layers[0]).ReadRange(t.Context(), 100, 50)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	if err != nil || at != 100 || string(got) != string(images[0].Layer[100:150]) {
		t.Errorf("%d bytes at %d, %v", len(got), at, err)
	}
	for _, h := range *seen {
		if h.Get("Range") != "bytes=100-149" || h.Get("Authorization") != "" {
			t.Errorf("header %v", h)
		}
	}
}

// Identifiers that are none never become part of a URL (CVE-2014-9358).
func TestIdentifiersAreChecked(t *testing.T) {
	bad := "../../../../etc/passwd"
	srv := testregistryv1.New(testregistryv1.NewStore(), testregistryv1.Contrib())
	srv.Store.Put("foo/bar", "latest", chain("a", "b")...)
	srv.Store.Put("foo/bar", "bad", testregistryv1.Image{ID: bad, JSON: []byte(`{}`)})
	host := srv.Start(t)
	s := session(t, host)
	_, err := s.Resolve(t.Context(), "bad")
	wantKind(t, err, errkind.Corrupt, "hexadecimal")
	_, err = s.Ancestry(t.Context(), bad)
	wantKind(t, err, errkind.Corrupt)
	_, err = s.Image(t.Context(), bad)
	wantKind(t, err, errkind.Corrupt)
	if srv.Count("passwd") != 0 || srv.Count("/v1/images") != 0 {
		t.Errorf("asked %v", srv.Requests())
	}
	srv.Fail("ancestry", -1, testregistryv1.Fault{Status: 200, Body: `["` + id("b") + `","` + bad + `"]`})
	_, err = s.Resolve(t.Context(), "latest")
	wantKind(t, err, errkind.Corrupt, "hexadecimal")
}

func TestHostileAnswersAreBounded(t *testing.T) {
	images := chain("a")
	for match, body := range map[string]string{
		"ancestry": `["` + strings.Repeat("x", maxAncestry) + `"]`,
		"/json":    strings.Repeat(" ", 5<<20) + `{}`,
		"/images":  strings.Repeat(" ", maxImageList) + "[]",
	} {
		srv := testregistryv1.New(testregistryv1.NewStore(), testregistryv1.Python())
		srv.Store.Put("foo/bar", "latest", images...)
		srv.Fail(match, -1, testregistryv1.Fault{Status: 200, Body: body})
		_, err := session(t, srv.Start(t)).Resolve(t.Context(), "latest")
		wantKind(t, err, errkind.Unsupported, "larger")
	}
}

// What a server writes into an error reaches the terminal as text only.
func TestErrorTextIsTame(t *testing.T) {
	srv := testregistryv1.New(testregistryv1.NewStore(), testregistryv1.Python())
	srv.Fail("/images", -1, testregistryv1.Fault{Status: 418, Body: `{"error":"\u001b[31mred\u0007` + strings.Repeat("é", 300) + `"}`})
	_, err := session(t, srv.Start(t)).Resolve(t.Context(), "latest")
	wantKind(t, err, errkind.Unsupported, "[31mred", "status 418")
	if strings.ContainsAny(err.Error(), "\x1b\x07") || len(err.Error()) > 500 {
		t.Errorf("error %q", err)
	}
}

func TestCanceledWhileWaitingForALogin(t *testing.T) {
	srv := testregistryv1.New(testregistryv1.NewStore(), testregistryv1.Python())
	srv.Store.Put("foo/bar", "latest", chain("a")...)
	hold := make(chan struct{})
	srv.Fail("_ping", 1, testregistryv1.Fault{Hold: hold})
	s := session(t, srv.Start(t))
	first := make(chan error, 1)
	go func() {
		_, err := s.Repository(t.Context())
		first <- err
	}()
	for srv.Count("_ping") == 0 {
	}
	ctx, cancel := context.WithCancel(t.Context())
	second := make(chan error, 1)
	go func() {
		_, err := s.Repository(ctx)
		second <- err
	}()
	cancel()
	if err := <-second; !errkind.Is(err, errkind.Canceled) {
		t.Errorf("the second: %v", err)
	}
	close(hold)
	if err := <-first; err != nil {
		t.Errorf("the first: %v", err)
	}
}
