// Package registryv1 is a client of Docker's first registry protocol, the one
// that index and registry spoke before 2015.
//
// A Session is one repository on one registry. It yields what the repository
// holds (Repository, Tags, Tag), an image's history and all its JSON (Resolve),
// and each image's layer (Layer). It does no I/O before the first of them is
// asked for and logs in again by itself, so it may live as long as a mount.
//
// Nothing of the protocol is taken on trust: identifiers are checked before they
// become part of a URL, the ancestry must agree with the parents, a layer that
// comes with a checksum is verified before its last byte leaves, and credentials
// go to the host they are for. Layers have no digest here: an identifier is only
// what one registry calls them.
package registryv1

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peelfs/peelfs/fetch/transport/retry"
	"github.com/peelfs/peelfs/internal/errkind"
)

// Network is the way to servers: *transport.Transport, or less in tests.
type Network interface {
	http.RoundTripper
	Scheme(host string) string // "http" or "https" for this host: http only where asked for or on loopback
	UseTLS(host string) bool   // after a failure: whether a loopback host may now be asked by https

	// CheckRedirect is for http.Client.
	CheckRedirect(req *http.Request, via []*http.Request) error
	// Patience is how long a host may be silent before a second connection is asked.
	Patience(host string) time.Duration
}

// Options configure a Session.
type Options struct {
	Host       string // HOST[:PORT] of the index, which may be the registry as well
	Repository string // as in the reference: "foo", "ns/foo"
	Network    Network

	// Credentials finds user and password for Host, or two empty strings, and
	// says in words which these are. nil means that there are none.
	Credentials func(ctx context.Context) (user, password, source string, err error)

	UserAgent string       // added to what old servers insist on; may be empty
	Policy    retry.Policy // for each request; endpoints share it
	Retried   func()       // called before a request is repeated; may be nil
	Logger    *slog.Logger // nil for none
}

// Session is one repository on one registry. It is safe for concurrent use.
type Session struct {
	opt    Options
	log    *slog.Logger
	met    atomic.Bool  // a server has answered
	client *http.Client // with a cookie jar of its own: some servers keep the login there

	turn chan struct{} // holds one token: who logs in
	mu   struct {
		sync.Mutex
		login *login // nil before the first
	}
}

// login is what the index answered: immutable, replaced as a whole.
type login struct {
	index      *url.URL // scheme://host/v1/
	standalone bool
	user       string
	password   string
	source     string     // which user and password these are, or why there are none, in words
	everywhere bool       // the index wants the password with every request
	token      string     // Authorization of registry requests, or ""
	endpoints  []*url.URL // at least one
	images     []ListedImage
}

// ListedImage is an entry of the index's image list, which may be incomplete or
// empty and says nothing about tags.
type ListedImage struct {
	ID       string `json:"id"`
	Checksum string `json:"checksum"`
	Tag      string `json:"Tag"`
}

// New makes a Session; it does no I/O. Errors are of kind Invalid.
func New(opt Options) (*Session, error) {
	if !validHost(opt.Host) {
		return nil, errkind.New(errkind.Invalid, "%q is not a registry's HOST[:PORT]", opt.Host)
	}
	if !validRepository(opt.Repository) {
		return nil, errkind.New(errkind.Invalid, "%q is not a repository name", opt.Repository)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, errkind.Wrap(errkind.Internal, err)
	}
	log := opt.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Session{opt: opt, log: log, turn: make(chan struct{}, 1)}
	s.client = &http.Client{Transport: opt.Network, Jar: jar, CheckRedirect: opt.Network.CheckRedirect}
	s.turn <- struct{}{}
	return s, nil
}

// validHost accepts what can only be the host part of a URL.
func validHost(host string) bool {
	u, err := url.Parse("https://" + host + "/")
	return err == nil && host != "" && u.Host == host && u.User == nil && u.Hostname() != "" && u.Path == "/"
}

// validRepository keeps path elements that mean something else out of URLs; the
// grammar of names is the reference's business.
func validRepository(name string) bool {
	return name != "" && len(name) <= 255 && !strings.ContainsAny(name, "?#%\\ \x00\r\n") &&
		!slices.ContainsFunc(strings.Split(name, "/"), func(p string) bool { return p == "" || p == "." || p == ".." })
}

// Repository is what the index says about the repository.
type Repository struct {
	Index      string   // URL
	Standalone bool     // the index is the registry
	Endpoints  []string // URLs of registries, in the order in which they are asked
	Images     []ListedImage
}

// Repository logs in, if that did not happen yet, and returns what it learned.
func (s *Session) Repository(ctx context.Context) (*Repository, error) {
	l, err := s.loggedIn(ctx, nil)
	if err != nil {
		return nil, err
	}
	r := &Repository{Index: l.index.String(), Standalone: l.standalone, Images: slices.Clone(l.images)}
	for _, e := range l.endpoints {
		r.Endpoints = append(r.Endpoints, e.String())
	}
	return r, nil
}

// loggedIn is the current login, or a new one if there is none or it is still
// the one that turned out to be of no use. One caller logs in, others wait.
func (s *Session) loggedIn(ctx context.Context, useless *login) (*login, error) {
	if l := s.current(useless); l != nil {
		return l, nil
	}
	select {
	case <-s.turn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { s.turn <- struct{}{} }()
	if l := s.current(useless); l != nil {
		return l, nil
	}
	l, err := s.logIn(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.mu.login = l
	s.mu.Unlock()
	return l, nil
}

func (s *Session) current(useless *login) *login {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.login == useless {
		return nil
	}
	return s.mu.login
}

// prefer puts the endpoint that just answered first for those who come later.
func (s *Session) prefer(l *login, e *url.URL) {
	if l == nil || len(l.endpoints) == 0 || l.endpoints[0] == e || !slices.Contains(l.endpoints, e) {
		return
	}
	next := *l
	next.endpoints = append([]*url.URL{e}, slices.DeleteFunc(slices.Clone(l.endpoints), func(o *url.URL) bool { return o == e })...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.login == l {
		s.mu.login = &next
	}
}
