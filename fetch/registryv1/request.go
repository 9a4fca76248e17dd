package registryv1

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/peelfs/peelfs/fetch/transport"
	"github.com/peelfs/peelfs/internal/errkind"
)

// agent is what servers of the time parse: some refuse others, and one cuts its
// answers for versions that it does not know.
const agent = "docker/1.3.3 go/go1.3.3 git-commit/d344625 kernel/3.13.0 os/linux arch/amd64"

const (
	maxRedirects = 10
	maxErrorBody = 8 << 10
)

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
}

// budget is what one call may still spend. It belongs to one goroutine.
type budget struct {
	retry    Retry
	attempts int
	pause    time.Duration
	left     time.Duration
}

func (s *Session) newBudget() *budget {
	r := s.opt.Retry
	or := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	if r.Attempts <= 0 {
		r.Attempts = 6
	}
	or(&r.First, 250*time.Millisecond)
	or(&r.Longest, 8*time.Second)
	or(&r.Total, 30*time.Second)
	if r.Sleep == nil {
		r.Sleep = sleep
	}
	return &budget{retry: r, attempts: r.Attempts, pause: r.First, left: r.Total}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wait pauses before the next round: as long as the server says, or with growing,
// jittered pauses. false means that the budget is used up.
func (b *budget) wait(ctx context.Context, asked time.Duration) bool {
	d := b.pause/2 + rand.N(b.pause/2+1)
	b.pause = min(2*b.pause, b.retry.Longest)
	if asked > 0 {
		d = asked
	}
	if b.attempts--; b.attempts <= 0 || d > b.left {
		return false
	}
	b.left -= d
	return b.retry.Sleep(ctx, d) == nil
}

// statusError is a bad answer.
type statusError struct {
	status int
	text   string        // what the server says, for people
	after  time.Duration // Retry-After
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
func (s *Session) ask(ctx context.Context, b *budget, rq request, use func(*http.Response, []byte) error) error {
	l, err := s.loggedIn(ctx, b, nil)
	if err != nil {
		return err
	}
	err = s.each(ctx, b, l.endpoints, rq, l, use)
	if !errkind.Is(err, errkind.Denied) {
		return err
	}
	fresh, loginErr := s.loggedIn(ctx, b, s.latest(l))
	if loginErr != nil {
		return loginErr
	}
	return s.each(ctx, b, fresh.endpoints, rq, fresh, use)
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
// until one answer is good, no endpoint is left that could give one, or the
// budget ends. use gets the good answer; its error counts as the endpoint's.
func (s *Session) each(ctx context.Context, b *budget, endpoints []*url.URL, rq request, l *login, use func(*http.Response, []byte) error) error {
	var worst error
	for {
		hopeless, after := 0, time.Duration(0)
		for _, e := range endpoints {
			err := s.once(ctx, e, rq, l, use)
			if err == nil {
				s.prefer(l, e)
				return nil
			}
			if ctx.Err() != nil || rq.decides(err) {
				return explain(rq, err)
			}
			worst = worse(worst, err)
			after = max(after, retryAfter(err))
			if !errkind.Of(err).Retryable() {
				hopeless++
			}
		}
		if hopeless == len(endpoints) || !b.wait(ctx, after) {
			return explain(rq, worst)
		}
	}
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

func retryAfter(err error) time.Duration {
	var e *statusError
	if errors.As(err, &e) {
		return e.after
	}
	return 0
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
	if !rq.answered(resp.StatusCode) {
		defer resp.Body.Close()
		return s.refusal(resp, e, l)
	}
	if rq.stream {
		return use(resp, nil)
	}
	defer resp.Body.Close()
	body, err := readAll(resp.Body, rq)
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

func readAll(r io.Reader, rq request) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, rq.limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > rq.limit {
		if rq.whole {
			return nil, errkind.New(errkind.Unsupported, "the answer is longer than %d bytes", rq.limit)
		}
		body = body[:rq.limit]
	}
	return body, nil
}

// refusal gives a bad status its kind.
func (s *Session) refusal(resp *http.Response, e *url.URL, l *login) error {
	text := errorText(resp.Body)
	err := &statusError{status: resp.StatusCode, text: text, after: parseRetryAfter(resp.Header.Get("Retry-After"))}
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
		return errkind.New(errkind.Unavailable, "%s: %w", e.Host, err)
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

func parseRetryAfter(v string) time.Duration {
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, time.Until(t))
	}
	return 0
}

// checkRedirect keeps Range and drops credentials as soon as one hop leaves the
// origin; they do not come back if a later hop returns.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return errkind.New(errkind.Unavailable, "more than %d redirects", maxRedirects)
	}
	origin := via[0].URL
	if via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return errkind.New(errkind.Denied, "%s redirects to %s, which is not encrypted", origin.Host, req.URL.Host)
	}
	for _, hop := range append(via[1:len(via):len(via)], req) {
		if !transport.SameOrigin(origin, hop.URL) {
			req.Header.Del("Authorization")
			req.Header.Del("Referer")
		}
	}
	return nil
}
