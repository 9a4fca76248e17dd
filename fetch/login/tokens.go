package login

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"oras.land/oras-go/v2/registry/remote/auth"
)

const (
	defaultLife = time.Minute // of a token that does not say; the specification's
	// renewAt is the share of a token's life after which it counts as old: a
	// request that starts with it should also end with it.
	renewAt = 0.8
)

var errNoToken = errors.New("no token")

// tokens remembers what logins gave, for one repository of one registry, until
// it is old. It implements auth.Cache.
//
// A login runs once however many requests wait for it, and belongs to all of
// them: it does not end with the context of the one that began it.
type tokens struct {
	now    func() time.Time
	flight singleflight.Group

	mu struct {
		sync.Mutex
		scheme auth.Scheme
		token  string
		until  time.Time // zero: for ever
	}
}

func newTokens() *tokens { return &tokens{now: time.Now} }

// GetScheme implements auth.Cache.
func (t *tokens) GetScheme(context.Context, string) (auth.Scheme, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.token == "" {
		return auth.SchemeUnknown, errNoToken
	}
	return t.mu.scheme, nil
}

// GetToken implements auth.Cache. The key, a list of scopes, does not matter:
// all our requests want the same, whatever a server calls it.
func (t *tokens) GetToken(_ context.Context, _ string, scheme auth.Scheme, _ string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.token == "" || t.mu.scheme != scheme {
		return "", errNoToken
	}
	if !t.mu.until.IsZero() && !t.now().Before(t.mu.until) {
		return "", errNoToken
	}
	return t.mu.token, nil
}

// Set implements auth.Cache: it logs in by fetch and keeps the result.
func (t *tokens) Set(ctx context.Context, _ string, scheme auth.Scheme, _ string, fetch func(context.Context) (string, error)) (string, error) {
	ch := t.flight.DoChan("", func() (any, error) { return t.login(context.WithoutCancel(ctx), scheme, fetch) })
	select {
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case r := <-ch:
		if r.Err != nil {
			return "", r.Err
		}
		return r.Val.(string), nil
	}
}

// loginTimeout bounds a login that nobody waits for any more.
const loginTimeout = 2 * time.Minute

func (t *tokens) login(ctx context.Context, scheme auth.Scheme, fetch func(context.Context) (string, error)) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	grant := &grant{life: defaultLife}
	began := t.now()
	token, err := fetch(context.WithValue(ctx, grantKey{}, grant))
	if err != nil {
		return "", err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.scheme, t.mu.token, t.mu.until = scheme, token, time.Time{}
	if scheme == auth.SchemeBearer {
		t.mu.until = began.Add(time.Duration(float64(grant.life) * renewAt))
	}
	return token, nil
}

// loggedIn reports whether there is a token that is not old.
func (t *tokens) loggedIn() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.token != "" && (t.mu.until.IsZero() || t.now().Before(t.mu.until))
}

// forget drops what is kept, because a server did not like it.
func (t *tokens) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.token = ""
}

// grant is what a token server says beside the token. A request whose context
// carries one is a request to a token server.
type grant struct {
	life time.Duration
}

type grantKey struct{}

func grantOf(ctx context.Context) *grant {
	g, _ := ctx.Value(grantKey{}).(*grant)
	return g
}

// lifeOf turns expires_in into a life: absent or absurd values are the default,
// and shorter ones are what the specification rounds up to.
func lifeOf(seconds int64) time.Duration {
	life := time.Duration(min(max(seconds, 0), 1<<31)) * time.Second
	return max(life, defaultLife)
}
