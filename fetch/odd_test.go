package fetch

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/testregistry"
)

// front is a server before r that behaves oddly: odd answers what it likes and
// reports true, and the rest goes to r. It counts what it is asked.
type front struct {
	*httptest.Server
	host  string
	asked atomic.Int64
}

func newFront(t *testing.T, r *testregistry.Registry, odd func(w http.ResponseWriter, req *http.Request) bool) *front {
	t.Helper()
	back := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: r.Host})
	back.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	f := &front{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		f.asked.Add(1)
		if !odd(w, req) {
			back.ServeHTTP(w, req)
		}
	}))
	t.Cleanup(f.Close)
	f.host = strings.TrimPrefix(f.URL, "http://")
	return f
}

// one is a registry with app:1, an image of one layer.
func one(t *testing.T) *testregistry.Registry {
	r := testregistry.New(t, testregistry.Options{})
	r.Push("app:1", testregistry.Image{Layers: testregistry.Layers(layerA)})
	return r
}

// mustRead resolves app:1 at host and reads its layer.
func mustRead(t *testing.T, c *Client, host string) {
	t.Helper()
	img := resolve(t, c, host+"/app:1")
	if got := readAll(t, img.Layers[0].Blob, 0, -1); digest.FromBytes(got) != img.Layers[0].Descriptor.Digest {
		t.Errorf("%d bytes of another layer", len(got))
	}
}

// A list of tags goes on however its server spells that, and always at the server
// that was asked.
func TestPagesOfTags(t *testing.T) {
	for name, links := range map[string]func(next string) []string{
		"relative":          func(next string) []string { return []string{"<" + next + `>; rel="next"`} },
		"only a query":      func(next string) []string { return []string{"<" + next[strings.Index(next, "?"):] + `>; rel="next"`} },
		"another host":      func(next string) []string { return []string{"<http://registry.internal:5000" + next + `>; rel="next"`} },
		"another scheme":    func(next string) []string { return []string{"<https://registry.internal" + next + `>; rel="next"`} },
		"no quotes":         func(next string) []string { return []string{"<" + next + ">; rel=next"} },
		"capitals, blanks":  func(next string) []string { return []string{" <" + next + `> ; title="a, b;c" ; Rel = "NEXT"`} },
		"several relations": func(next string) []string { return []string{"<" + next + `>; rel="last next"`} },
		"several links": func(next string) []string {
			return []string{`</first>; rel="first", <` + next + `>; rel="next", </l>; rel=last`}
		},
		"several headers": func(next string) []string { return []string{`</first>; rel="prev"`, "<" + next + `>; rel="next"`} },
		"a comma within":  func(next string) []string { return []string{"<" + next + "&x=1,2>; rel=next"} },
	} {
		f := newFront(t, one(t), func(w http.ResponseWriter, req *http.Request) bool {
			if !strings.HasSuffix(req.URL.Path, "/tags/list") {
				return false
			}
			page, _ := strconv.Atoi(req.URL.Query().Get("p"))
			if page < 2 {
				w.Header()["Link"] = links(fmt.Sprintf("/v2/app/tags/list?p=%d", page+1))
			}
			fmt.Fprintf(w, `{"tags":["t%d"]}`, page)
			return true
		})
		tags, err := newClient(t, Config{}).Tags(t.Context(), ref(t, f.host+"/app"))
		if err != nil || strings.Join(tags, " ") != "t0 t1 t2" {
			t.Errorf("%s: %v, %v", name, tags, err)
		}
	}
}

// A list is never cut without a word.
func TestListsThatCannotGoOn(t *testing.T) {
	for name, link := range map[string]string{
		"the same page": `</v2/app/tags/list?n=1000>; rel="next"`,
		"no address":    `<http://%zz>; rel="next"`,
	} {
		f := newFront(t, one(t), func(w http.ResponseWriter, req *http.Request) bool {
			if strings.HasSuffix(req.URL.Path, "/tags/list") {
				w.Header().Set("Link", link)
			}
			return false
		})
		_, err := newClient(t, Config{}).Tags(t.Context(), ref(t, f.host+"/app"))
		t.Run(name, func(t *testing.T) { checkErr(t, err, errkind.Corrupt, "next page") })
	}
	// A full page without a link has a next one, for servers that know "last" alone.
	var all []string
	for i := range 2500 {
		all = append(all, fmt.Sprintf("t%04d", i))
	}
	f := newFront(t, one(t), func(w http.ResponseWriter, req *http.Request) bool {
		at, _ := slices.BinarySearch(all, req.URL.Query().Get("last"))
		if req.URL.Query().Has("last") {
			at++
		}
		page := all[at:min(len(all), at+1000)]
		fmt.Fprintf(w, `{"tags":["%s"]}`, strings.Join(page, `","`))
		return true
	})
	tags, err := newClient(t, Config{}).Tags(t.Context(), ref(t, f.host+"/app"))
	if err != nil || !slices.Equal(tags, all) {
		t.Errorf("%d of %d tags, %v", len(tags), len(all), err)
	}
}

