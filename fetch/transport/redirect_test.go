package transport

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/peelfs/peelfs/fetch/transport/retry"
	"github.com/peelfs/peelfs/internal/errkind"
)

func address(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// Back at the origin after a detour: the credentials stay away.
func TestCredentialsDoNotComeBack(t *testing.T) {
	tr := newTransport(t, Options{})
	var via []*http.Request
	for _, u := range []string{"https://a.example/1", "https://b.example/2"} {
		via = append(via, &http.Request{URL: address(t, u), Header: http.Header{}})
	}
	req := &http.Request{URL: address(t, "https://a.example/3"), Header: http.Header{"Authorization": {"x"}, "Range": {"y"}}}
	if err := tr.CheckRedirect(req, via); err != nil || req.Header.Get("Authorization") != "" || req.Header.Get("Range") != "y" {
		t.Errorf("%v, %v", req.Header, err)
	}
	same := &http.Request{URL: address(t, "https://a.example:443/3"), Header: http.Header{"Authorization": {"x"}}}
	if err := tr.CheckRedirect(same, via[:1]); err != nil || same.Header.Get("Authorization") != "x" {
		t.Errorf("%v, %v", same.Header, err)
	}
	for _, u := range []string{"https://sub.a.example/", "https://a.example:444/"} {
		r := &http.Request{URL: address(t, u), Header: http.Header{"Authorization": {"x"}}}
		if err := tr.CheckRedirect(r, via[:1]); err != nil || r.Header.Get("Authorization") != "" {
			t.Errorf("%s: %v, %v", u, r.Header, err)
		}
	}
	down := &http.Request{URL: address(t, "http://a.example/"), Header: http.Header{"Authorization": {"x"}}}
	if err := tr.CheckRedirect(down, via[:1]); !errkind.Is(err, errkind.Denied) || !strings.Contains(errkind.Hint(err), "--tls-verify=false") {
		t.Errorf("to http: %v, %q", err, errkind.Hint(err))
	}
	if err := newTransport(t, Options{InsecureTLS: true}).CheckRedirect(down, via[:1]); err != nil || down.Header.Get("Authorization") != "" {
		t.Errorf("to http, where nothing is checked: %v, %v", down.Header, err)
	}
	for len(via) < maxRedirects {
		via = append(via, via[0])
	}
	if err := tr.CheckRedirect(req, via); !errkind.Is(err, errkind.Unavailable) || !retry.IsFinal(err) {
		t.Errorf("in a circle: %v", err)
	}
}
