package transport

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peelfs/peelfs/internal/errkind"
)

func newTransport(t *testing.T, opt Options) *Transport {
	t.Helper()
	tr, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.Close)
	return tr
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func get(t *testing.T, tr *Transport, u string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u, nil)
	if err != nil {
		t.Fatal(err)
	}
	return tr.RoundTrip(req)
}

func TestBodiesAreNotDecoded(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		io.WriteString(w, r.Header.Get("Accept-Encoding")+" "+r.UserAgent())
	})
	tr := newTransport(t, Options{})
	resp, err := get(t, tr, s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "identity peelfs" {
		t.Errorf("body %q, %v", text, err)
	}
	if st := tr.Stats(); st.Requests != 1 || st.Bytes != int64(len("identity peelfs")) {
		t.Errorf("stats %+v", st)
	}
}

func TestSilence(t *testing.T) {
	for name, first := range map[string]string{"before the header": "", "within the body": "x"} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if first != "" {
					io.WriteString(w, first)
					http.NewResponseController(w).Flush()
				}
				<-r.Context().Done()
			})
			resp, err := get(t, newTransport(t, Options{IOTimeout: 50 * time.Millisecond}), s.URL)
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			if err = Classify(err, "x"); !errkind.Is(err, errkind.Timeout) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestClassify(t *testing.T) {
	plain := serve(t, func(http.ResponseWriter, *http.Request) {})
	tr := newTransport(t, Options{})
	_, err := get(t, tr, strings.Replace(plain.URL, "http:", "https:", 1))
	err = Classify(err, "reg")
	if !strings.Contains(errkind.Hint(err), "--plain-http") || errkind.Of(err).Retryable() {
		t.Errorf("http from an https port: %v, %q", err, errkind.Hint(err))
	}
	secret := &url.Error{Op: "Get", URL: "https://cdn/x?sig=SECRET", Err: errors.New("Get \"https://u:SECRET@cdn/x?a=SECRET\": reset")}
	if err := Classify(secret, "cdn"); strings.Contains(err.Error(), "SECRET") || !errkind.Is(err, errkind.Unavailable) {
		t.Errorf("error %v", err)
	}
	if err := Classify(context.Canceled, "x"); !errkind.Is(err, errkind.Canceled) {
		t.Errorf("error %v", err)
	}
	typed := errkind.New(errkind.Corrupt, "x")
	if Classify(typed, "y") != typed || Classify(nil, "y") != nil {
		t.Error("what has a kind must keep it")
	}
}

func TestCertificatesOfOneHost(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer s.Close()
	dir := t.TempDir()
	certs := filepath.Join(dir, s.Listener.Addr().String())
	if err := os.Mkdir(certs, 0o755); err != nil {
		t.Fatal(err)
	}
	tr := newTransport(t, Options{CertDirs: []string{dir}})
	_, err := get(t, tr, s.URL)
	if err = Classify(err, "reg"); !strings.Contains(errkind.Hint(err), "--ca-file") {
		t.Errorf("an unknown authority: %v, %q", err, errkind.Hint(err))
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(certs, "ca.crt"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	resp, err := get(t, newTransport(t, Options{CertDirs: []string{dir}}), s.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

func TestSchemes(t *testing.T) {
	tr := newTransport(t, Options{})
	for host, want := range map[string]string{"reg.example": "https", "localhost": "http", "localhost:5000": "http", "127.0.0.1:1": "http",
		"127.9.9.9": "http", "[::1]:5000": "http", "10.0.0.1:5000": "https", "localhost.evil.example": "https", "127.0.0.1.evil.example": "https"} {
		if got := tr.Scheme(host); got != want {
			t.Errorf("%s is spoken to by %s", host, got)
		}
	}
	if newTransport(t, Options{HTTPS: true}).Scheme("localhost:1") != "https" {
		t.Error("https was asked for")
	}
	if newTransport(t, Options{PlainHTTP: true}).Scheme("reg.example") != "http" {
		t.Error("plain http was asked for")
	}
}

// A server on loopback is asked whether it speaks TLS: after a failure, or at
// once where the user has an authority for it.
func TestTLSOfLoopback(t *testing.T) {
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	plain := serve(t, http.NotFound)
	tlsHost, plainHost := secure.Listener.Addr().String(), plain.Listener.Addr().String()
	tr := newTransport(t, Options{})
	if tr.UseTLS("reg.example") || tr.UseTLS(plainHost) || tr.Scheme(plainHost) != "http" {
		t.Error("https with who does not speak it")
	}
	if tr.Scheme(tlsHost) != "http" || !tr.UseTLS(tlsHost) || tr.UseTLS(tlsHost) || tr.Scheme(tlsHost) != "https" {
		t.Error("it is news once that a host speaks TLS")
	}
	eager := newTransport(t, Options{InsecureTLS: true})
	if eager.Scheme(tlsHost) != "https" || eager.Scheme(plainHost) != "http" {
		t.Error("a user who speaks of certificates means https where there is any")
	}
	if newTransport(t, Options{PlainHTTP: true}).UseTLS(tlsHost) {
		t.Error("plain http was asked for")
	}
}

func TestSameOrigin(t *testing.T) {
	for pair, want := range map[string]bool{
		"https://a/x https://a:443/y": true, "https://a https://b.a": false, "https://b.a https://a": false, "https://a http://a": false,
		"http://a:1 http://a:2": false, "HTTPS://A https://a": true,
	} {
		x, y, _ := strings.Cut(pair, " ")
		a, _ := url.Parse(x)
		b, _ := url.Parse(y)
		if SameOrigin(a, b) != want {
			t.Errorf("%s: %v", pair, !want)
		}
	}
}

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		`Get "https://u:p@h/p?a=b&c=d": eof`: `Get "https://…@h/p?…": eof`, "no url": "no url", "what? yes": "what? yes",
	} {
		if got := Redact(in); got != want {
			t.Errorf("%q became %q", in, got)
		}
	}
}