// hidden is a registry that shows strangers nothing, and only at /v2/ says that it
// wants a login.
func hidden(t *testing.T, status int, bearer bool) *front {
	var f *front
	f = newFront(t, one(t), func(w http.ResponseWriter, req *http.Request) bool {
		user, password, _ := req.BasicAuth()
		known := user == "u" && password == "p"
		if req.URL.Path == "/token" {
			if !known {
				http.Error(w, "no", http.StatusUnauthorized)
				return true
			}
			io.WriteString(w, `{"token":"T"}`)
			return true
		}
		if bearer {
			known = req.Header.Get("Authorization") == "Bearer T"
		}
		if known {
			req.Header.Del("Authorization")
			return false
		}
		if req.URL.Path != "/v2/" {
			http.Error(w, `{"errors":[{"code":"UNKNOWN"}]}`, status)
			return true
		}
		challenge := `Basic realm="r"`
		if bearer {
			challenge = `Bearer realm="http://` + f.host + `/token",service="s"`
		}
		w.Header().Set("WWW-Authenticate", challenge)
		http.Error(w, "{}", http.StatusUnauthorized)
		return true
	})
	return f
}

func TestLoginIsAskedForOnlyAtTheDoor(t *testing.T) {
	for _, status := range []int{404, 401, 403} {
		for _, bearer := range []bool{false, true} {
			f := hidden(t, status, bearer)
			mustRead(t, newClient(t, Config{Creds: "u:p"}), f.host)
			c := newClient(t, Config{Creds: "u:p"})
			if tags, err := c.Tags(t.Context(), ref(t, f.host+"/app")); err != nil || len(tags) != 1 {
				t.Errorf("status %d, bearer %v: tags %v, %v", status, bearer, tags, err)
			}
			want := errkind.Denied
			if status == 404 {
				want = errkind.NotFound
			}
			wantErr(t, newClient(t, Config{Creds: "u:wrong"}), f.host+"/app:1", want)
			wantErr(t, newClient(t, Config{Anonymous: true}), f.host+"/app:1", want)
		}
	}
}

// A registry that hides nothing is asked for its door once.
func TestOpenDoorIsAskedForOnce(t *testing.T) {
	r := one(t)
	c := newClient(t, Config{RegistryAPI: "v2"})
	for range 3 {
		wantErr(t, c, r.Ref("app:none"), errkind.NotFound)
	}
	doors := 0
	for _, q := range r.Requests() {
		if q.Path == "/v2/" {
			doors++
		}
	}
	if doors != 1 {
		t.Errorf("asked %d times", doors)
	}
}

// tlsRegistry is r behind TLS, on a server that breaks connections that do not begin
// with a handshake, as HAProxy and stunnel do.
func tlsRegistry(t *testing.T, r *testregistry.Registry) (host, caFile string) {
	t.Helper()
	f := newFront(t, r, func(http.ResponseWriter, *http.Request) bool { return false })
	s := httptest.NewUnstartedServer(f.Config.Handler)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.Listener = rude{s.Listener}
	s.StartTLS()
	t.Cleanup(s.Close)
	caFile = writeFile(t, t.TempDir()+"/ca.pem", certificatePEM(s.Certificate().Raw), 0o644)
	return s.Listener.Addr().String(), caFile
}

// rude closes connections whose first byte is not that of a handshake.
type rude struct{ net.Listener }

func (l rude) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &peeked{Conn: conn}, nil
}

type peeked struct {
	net.Conn
	once sync.Once
}

func (c *peeked) Read(p []byte) (n int, err error) {
	n, err = c.Conn.Read(p)
	c.once.Do(func() {
		if n > 0 && p[0] != 0x16 {
			n, err = 0, net.ErrClosed
			if t, ok := c.Conn.(*net.TCPConn); ok {
				_ = t.SetLinger(0)
			}
			c.Conn.Close()
		}
	})
	return n, err
}

