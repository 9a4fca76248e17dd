package registryv1

import (
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/peelfs/peelfs/fetch/transport"
	"github.com/peelfs/peelfs/fetch/v1image"
	"github.com/peelfs/peelfs/internal/errkind"
)

const (
	maxPing      = 64 << 10 // bytes of a ping's answer that are looked at
	maxImageList = 32 << 20
	maxEndpoints = 8
)

// pong is the answer to a ping.
type pong struct {
	base       *url.URL
	standalone bool
}

// Ping asks whether a registry of this protocol is at the host of opt, and no
// more: one request, or two where a host on loopback turns out to speak TLS.
func Ping(ctx context.Context, opt Options) error {
	opt.Policy.Attempts = 1
	s, err := New(opt)
	if err != nil {
		return err
	}
	_, err = s.ping(ctx, nil)
	return err
}

// ping finds the base URL. Where https was refused, http is not tried: that is
// for the user to ask (CVE-2014-5277). l is sent along if it is not nil.
func (s *Session) ping(ctx context.Context, l *login) (*pong, error) {
	host := s.opt.Host
	scheme := s.opt.Network.Scheme(host)
	p, err := s.pingBy(ctx, scheme, l)
	if scheme == "http" && perhapsTLS(err) && s.opt.Network.UseTLS(host) {
		return s.pingBy(ctx, "https", l)
	}
	return p, err
}

// perhapsTLS reports whether a TLS server may have answered plain http so: with a
// status 400, or by breaking the connection.
func perhapsTLS(err error) bool {
	var answer *statusError
	if errors.As(err, &answer) {
		return answer.status == http.StatusBadRequest
	}
	return err != nil && !errkind.Is(err, errkind.Timeout)
}

func (s *Session) pingBy(ctx context.Context, scheme string, l *login) (*pong, error) {
	base := &url.URL{Scheme: scheme, Host: s.opt.Host, Path: "/v1/"}
	p := &pong{base: base, standalone: true}
	rq := request{path: "_ping", what: "registry " + s.opt.Host, limit: maxPing, basic: true}
	if l != nil {
		l.index = base
	}
	err := s.each(ctx, []*url.URL{base}, rq, l, func(resp *http.Response, _ []byte) error {
		if t, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); t == "text/html" {
			return errkind.New(errkind.NotFound, "%s answers a ping with a web page", s.opt.Host)
		}
		if v := resp.Header.Get("X-Docker-Registry-Standalone"); v != "" {
			p.standalone = strings.EqualFold(v, "true") || v == "1"
		}
		return nil
	})
	return p, err
}

// logIn pings and asks the index for the repository, which yields the token and
// the endpoints. A server that lets nobody in without a password is pinged again
// with it.
func (s *Session) logIn(ctx context.Context) (*login, error) {
	l := &login{}
	p, err := s.ping(ctx, nil)
	refused := errkind.Is(err, errkind.Denied)
	if err != nil && !refused {
		return nil, err
	}
	if s.opt.Credentials != nil {
		var lookupErr error
		if l.user, l.password, l.source, lookupErr = s.opt.Credentials(ctx); lookupErr != nil {
			return nil, lookupErr
		}
	}
	if refused {
		if p, err = s.ping(ctx, l); err != nil {
			return nil, err
		}
		l.everywhere = true
	}
	l.index, l.standalone = p.base, p.standalone
	for _, name := range spellings(s.opt.Repository) {
		if err = s.repository(ctx, l, name); !errkind.Is(err, errkind.NotFound) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

// spellings are the names under which an index may know a repository: as typed,
// and for names of one part in the namespace that servers put them in.
func spellings(repository string) []string {
	if strings.Contains(repository, "/") {
		return []string{repository}
	}
	return []string{repository, "library/" + repository}
}

func (s *Session) repository(ctx context.Context, l *login, name string) error {
	rq := request{
		path: "repositories/" + name + "/images", what: "repository " + s.opt.Host + "/" + s.opt.Repository,
		header: http.Header{"X-Docker-Token": {"true"}}, limit: maxImageList, whole: true, basic: true,
	}
	return s.each(ctx, []*url.URL{l.index}, rq, l, func(resp *http.Response, body []byte) error {
		l.token = tokenOf(resp.Header)
		l.endpoints = s.endpointsOf(resp.Header, l.index)
		l.images = listedImages(body)
		return nil
	})
}

// listedImages reads the list as far as it can be read: nothing depends on it.
func listedImages(body []byte) []ListedImage {
	var list []ListedImage
	if json.Unmarshal(body, &list) != nil {
		return nil
	}
	return slices.DeleteFunc(list, func(i ListedImage) bool { return !v1image.ValidID(i.ID) })
}

// tokenOf finds the token among all its spellings: several headers, with or
// without the word Token before the value, or only in WWW-Authenticate.
func tokenOf(h http.Header) string {
	var values []string
	for _, v := range h.Values("X-Docker-Token") {
		if v = withoutScheme(v); v != "" && !strings.EqualFold(v, "true") {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		for _, v := range h.Values("WWW-Authenticate") {
			if bare := withoutScheme(v); bare != strings.TrimSpace(v) && bare != "" {
				values = append(values, bare)
			}
		}
	}
	return strings.Join(values, ",")
}

// withoutScheme strips one leading "Token ".
func withoutScheme(v string) string {
	v = strings.TrimSpace(v)
	if scheme, rest, ok := strings.Cut(v, " "); ok && strings.EqualFold(scheme, "Token") {
		return strings.TrimSpace(rest)
	}
	return v
}

// endpointsOf reads the list of registries. They are spoken to as the index is,
// but http stays where it is allowed: a list cannot take encryption away.
func (s *Session) endpointsOf(h http.Header, index *url.URL) []*url.URL {
	var out []*url.URL
	for _, host := range strings.FieldsFunc(strings.Join(h.Values("X-Docker-Endpoints"), ","), func(r rune) bool {
		return r == ',' || r == ' ' || r == '\t'
	}) {
		if !validHost(host) || len(out) == maxEndpoints {
			continue
		}
		if host == index.Host {
			out = append(out, index)
			continue
		}
		scheme := "https"
		if index.Scheme == "http" {
			scheme = s.opt.Network.Scheme(host)
		}
		out = append(out, &url.URL{Scheme: scheme, Host: host, Path: "/v1/"})
	}
	if len(out) == 0 {
		return []*url.URL{index}
	}
	return out
}

// authorize sets what a request to u may know. Basic goes to the index alone: for
// its own route, and for all routes if it is the registry as well, or wants it
// before anything else. The token goes to the endpoints that the index named.
func (l *login) authorize(req *http.Request, basic bool) {
	atIndex := transport.SameOrigin(req.URL, l.index)
	switch {
	case l.user != "" && atIndex && (basic || l.standalone || l.everywhere):
		req.SetBasicAuth(l.user, l.password)
	case basic:
	case l.token != "":
		req.Header.Set("Authorization", "Token "+l.token)
	}
}
