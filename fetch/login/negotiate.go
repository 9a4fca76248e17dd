package login

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
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
	if best := choose(resp.Header.Values("WWW-Authenticate")); best != "" {
		resp.Header = resp.Header.Clone()
		resp.Header.Set("WWW-Authenticate", best)
	}
	return resp, nil
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
	return resp, err
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
// and gives the body back.
func note(resp *http.Response, g *grant) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxTokenResponse))
	resp.Body.Close()
	if err != nil {
		return err
	}
	resp.Body = io.NopCloser(bytes.NewReader(text))
	var reply struct {
		Token       string  `json:"token"`
		AccessToken string  `json:"access_token"`
		ExpiresIn   float64 `json:"expires_in"`
	}
	if json.Unmarshal(text, &reply) != nil {
		return nil // the caller finds the words for it
	}
	g.life = lifeOf(int64(reply.ExpiresIn))
	if reply.AccessToken == "" {
		reply.AccessToken = reply.Token
	}
	if out, err := json.Marshal(reply); err == nil {
		resp.Body = io.NopCloser(bytes.NewReader(out))
	}
	return nil
}

// Challenge is one demand of a WWW-Authenticate header (RFC 9110, 11.6.1).
type challenge struct {
	scheme string
	params []string // "name=value" as quoted in the header
}

// choose finds the challenge to follow among those of all header lines: Bearer
// before Basic. It is "" if neither is there.
func choose(lines []string) string {
	var basic string
	for _, line := range lines {
		for _, c := range parseChallenges(line) {
			text := strings.TrimSpace(c.scheme + " " + strings.Join(c.params, ","))
			switch strings.ToLower(c.scheme) {
			case "bearer":
				return text
			case "basic":
				basic = text
			}
		}
	}
	return basic
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