func TestTLSOnLoopback(t *testing.T) {
	host, ca := tlsRegistry(t, one(t))
	for name, cfg := range map[string]Config{
		"an authority": {CAFile: ca}, "nothing checked": {InsecureTLS: true}, "https demanded": {CAFile: ca, HTTPS: true},
	} {
		t.Run(name, func(t *testing.T) { mustRead(t, newClient(t, cfg), host) })
	}
	wantErr(t, newClient(t, Config{}), host+"/app:1", errkind.Denied, "--ca-file") // found to speak TLS all the same
	wantErr(t, newClient(t, Config{HTTPS: true}), one(t).Ref("app:1"), errkind.Denied, "http")
}

// A plain registry on this machine that answers 400 is not taken for one with TLS.
func TestBadRequestOnLoopback(t *testing.T) {
	f := newFront(t, one(t), func(w http.ResponseWriter, req *http.Request) bool {
		w.WriteHeader(http.StatusBadRequest)
		return true
	})
	wantErr(t, newClient(t, Config{}), f.host+"/app:1", errkind.Unavailable, "status 400")
}

// Blobs that a registry with TLS has in a store without it: refused, with a hint;
// allowed where no certificate is checked either.
func TestRedirectToPlainHTTP(t *testing.T) {
	r := one(t)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, "http://"+r.Host+req.URL.Path, http.StatusTemporaryRedirect)
	}))
	s.TLS = &tls.Config{}
	s.StartTLS()
	t.Cleanup(s.Close)
	host := s.Listener.Addr().String()
	mustRead(t, newClient(t, Config{InsecureTLS: true}), host)
	ca := writeFile(t, t.TempDir()+"/ca.pem", certificatePEM(s.Certificate().Raw), 0o644)
	wantErr(t, newClient(t, Config{CAFile: ca}), host+"/app:1", errkind.Denied, "not encrypted", "--tls-verify=false")
}

func certificatePEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// What will not pass is not asked for again, and is called by its name.
func TestHopelessAnswers(t *testing.T) {
	token := func(status int, body string) func(f *front, w http.ResponseWriter, req *http.Request) bool {
		return func(f *front, w http.ResponseWriter, req *http.Request) bool {
			if req.URL.Path != "/token" {
				w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+f.host+`/token",service="s"`)
				w.WriteHeader(http.StatusUnauthorized)
				return true
			}
			w.WriteHeader(status)
			io.WriteString(w, body)
			return true
		}
	}
	challenge := func(text string) func(f *front, w http.ResponseWriter, req *http.Request) bool {
		return func(f *front, w http.ResponseWriter, req *http.Request) bool {
			w.Header().Set("WWW-Authenticate", text)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
	}
	location := func(to string) func(f *front, w http.ResponseWriter, req *http.Request) bool {
		return func(f *front, w http.ResponseWriter, req *http.Request) bool {
			if to != "" {
				w.Header().Set("Location", to)
			}
			w.WriteHeader(http.StatusTemporaryRedirect)
			return true
		}
	}
	for name, c := range map[string]struct {
		odd    func(f *front, w http.ResponseWriter, req *http.Request) bool
		words  string
		atMost int64
	}{
		"empty token":           {token(200, `{"token":""}`), "without a token", 4},
		"no token":              {token(200, `{}`), "without a token", 4},
		"token is no text":      {token(200, `{"token":5}`), "without a token", 4},
		"token is no JSON":      {token(200, `hello`), "without a token", 4},
		"no realm":              {challenge(`Bearer service="x"`), "challenge", 4},
		"bare":                  {challenge(`Bearer`), "challenge", 4},
		"realm is no address":   {challenge(`Bearer realm="::",service="x"`), "challenge", 4},
		"realm is no web":       {challenge(`Bearer realm="ftp://x/token"`), "challenge", 4},
		"realm is a path":       {challenge(`Bearer realm="/token"`), "challenge", 4},
		"unknown scheme":        {challenge(`Negotiate`), "401", 6},
		"redirect in a circle":  {location("/v2/app/manifests/1"), "redirects", 24},
		"redirect to nowhere":   {location(""), "redirects", 4},
		"redirect to no web":    {location("ftp://x/y"), "redirects", 4},
		"redirect to rubbish":   {location("http://[::1/%zz"), "redirects", 4},
		"redirect to a no host": {location("http:///x"), "redirects", 4},
	} {
		t.Run(name, func(t *testing.T) {
			var f *front
			f = newFront(t, one(t), func(w http.ResponseWriter, req *http.Request) bool { return c.odd(f, w, req) })
			cl := newClient(t, Config{})
			_, err := cl.Resolve(t.Context(), ref(t, f.host+"/app:1"), Platform{})
			text := fmt.Sprint(err, errkind.Hint(err))
			if err == nil || !strings.Contains(text, c.words) || strings.Contains(text, "check the network") || strings.Contains(text, "try again") {
				t.Errorf("error %q", text)
			}
			if n := f.asked.Load(); n > c.atMost || cl.Stats().Retries != 0 {
				t.Errorf("%d requests, %d retries", n, cl.Stats().Retries)
			}
		})
	}
}

