package login

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/peelfs/peelfs/fetch/transport"
	"github.com/peelfs/peelfs/fetch/transport/retry"
	"github.com/peelfs/peelfs/internal/errkind"
)

const maxTokenResponse = 128 << 10

// negotiator is the RoundTripper beneath the login protocol. It reduces the
// challenges of a 401 to the one to be followed, and knows token servers.
type negotiator struct{ base http.RoundTripper }

func (n *negotiator) RoundTrip(req *http.Request) (*http.Response, error) {
	if g := grantOf(req.Context()); g != nil {
		return n.token(req, g)
	}
	resp, err := n.base.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	best, realm := choose(resp.Header.Values("WWW-Authenticate"))
	if best == "" {
		return resp, nil
	}
	if isBearer(best) && !isAddress(realm) {
		resp.Body.Close()
		return nil, retry.Final(errkind.New(errkind.Unavailable, "%s wants a token but does not say from where: its challenge is %q", req.URL.Host, short(best)))
	}
	resp.Header = resp.Header.Clone()
	resp.Header.Set("WWW-Authenticate", best)
	return resp, nil
}

func isBearer(challenge string) bool {
	scheme, _, _ := strings.Cut(challenge, " ")
	return strings.EqualFold(scheme, "bearer")
}

// isAddress reports whether a token server can be asked at s.
func isAddress(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// short is a text of a server, made fit for a message.
func short(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f {
			return -1
		}
		return r
	}, s)
	return transport.Redact(s[:min(len(s), 200)])
}

// token sends a request to a token server, notes how long the token lives, and
// asks by GET where a POST is refused: some servers know no other.
func (n *negotiator) token(req *http.Request, g *grant) (*http.Response, error) {
	var form []byte
	if req.Method == http.MethodPost && req.Body != nil {
		var err error
		if form, err = io.ReadAll(io.LimitReader(req.Body, maxTokenResponse)); err != nil {
			return nil, err
		}
		req.Body.Close()
		req = req.Clone(req.Context())
		req.Body = io.NopCloser(bytes.NewReader(form))
	}
	resp, err := n.base.RoundTrip(req)
	if err == nil && form != nil && refusesPOST(resp.StatusCode) {
		if get := asGET(req, form); get != nil {
			resp.Body.Close()
			resp, err = n.base.RoundTrip(get)
		}
	}
	if err == nil && resp.StatusCode == http.StatusOK {
		err = note(resp, g)
	}
	if err != nil {
		return nil, err // with an answer beside it net/http would complain on stderr
	}
	return resp, nil
}

// refusesPOST: 404 from GCR, 401 from Artifactory, 400 from ACR, 405 from the rest.
func refusesPOST(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusNotFound, http.StatusMethodNotAllowed:
		return true
	}
	return false
}

// asGET is the same request in the older form: the secret as a Basic password.
func asGET(req *http.Request, form []byte) *http.Request {
	v, err := url.ParseQuery(string(form))
	if err != nil {
		return nil
	}
	user, secret := v.Get("username"), v.Get("password")
	if t := v.Get("refresh_token"); t != "" {
		user, secret = "<token>", t
	}
	u := *req.URL
	q := u.Query()
	q.Set("service", v.Get("service"))
	for _, scope := range strings.Fields(v.Get("scope")) {
		q.Add("scope", scope)
	}
	u.RawQuery = q.Encode()
	get, err := http.NewRequestWithContext(req.Context(), http.MethodGet, u.String(), nil)
	if err != nil {
		return nil
	}
	get.SetBasicAuth(user, secret)
	return get
}

