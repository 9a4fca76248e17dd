package testregistryv1

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

const maxPut = 256 << 20 // bytes of what may be pushed

func (c *call) ping() {
	if c.q.Standalone != "" {
		c.w.Header().Set("X-Docker-Registry-Standalone", c.q.Standalone)
	}
	if strings.HasPrefix(c.q.PingBody, "{") {
		c.send(http.StatusOK, "application/json", []byte(c.q.PingBody))
		return
	}
	c.send(http.StatusOK, "text/plain; charset=utf-8", []byte(c.q.PingBody))
}

// repository begins a push: PUT repositories/NAME/.
func (c *call) repository() {
	if c.r.Method != http.MethodPut || !c.basic() {
		return
	}
	ids, ok := c.pushedList()
	if !ok {
		return
	}
	name := full(c.args[0])
	c.Store.mu.Lock()
	c.Store.mu.lists[name] = ids
	if c.Store.mu.repos[name] == nil {
		c.Store.mu.repos[name] = map[string]string{}
	}
	c.Store.mu.Unlock()
	c.handOut(c.args[0], "write")
	switch {
	case c.q.Spaced:
		c.send(http.StatusOK, "application/json", []byte(`""`))
	case c.q.JSON != "":
		c.w.WriteHeader(http.StatusOK)
	default:
		c.send(http.StatusOK, "application/json", nil)
	}
}

// pushedList reads a list of images and wants it to say that it is JSON.
func (c *call) pushedList() ([]string, bool) {
	var list []struct {
		ID string `json:"id"`
	}
	b, err := io.ReadAll(io.LimitReader(c.r.Body, maxPut))
	typed := !c.q.Spaced || strings.HasPrefix(c.r.Header.Get("Content-Type"), "application/json")
	if err != nil || !typed || json.Unmarshal(b, &list) != nil {
		c.fail(http.StatusBadRequest, "Invalid JSON")
		return nil, false
	}
	ids := []string{}
	for _, i := range list {
		ids = append(ids, i.ID)
	}
	return ids, true
}

// images is the index's list; asking for it is how a client logs in.
func (c *call) images() {
	if !c.basic() {
		return
	}
	if c.r.Method == http.MethodPut {
		c.w.WriteHeader(http.StatusNoContent)
		return
	}
	ids, ok := c.Store.list(c.args[0])
	if !ok || c.q.NoLibrary && strings.HasPrefix(c.args[0], "library/") {
		c.fail(http.StatusNotFound, c.notFoundText("images not found", "Image Not Found"))
		return
	}
	c.handOut(c.args[0], "read")
	type entry struct {
		ID string `json:"id"`
	}
	list := []entry{}
	for _, id := range ids {
		if !c.q.EmptyImages {
			list = append(list, entry{id})
		}
	}
	c.sendJSON(http.StatusOK, list)
}

// handOut sets the token, the cookie and the endpoints.
func (c *call) handOut(repo, access string) {
	h := c.w.Header()
	hosts := c.q.Endpoints
	if hosts == nil {
		hosts = []string{c.r.Host}
	}
	if c.q.EndpointLines {
		h["X-Docker-Endpoints"] = hosts
	} else if len(hosts) > 0 {
		h.Set("X-Docker-Endpoints", strings.Join(hosts, " , "))
	}
	if c.q.RequireCookie || c.q.SingleUse {
		http.SetCookie(c.w, &http.Cookie{Name: "session", Value: c.Store.bake(), Path: "/"})
	}
	value := c.Store.issue(repo, access)
	switch c.q.Token {
	case TokenWithWord:
		h.Set("X-Docker-Token", "Token "+value)
		h.Set("WWW-Authenticate", "Token "+value)
	case TokenBare:
		h.Set("X-Docker-Token", value)
	case TokenLiteral:
		h.Set("X-Docker-Token", "token")
	case TokenSplit:
		h["X-Docker-Token"] = strings.Split(value, ",")
	case TokenChallenge:
		h.Set("WWW-Authenticate", "Token "+value)
	case TokenNone:
		if access == "write" {
			h.Set("X-Docker-Token", "token")
			h.Set("WWW-Authenticate", `Token signature=123abc,repository="dynport/test",access=write`)
		}
	}
}