// Numbers in quotes are numbers, and what is none is no reason to fail.
func TestLifeOfTokenInQuotes(t *testing.T) {
	for _, life := range []string{`"300"`, `"soon"`, `null`, `1e99`, `-5`} {
		var f *front
		f = newFront(t, one(t), func(w http.ResponseWriter, req *http.Request) bool {
			switch {
			case req.URL.Path == "/token":
				io.WriteString(w, `{"access_token":"T","expires_in":`+life+`}`)
			case req.Header.Get("Authorization") == "Bearer T":
				return false
			default:
				w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+f.host+`/token"`)
				w.WriteHeader(http.StatusUnauthorized)
			}
			return true
		})
		mustRead(t, newClient(t, Config{}), f.host)
	}
}

// A credential helper that does not work is passed over with a warning; where the
// registry wants more than that, the error names it.
func TestHelperThatDoesNotWork(t *testing.T) {
	public := testregistry.New(t, testregistry.Options{Auth: testregistry.Anonymous})
	private := testregistry.New(t, testregistry.Options{Auth: testregistry.Bearer, User: "u", Password: "p"})
	for _, r := range []*testregistry.Registry{public, private} {
		r.Push("app:1", testregistry.Image{Layers: testregistry.Layers(layerA)})
	}
	for name, c := range map[string]struct{ conf, script string }{
		"missing": {`{"credsStore":"not-there"}`, ""},
		"fails":   {`{"credsStore":"mine"}`, "echo no display >&2; exit 3"},
		"rubbish": {`{"credsStore":"mine"}`, "echo hello"},
		"for one": {`{"credHelpers":{"` + public.Host + `":"mine","` + private.Host + `":"mine"}}`, "exit 1"},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			client := newClient(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			dir := t.TempDir()
			t.Setenv("DOCKER_AUTH_CONFIG", c.conf)
			helper := "docker-credential-not-there"
			if c.script != "" {
				helper = "docker-credential-mine"
				writeFile(t, dir+"/"+helper, "#!/bin/sh\n"+c.script+"\n", 0o755)
				t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
			}
			mustRead(t, client, public.Host)
			resolve(t, client, public.Ref("app:1"))
			if n := strings.Count(log.String(), helper); n == 0 || strings.Count(log.String(), "\n") != 1 {
				t.Errorf("log: %s", &log)
			}
			wantErr(t, client, private.Ref("app:1"), errkind.Denied, helper)
		})
	}
	// What other files have is still looked for.
	client := newClient(t, Config{})
	t.Setenv("REGISTRY_AUTH_FILE", writeFile(t, t.TempDir()+"/a.json", `{"credsStore":"not-there"}`, 0o600))
	t.Setenv("DOCKER_AUTH_CONFIG", fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, private.Host, basic("u:p")))
	mustRead(t, client, private.Host)
}

