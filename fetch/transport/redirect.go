package transport

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/peelfs/peelfs/fetch/transport/retry"
	"github.com/peelfs/peelfs/internal/errkind"
)

const maxRedirects = 10

// CheckRedirect is for http.Client. It refuses the step from https to http, unless
// certificates are not checked either, and chains without an end. Credentials stay
// at the origin that they are for: they do not come back if a later hop returns.
func (t *Transport) CheckRedirect(req *http.Request, via []*http.Request) error {
	origin, last := via[0].URL, via[len(via)-1].URL
	if len(via) >= maxRedirects {
		return retry.Final(errkind.WithHint(errkind.New(errkind.Unavailable, "%s: more than %d redirects, the last to %s", origin.Host, maxRedirects, req.URL.Host),
			"the server sends its clients in a circle: check the name, and what answers for the registry"))
	}
	if last.Scheme == "https" && req.URL.Scheme != "https" && !t.opt.InsecureTLS {
		return errkind.WithHint(errkind.New(errkind.Denied, "%s redirects to %s, which is not encrypted", last.Host, req.URL.Host),
			"if you trust the way to it, use --tls-verify=false; what comes is checked by its digest")
	}
	for _, hop := range append(via[1:len(via):len(via)], req) {
		if !SameOrigin(origin, hop.URL) {
			req.Header.Del("Authorization")
			req.Header.Del("Cookie")
			req.Header.Del("Referer")
		}
	}
	return nil
}

// checkLocation refuses a redirect that leads nowhere: another attempt will not
// find the way either.
func checkLocation(resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil
	}
	to, err := resp.Location()
	if err == nil && (to.Scheme == "http" || to.Scheme == "https") && to.Host != "" {
		return nil
	}
	where := Redact(printable(resp.Header.Get("Location")))
	return retry.Final(errkind.New(errkind.Unavailable, "%s redirects (status %d) to %q, which is no address", resp.Request.URL.Host, resp.StatusCode, where))
}

// printable is a short form of a header for a message.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f {
			return -1
		}
		return r
	}, s[:min(len(s), 200)])
}

// SameOrigin reports whether two URLs are of one scheme, host and port: only
// then may credentials travel from one to the other.
func SameOrigin(a, b *url.URL) bool {
	return strings.EqualFold(a.Scheme, b.Scheme) && hostPort(a) == hostPort(b)
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[strings.ToLower(u.Scheme)]
	}
	return strings.ToLower(u.Hostname()) + ":" + port
}