// basic checks user and password where they are wanted.
func (c *call) basic() bool {
	if c.q.RequireBasic == "" {
		return true
	}
	user, password, ok := c.r.BasicAuth()
	if ok && user+":"+password == c.q.RequireBasic {
		return true
	}
	c.w.Header().Set("WWW-Authenticate", `Basic realm="auth required",Token`)
	c.fail(http.StatusUnauthorized, "Requires authorization")
	return false
}

// authorized checks what routes of the registry want: the token of the index, its
// cookie, or user and password where index and registry are one.
func (c *call) authorized(repo string) bool {
	if c.q.RequireBasic != "" && strings.EqualFold(c.q.Standalone, "true") {
		return c.basic()
	}
	cookie, err := c.r.Cookie("session")
	known := err == nil && c.Store.knowsCookie(cookie.Value)
	if c.q.RequireCookie && repo == "" && !known {
		c.fail(http.StatusUnauthorized, "Requires authorization")
		return false
	}
	if !c.q.RequireToken || c.q.SingleUse && known && c.Store.isLogin(cookie.Value) {
		return true
	}
	access := "write"
	if c.r.Method == http.MethodGet || c.r.Method == http.MethodHead {
		access = "read"
	}
	if c.Store.redeem(c.r.Header.Get("Authorization"), repo, access, c.q.SingleUse) {
		if known {
			c.Store.promote(cookie.Value)
		}
		return true
	}
	c.w.Header().Set("WWW-Authenticate", "Token")
	c.fail(http.StatusUnauthorized, "Requires authorization")
	return false
}

func (c *call) tags() {
	if !c.authorized(c.args[0]) {
		return
	}
	tags, ok := c.knownTags()
	if !ok && !c.q.EmptyTags {
		c.fail(http.StatusNotFound, c.notFoundText("Repository not found", "Repository not found: open DIR: no such file or directory"))
		return
	}
	c.endpointsOnTags()
	c.sendJSON(http.StatusOK, tags)
}

func (c *call) knownTags() (map[string]string, bool) {
	if c.q.NoLibrary && strings.HasPrefix(c.args[0], "library/") {
		return map[string]string{}, false
	}
	return c.Store.tags(c.args[0])
}

func (c *call) endpointsOnTags() {
	if c.q.EndpointsOnTags {
		c.w.Header().Set("X-Docker-Endpoints", c.r.Host)
	}
}

// tag answers for one tag or sets it.
func (c *call) tag() {
	if !c.authorized(c.args[0]) {
		return
	}
	if c.r.Method == http.MethodPut {
		c.putTag()
		return
	}
	tags, _ := c.knownTags()
	id, ok := tags[c.args[1]]
	switch {
	case c.q.Tags == TagMap:
		c.endpointsOnTags()
		c.sendJSON(http.StatusOK, tags)
	case !ok, c.q.Tags == TagMissing:
		c.fail(http.StatusNotFound, c.notFoundText("Tag not found", "Tag not found: open DIR: no such file or directory"))
	case c.q.Tags == TagBare:
		c.send(http.StatusOK, "text/plain; charset=utf-8", []byte(id))
	default:
		c.sendJSON(http.StatusOK, id)
	}
}

func (c *call) putTag() {
	var id string
	b, err := io.ReadAll(io.LimitReader(c.r.Body, 1<<10))
	if err != nil || json.Unmarshal(b, &id) != nil {
		c.fail(http.StatusBadRequest, "Invalid data")
		return
	}
	if _, ok := c.Store.image(id); !ok {
		c.fail(http.StatusNotFound, "Image not found")
		return
	}
	c.Store.mu.Lock()
	c.Store.setTag(full(c.args[0]), c.args[1], id)
	c.Store.mu.Unlock()
	c.pushed()
}

// pushed is the answer to a successful PUT.
func (c *call) pushed() {
	switch {
	case c.q.QuietError:
		c.send(http.StatusOK, "text/plain; charset=utf-8", nil)
	case c.q.JSON != "" && strings.Contains(c.r.URL.Path, "/tags/"):
		c.send(http.StatusOK, c.q.JSON, []byte("true"))
	default:
		c.send(http.StatusOK, "application/json", []byte("true"))
	}
}

// notFoundText picks the Python server's words or those of ooyala's.
func (c *call) notFoundText(python, ooyala string) string {
	if c.q.JSON != "" {
		return ooyala
	}
	return python
}
