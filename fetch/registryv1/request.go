package registryv1

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/peelfs/peelfs/fetch/transport"
	"github.com/peelfs/peelfs/fetch/transport/retry"
	"github.com/peelfs/peelfs/internal/errkind"
)

// agent is what servers of the time parse: some refuse others, and one cuts its
// answers for versions that it does not know.
const agent = "docker/1.3.3 go/go1.3.3 git-commit/d344625 kernel/3.13.0 os/linux arch/amd64"

const maxErrorBody = 8 << 10

// request is one question, whichever endpoint answers it.
type request struct {
	path   string // below /v1/
	what   string // for messages: "tags of host/repo"
	header http.Header
	limit  int64 // most bytes of the body, when it is read here
	whole  bool  // a longer body is an error, rather than cut
	basic  bool  // a request to the index, which knows passwords and no token
	stream bool  // the body is for the caller to read and close
	final  bool  // NotFound of one endpoint is the answer
	ranged bool  // 206 and 416 are answers as well
	once   bool  // the caller repeats what failed
}

// tries counts the failures of one request. Each kind of request has its own, so
// that one route that is overloaded takes nothing from the next.
func (s *Session) tries() *retry.Attempts { return s.opt.Policy.Start(s) }

// Met implements retry.Server.
func (s *Session) Met() bool { return s.met.Load() }

// Retried implements retry.Server.
func (s *Session) Retried() {
	if s.opt.Retried != nil {
		s.opt.Retried()
	}
}

// statusError is a bad answer.
type statusError struct {
	status int
	text   string // what the server says, for people
}

func (e *statusError) Error() string {
	s := "status " + strconv.Itoa(e.status)
	if e.text != "" {
		s += ": " + e.text
	}
	return s
}

// ask sends rq to the endpoints of the login, with one fresh login if the first
// is refused.
func (s *Session) ask(ctx context.Context, rq request, use func(*http.Response, []byte) error) error {
	l, err := s.loggedIn(ctx, nil)
	if err != nil {
		return err
	}
	err = s.each(ctx, l.endpoints, rq, l, use)
	if !errkind.Is(err, errkind.Denied) {
		return err
	}
	fresh, loginErr := s.loggedIn(ctx, s.latest(l))
	if loginErr != nil {
		return loginErr
	}
	return s.each(ctx, fresh.endpoints, rq, fresh, use)
}

// latest is the login in use if it has the same token as l (only the order of its
// endpoints may differ), so that a refusal replaces it once and not twice.
func (s *Session) latest(l *login) *login {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.login != nil && s.mu.login.token == l.token {
		return s.mu.login
	}
	return l
}

// each sends rq to one endpoint after the other, then pauses and starts again,
// until one answer is good, no endpoint is left that could give one, or the retry
// policy ends it. use gets the good answer; its error counts as the endpoint's.
func (s *Session) each(ctx context.Context, endpoints []*url.URL, rq request, l *login, use func(*http.Response, []byte) error) error {
	tries := s.tries()
	var worst error
	for {
		passing, err := s.round(ctx, endpoints, rq, l, use)
		if err == nil {
			return nil
		}
		worst = worse(worst, err)
		if passing == nil {
			return explain(rq, worst)
		}
		if rq.once {
			return explain(rq, passing)
		}
		if tries.Again(ctx, passing) != nil {
			if ctx.Err() != nil {
				worst = retry.Canceled(ctx)
			}
			return explain(rq, worst)
		}
	}
}

// round sends rq to each endpoint until one answer is good. passing is an error
// that another round may mend, of the endpoint that wants to be left alone for
// longest; nil if no round will help.
func (s *Session) round(ctx context.Context, endpoints []*url.URL, rq request, l *login, use func(*http.Response, []byte) error) (passing, worst error) {
	for _, e := range endpoints {
		err := s.once(ctx, e, rq, l, use)
		if err == nil {
			s.prefer(l, e)
			return nil, nil
		}
		if ctx.Err() != nil || rq.decides(err) {
			return nil, err
		}
		worst = worse(worst, err)
		if errkind.Of(err).Retryable() && !retry.IsFinal(err) && (passing == nil || retry.After(err) > retry.After(passing)) {
			passing = err
		}
	}
	return passing, worst
}

