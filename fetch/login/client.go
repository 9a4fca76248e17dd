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
		open bool   // the registry lets strangers in at its front door
	}
}

// Push is what a Client asks to be allowed beside reading.
const Push = auth.ActionPush

// Network is the way to registries and token servers.
type Network interface {
	http.RoundTripper
	CheckRedirect(req *http.Request, via []*http.Request) error
}

// NewClient makes a Client for the repository that users call domain/repository
// and whose API is at host. It asks for leave to read, and for more.
func NewClient(net Network, find *Finder, domain, host, repository string, more ...string) *Client {
	c := &Client{host: host, scope: auth.ScopeRepository(repository, append(more, auth.ActionPull)...), tokens: newTokens()}
	c.mu.used = "no credentials"
	c.auth = &auth.Client{
		Client:   &http.Client{Transport: &negotiator{net}, CheckRedirect: net.CheckRedirect},
		Cache:    c.tokens,
		ClientID: "peelfs",
		Credential: func(ctx context.Context, _ string) (Credential, error) {
			cred, source, err := find.Find(ctx, domain, repository)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.mu.used = Describe(cred, source)
			return cred, err
		},
	}
	return c
}

// Do sends req, whose body, if it has one, can be had again (GetBody). A 401 or
// 403 leads to one fresh login and one fresh start at the registry; so does a 404
// of a registry that says only at /v2/ that it wants a login. What is answered then
// is the answer, of whatever status. An error is classified and free of secrets.
func (c *Client) Do(req *http.Request) (*http.Response, error) {
	ctx := auth.WithScopesForHost(req.Context(), c.host, c.scope)
	resp, err := c.auth.Do(req.WithContext(ctx))
	if err != nil {
		return nil, c.explain(err, req.URL)
	}
	atRegistry := transport.SameOrigin(req.URL, resp.Request.URL)
	switch {
	case (refused(resp) || resp.StatusCode == http.StatusNotFound) && atRegistry && !c.tokens.loggedIn():
		if !c.knock(ctx, req.URL) {
			return resp, nil
		}
	case !refused(resp), resp.StatusCode == http.StatusUnauthorized && atRegistry:
		return resp, nil // the login was fresh
	default:
		c.tokens.forget()
	}
	resp.Body.Close()
	if req.GetBody != nil {
		if req.Body, err = req.GetBody(); err != nil {
			return nil, errkind.Wrap(errkind.Internal, err)
		}
	}
	resp, err = c.auth.Do(req.WithContext(ctx))
	return resp, c.explain(err, req.URL)
}

// knock asks the registry at u for its front door, which may demand a login where
// other routes only deny that there is anything. It reports whether one was made.
// A registry that lets strangers in there is not asked again.
func (c *Client) knock(ctx context.Context, u *url.URL) bool {
	c.mu.Lock()
	open := c.mu.open
	c.mu.Unlock()
	if open {
		return false
	}
	door := &url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/v2/"}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, door.String(), nil)
	if err != nil {
		return false
	}
	resp, err := c.auth.Do(req)
	if err != nil {
		return false // whoever asked has an answer already
	}
	resp.Body.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.open = !c.tokens.loggedIn() && !refused(resp)
	return c.tokens.loggedIn()
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
	var typed *errkind.Error
	switch {
	case errors.As(err, &typed):
		return typed // less what others have put around it: methods and addresses
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