// note reads the life of the token, makes "token" and "access_token" the same,
// and gives the body back. An answer without a token is an error that no other
// attempt will mend.
func note(resp *http.Response, g *grant) error {
	text, err := transport.ReadDocument(resp, maxTokenResponse, nil)
	if err != nil {
		return err
	}
	var reply struct {
		Token       string          `json:"token"`
		AccessToken string          `json:"access_token"`
		ExpiresIn   json.RawMessage `json:"expires_in"`
	}
	err = json.Unmarshal(text, &reply)
	if reply.AccessToken == "" {
		reply.AccessToken = reply.Token
	}
	if err != nil || reply.AccessToken == "" {
		return retry.Final(errkind.WithHint(errkind.New(errkind.Unavailable, "the token server %s has answered without a token", resp.Request.URL.Host),
			"this is for those to mend who run the registry; check its name too"))
	}
	g.life = lifeOf(seconds(reply.ExpiresIn))
	out, err := json.Marshal(map[string]string{"token": reply.AccessToken, "access_token": reply.AccessToken})
	if err != nil {
		return err
	}
	resp.Body = io.NopCloser(bytes.NewReader(out))
	return nil
}

// seconds reads a number, which some servers put in quotes; 0 if it is none.
func seconds(raw json.RawMessage) int64 {
	f, err := strconv.ParseFloat(strings.Trim(string(raw), `"`), 64)
	if err != nil || f != f {
		return 0
	}
	return int64(max(-1, min(f, 1<<31)))
}

// Challenge is one demand of a WWW-Authenticate header (RFC 9110, 11.6.1).
type challenge struct {
	scheme string
	params []string // "name=value" as quoted in the header
}

// choose finds the challenge to follow among those of all header lines, and its
// realm: Bearer before Basic. It is "" if neither is there.
func choose(lines []string) (text, realm string) {
	for _, line := range lines {
		for _, c := range parseChallenges(line) {
			whole := strings.TrimSpace(c.scheme + " " + strings.Join(c.params, ","))
			switch strings.ToLower(c.scheme) {
			case "bearer":
				return whole, c.param("realm")
			case "basic":
				text, realm = whole, c.param("realm")
			}
		}
	}
	return text, realm
}

// param is the value of a parameter without its quotes; "" if it is not there.
func (c challenge) param(name string) string {
	for _, p := range c.params {
		if n, value, _ := strings.Cut(p, "="); n == name {
			if s, ok := strings.CutPrefix(value, `"`); ok {
				return unquote(strings.TrimSuffix(s, `"`))
			}
			return value
		}
	}
	return ""
}

// unquote undoes the escapes of a quoted string.
func unquote(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// parseChallenges splits one header line. Commas separate both challenges and
// parameters; what has no "=" begins a challenge. Commas within quotes are text.
func parseChallenges(line string) []challenge {
	var list []challenge
	for _, item := range splitQuoted(line) {
		name, rest, spaced := strings.Cut(item, " ")
		isParam := strings.Contains(name, "=") || strings.HasPrefix(strings.TrimSpace(rest), "=")
		if !isParam {
			list = append(list, challenge{scheme: name})
			item = strings.TrimSpace(rest)
			if !spaced || item == "" {
				continue
			}
		}
		if len(list) > 0 {
			c := &list[len(list)-1]
			c.params = append(c.params, lowerName(item))
		}
	}
	return list
}

// lowerName makes the name of a parameter lower case: names are not case
// sensitive, but who reads them may be.
func lowerName(param string) string {
	name, value, ok := strings.Cut(param, "=")
	if !ok {
		return param
	}
	return strings.ToLower(strings.TrimSpace(name)) + "=" + strings.TrimSpace(value)
}

func splitQuoted(s string) []string {
	var items []string
	start, quoted, escaped := 0, false, false
	for i := 0; i < len(s); i++ {
		switch {
		case escaped:
			escaped = false
		case quoted && s[i] == '\\':
			escaped = true
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ',' && !quoted:
			items = appendItem(items, s[start:i])
			start = i + 1
		}
	}
	return appendItem(items, s[start:])
}

func appendItem(items []string, s string) []string {
	if s = strings.TrimSpace(s); s != "" {
		return append(items, s)
	}
	return items
}