// decides says whether no other endpoint is to be asked: access was refused,
// which a login mends or nothing, or what is asked for is not there.
func (rq request) decides(err error) bool {
	var answer *statusError
	switch errkind.Of(err) {
	case errkind.Denied:
		return errors.As(err, &answer)
	case errkind.NotFound:
		return rq.final
	}
	return false
}

// worse is the error to report: the first, unless it only says that there is no
// such thing at one of several places.
func worse(a, b error) error {
	if a == nil || errkind.Is(a, errkind.NotFound) {
		return b
	}
	return a
}

func explain(rq request, err error) error {
	return errkind.New(errkind.Of(err), "%s: %w", rq.what, err)
}

// once is one attempt at one endpoint.
func (s *Session) once(ctx context.Context, e *url.URL, rq request, l *login, use func(*http.Response, []byte) error) error {
	u := e.JoinPath(rq.path)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return errkind.Wrap(errkind.Internal, err)
	}
	for k, v := range rq.header {
		req.Header[k] = v
	}
	req.Header.Set("User-Agent", strings.TrimSpace(agent+" "+s.opt.UserAgent))
	if l != nil {
		l.authorize(req, rq.basic)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return transport.Classify(err, e.Host)
	}
	s.met.Store(true)
	if !rq.answered(resp.StatusCode) {
		defer resp.Body.Close()
		return s.refusal(resp, e, l)
	}
	if rq.stream {
		return use(resp, nil)
	}
	body, err := rq.read(resp)
	if err != nil {
		return transport.Classify(err, e.Host)
	}
	return use(resp, body)
}

func (rq request) answered(status int) bool {
	switch status {
	case http.StatusOK:
		return true
	case http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable:
		return rq.ranged
	}
	return false
}

// read reads the whole answer, or as much of it as counts, and closes it.
func (rq request) read(resp *http.Response) ([]byte, error) {
	if rq.whole {
		return transport.ReadDocument(resp, rq.limit, nil)
	}
	defer resp.Body.Close()
	return io.ReadAll(io.LimitReader(resp.Body, rq.limit))
}

// refusal gives a bad status its kind.
func (s *Session) refusal(resp *http.Response, e *url.URL, l *login) error {
	text := errorText(resp.Body)
	err := &statusError{status: resp.StatusCode, text: text}
	switch code := resp.StatusCode; {
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		source := "no credentials"
		if l != nil && l.source != "" {
			source = l.source
		}
		return errkind.WithHint(errkind.New(errkind.Denied, "%s refuses access (%w); used %s", e.Host, err, source),
			"log in (docker login, podman login), pass --creds or --authfile, or check the name")
	case code == http.StatusNotFound, code == http.StatusGone:
		return errkind.New(errkind.NotFound, "%s: %w", e.Host, err)
	case code >= 500, code == http.StatusTooManyRequests, code == http.StatusRequestTimeout,
		code == http.StatusBadRequest && strings.Contains(text, "being uploaded"):
		return retry.WithAfter(errkind.New(errkind.Unavailable, "%s: %w", e.Host, err), resp.Header)
	}
	return errkind.New(errkind.Unsupported, "%s: unexpected answer: %w", e.Host, err)
}

// errorText is the "error" of a JSON body, or the first line of any other.
func errorText(body io.Reader) string {
	b, _ := io.ReadAll(io.LimitReader(body, maxErrorBody)) // what came is enough for a message
	var doc struct {
		Error string `json:"error"`
	}
	text := string(b)
	if json.Unmarshal(b, &doc) == nil {
		text = doc.Error
	} else if strings.Contains(text, "<") {
		return ""
	}
	text, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
	text = strings.Map(printable, text)
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "…"
	}
	return text
}

// printable drops control characters: a message goes to a terminal.
func printable(r rune) rune {
	if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
		return -1
	}
	return r
}
