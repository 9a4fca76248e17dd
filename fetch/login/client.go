package login

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"

	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/peelfs/peelfs/fetch/transport"
	"github.com/peelfs/peelfs/internal/errkind"
)

const maxRedirects = 10

// Client sends requests to one repository of one registry, logging in when it is
// asked to. It is safe for concurrent use.
//
// The protocol is oras-go's: challenge, token request, retry; Authorization ends
// where a redirect leaves the origin. Beneath and beside it are the rules that it
// lacks: several challenges, the age of tokens, 403 as a reason to log in
// again, token servers that refuse POST, and the name of the credential's source.
type Client struct {
	auth   *auth.Client
	tokens *tokens
	host   string // host:port of the registry's API
	scope  string

	mu struct {
		sync.Mutex
		used string // words for the last credential and where it came from
	}
}

// Push is what a Client asks to be allowed beside reading.
const Push = auth.ActionPush

// NewClient makes a Client for the repository that users call domain/repository
// and whose API is at host. It asks for leave to read, and for more.
func NewClient(rt http.RoundTripper, find *Finder, domain, host, repository string, more ...string) *Client {
	c := &Client{host: host, scope: auth.ScopeRepository(repository, append(more, auth.ActionPull)...), tokens: newTokens()}
	c.mu.used = "no credentials"
	c.auth = &auth.Client{
		Client:   &http.Client{Transport: &negotiator{rt}, CheckRedirect: checkRedirect},
		Cache:    c.tokens,
		ClientID: "peelfs",
		Credential: func(ctx context.Context, _ string) (Credential, error) {
			cred, source, err := find.Find(ctx, domain, repository)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.mu.used = describe(cred, source)
			return cred, err
		},
	}
	return c
}

// checkRedirect refuses the step from https to http: what is fetched is verified,
// but who fetches it is nobody's business.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return errkind.New(errkind.Unavailable, "more than %d redirects", maxRedirects)
	}
	last := via[len(via)-1].URL
	if last.Scheme == "https" && req.URL.Scheme != "https" {
		return errkind.New(errkind.Denied, "%s redirects to %s, which is not encrypted", last.Host, req.URL.Host)
	}
	if !transport.SameOrigin(via[0].URL, req.URL) {
		req.Header.Del("Authorization")
		req.Header.Del("Cookie")
		req.Header.Del("Referer")
	}
	return nil
}

// Do sends req, whose body, if it has one, can be had again (GetBody). A 401 or
// 403 leads to one fresh login and one fresh start at the registry; what is
// answered then is the answer, of whatever status. An error is classified and
// free of secrets.
func (c *Client) Do(req *http.Request) (*http.Response, error) {
	ctx := auth.WithScopesForHost(req.Context(), c.host, c.scope)
	resp, err := c.auth.Do(req.WithContext(ctx))
	if err != nil || !refused(resp) {
		return resp, c.explain(err, req.URL)
	}
	if resp.StatusCode == http.StatusUnauthorized && transport.SameOrigin(req.URL, resp.Request.URL) {
		return resp, nil // the login was fresh
	}
	resp.Body.Close()
	c.tokens.forget()
	if req.GetBody != nil {
		if req.Body, err = req.GetBody(); err != nil {
			return nil, errkind.Wrap(errkind.Internal, err)
		}
	}
	resp, err = c.auth.Do(req.WithContext(ctx))
	return resp, c.explain(err, req.URL)
}

func refused(resp *http.Response) bool {
	return resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden
}

// Source says in words which credential the last login used.
func (c *Client) Source() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.used
}

// explain types an error of the round trip or of the login.
func (c *Client) explain(err error, u *url.URL) error {
	if err == nil {
		return nil
	}
	var refusal *errcode.ErrorResponse
	switch {
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return Denied(u.Host, c.Source(), "it wants a user and a password")
	case errors.As(err, &refusal):
		return c.refusal(refusal, u)
	}
	return transport.Classify(err, u.Host)
}

func (c *Client) refusal(r *errcode.ErrorResponse, u *url.URL) error {
	server := u.Host
	if r.URL != nil {
		server = r.URL.Host
	}
	switch {
	case r.StatusCode == http.StatusTooManyRequests || r.StatusCode >= 500:
		return errkind.New(errkind.Unavailable, "login at %s: status %d", server, r.StatusCode)
	case r.StatusCode >= 400:
		return Denied(server, c.Source(), fmt.Sprintf("login refused with status %d", r.StatusCode))
	}
	return errkind.New(errkind.Unavailable, "login at %s: status %d", server, r.StatusCode)
}

// Denied is the error for a registry that does not let us in. source is what
// Source says.
func Denied(host, source, why string) error {
	return errkind.WithHint(errkind.New(errkind.Denied, "%s refuses access: %s; used %s", host, why, source),
		"log in (docker login, podman login), pass --creds or --authfile, or check the name")
}
