package registry

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/peelfs/peelfs/fetch/login"
	"github.com/peelfs/peelfs/fetch/transport"
	"github.com/peelfs/peelfs/fetch/transport/retry"
	"github.com/peelfs/peelfs/internal/errkind"
)

// maxErrorBody is how much of an error's body is read, bytes.
const maxErrorBody = 8 << 10

// statusError turns a response that is not what was asked for into an error, and
// closes it. what is the thing that was asked for, in words.
func (r *Repository) statusError(resp *http.Response, what string) error {
	defer resp.Body.Close()
	host := resp.Request.URL.Host
	why := reason(resp)
	switch code := resp.StatusCode; {
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		if host != r.host {
			return errkind.New(errkind.Denied, "%s: %s refuses the redirect of %s: %s", what, host, r.host, why)
		}
		return fmt.Errorf("%s: %w", what, login.Denied(r.domain, r.login.Source(), why))
	case code == http.StatusNotFound, code == http.StatusGone:
		return errkind.New(errkind.NotFound, "%s: not found on %s: %s", what, r.domain, why)
	case code == http.StatusTooManyRequests:
		return retry.WithAfter(errkind.WithHint(
			errkind.New(errkind.Unavailable, "%s: %s limits the rate of requests: %s", what, host, why),
			"wait, or log in for a higher limit"), resp.Header)
	case code == http.StatusRequestTimeout, code >= 500:
		return retry.WithAfter(errkind.WithHint(
			errkind.New(errkind.Unavailable, "%s: %s is in trouble: %s", what, host, why), "try again later"), resp.Header)
	case code == http.StatusRequestedRangeNotSatisfiable:
		return errkind.New(errkind.Corrupt, "%s: %s has fewer bytes than the manifest says: %s", what, host, why)
	}
	return errkind.New(errkind.Unavailable, "%s: unexpected answer of %s: %s", what, host, why)
}

// reason is the status and what the server says about it, cut to a line.
func reason(resp *http.Response) string {
	s := fmt.Sprintf("status %d", resp.StatusCode)
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	var body struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
	}
	if json.Unmarshal(text, &body) != nil || len(body.Errors) == 0 {
		return s
	}
	e := body.Errors[0]
	return s + " " + strings.TrimSpace(cutLine(e.Code)+" "+cutLine(e.Message))
}

// cutLine is a harmless single line of what a server sent.
func cutLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "…"
	}
	return transport.Redact(s)
}