// A layer's URLs are asked in order after the registry, whatever goes wrong before.
func TestURLsOfLayers(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	for name, odd := range map[string]http.HandlerFunc{
		"missing":    func(w http.ResponseWriter, req *http.Request) { w.WriteHeader(404) },
		"forbidden":  func(w http.ResponseWriter, req *http.Request) { w.WriteHeader(403) },
		"wants user": func(w http.ResponseWriter, req *http.Request) { w.WriteHeader(401) },
		"in trouble": func(w http.ResponseWriter, req *http.Request) { w.WriteHeader(503) },
		"teapot":     func(w http.ResponseWriter, req *http.Request) { w.WriteHeader(418) },
		"web page":   func(w http.ResponseWriter, req *http.Request) { io.WriteString(w, "<html>buy</html>") },
		"other size": func(w http.ResponseWriter, req *http.Request) { io.WriteString(w, "short") },
		"circle":     func(w http.ResponseWriter, req *http.Request) { http.Redirect(w, req, req.URL.Path, http.StatusFound) },
	} {
		for _, mediaType := range []string{"application/vnd.oci.image.layer.nondistributable.v1.tar", "application/vnd.oci.image.layer.v1.tar"} {
			t.Run(name, func(t *testing.T) {
				bad := httptest.NewServer(odd)
				t.Cleanup(bad.Close)
				good := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { w.Write(layerA) }))
				t.Cleanup(good.Close)
				r := testregistry.New(t, testregistry.Options{})
				r.Push("app:1", testregistry.Image{Layers: []testregistry.Layer{{Tar: layerA, MediaType: mediaType, Absent: true,
					URLs: []string{gone.URL + "/x", bad.URL + "/x", "http://[bad", good.URL + "/x"}}}})
				c := newClient(t, Config{})
				mustRead(t, c, r.Host)
				if n := c.Stats().Retries; n != 0 {
					t.Errorf("%d retries before the next place", n)
				}
			})
		}
	}
}

// Answers of something on the way are asked for again, and called what they are if
// they stay.
func TestAnswersFromTheWay(t *testing.T) {
	page := func(w http.ResponseWriter, _ int) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, "<!DOCTYPE html><html>Welcome to the airport</html>")
	}
	for name, c := range map[string]struct {
		path  string
		odd   func(w http.ResponseWriter, from int)
		kind  errkind.Kind
		words string
	}{
		"page for a manifest": {"/manifests/", page, errkind.Unavailable, "web page"},
		"page for a config":   {"/blobs/", page, errkind.Unavailable, "web page"},
		"page for a layer":    {"layer", page, errkind.Unavailable, "web page"},
		"short range": {"layer", func(w http.ResponseWriter, from int) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(layerA)-1, len(layerA)))
			w.WriteHeader(206)
			w.Write(layerA[from : from+1])
		}, errkind.Unavailable, "before the end that it has announced"},
		"wrong total": {"layer", func(w http.ResponseWriter, from int) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(layerA)-1, len(layerA)+7))
			w.WriteHeader(206)
			w.Write(layerA[from:])
		}, errkind.Corrupt, fmt.Sprintf("%d bytes", len(layerA)+7)},
		"other range": {"layer", func(w http.ResponseWriter, from int) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from-1, len(layerA)-1, len(layerA)))
			w.WriteHeader(206)
			w.Write(layerA[from-1:])
		}, errkind.Unavailable, "asked for"},
	} {
		for _, stays := range []bool{false, true} {
			t.Run(fmt.Sprint(name, stays), func(t *testing.T) {
				r := testregistry.New(t, testregistry.Options{})
				r.Push("app:1", testregistry.Image{Layers: []testregistry.Layer{{Tar: layerA, Compression: testregistry.Plain}}})
				layer := digest.FromBytes(layerA).String()
				spoilt := 0
				f := newFront(t, r, func(w http.ResponseWriter, req *http.Request) bool {
					hit := strings.Contains(req.URL.Path, c.path) || c.path == "layer" && strings.HasSuffix(req.URL.Path, layer)
					if !hit || req.Method == http.MethodHead || spoilt > 0 && !stays {
						return false
					}
					spoilt++
					var from int
					_, _ = fmt.Sscanf(req.Header.Get("Range"), "bytes=%d-", &from)
					c.odd(w, from)
					return true
				})
				client := newClient(t, Config{})
				err := readFrom(t, client, f.host, 10)
				if !stays {
					if err != nil || client.Stats().Retries != 1 {
						t.Errorf("%v after %d retries", err, client.Stats().Retries)
					}
					return
				}
				checkErr(t, err, c.kind, c.words)
				if n := client.Stats().Retries; n == 0 {
					t.Error("not tried again")
				}
			})
		}
	}
}

// readFrom resolves app:1 and reads its layer, which is layerA, from a byte on.
func readFrom(t *testing.T, c *Client, host string, from int64) error {
	t.Helper()
	img, err := c.Resolve(t.Context(), ref(t, host+"/app:1"), Platform{OS: "linux", Architecture: "amd64"})
	if err != nil {
		return err
	}
	body, _, err := img.Layers[0].Blob.ReadRange(t.Context(), from, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	if err == nil && !bytes.Equal(got, layerA[from:]) {
		t.Error("other bytes")
	}
	return err
}
