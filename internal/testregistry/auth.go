package testregistry

import (
	"fmt"
	"net/http"
	"strings"
)

// admit lets a request in or answers with a challenge.
func (r *Registry) admit(w http.ResponseWriter, req *http.Request) bool {
	switch r.opt.Auth {
	case Open:
		return true
	case Basic:
		user, password, ok := req.BasicAuth()
		if ok && user == r.opt.User && password == r.opt.Password {
			return true
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="test, registry"`)
	default:
		token, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
		if ok && r.valid(token) {
			return true
		}
		w.Header().Add("WWW-Authenticate", `Negotiate`)
		w.Header().Add("WWW-Authenticate", fmt.Sprintf(`Basic realm="old", BEARER Realm="%s://%s/token",Service="test",scope="repository:%s:pull,push"`,
			r.scheme(), r.TokenAt, repositoryOf(req.URL.Path)))
	}
	w.WriteHeader(http.StatusUnauthorized)
	fmt.Fprint(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
	return false
}

func repositoryOf(path string) string {
	path = strings.TrimPrefix(path, "/v2/")
	for _, part := range []string{"/manifests/", "/blobs/", "/tags/", "/referrers/"} {
		if name, _, ok := strings.Cut(path, part); ok {
			return name
		}
	}
	return ""
}

func (r *Registry) valid(token string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.HasPrefix(token, "token-") && !r.mu.dead[token]
}

// ExpireTokens makes all tokens issued so far invalid.
func (r *Registry) ExpireTokens() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.mu.tokens {
		r.mu.dead[fmt.Sprintf("token-%d", i+1)] = true
	}
}

// RefusePost makes the token server know GET only.
func (r *Registry) RefusePost() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.post = false
}

// SetPassword changes the password from now on.
func (r *Registry) SetPassword(password string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opt.Password = password
}

// serveToken is the token server: GET with Basic, POST with a form, or nothing
// for an anonymous registry. The identity token of the user is "id-PASSWORD".
func (r *Registry) serveToken(w http.ResponseWriter, req *http.Request) {
	r.misbehave(w, req, func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if req.Method == http.MethodPost && !r.mu.post {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		if r.opt.Auth != Anonymous && !r.knows(req) {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"errors":[{"code":"UNAUTHORIZED","message":"wrong password"}]}`)
			return
		}
		r.mu.tokens++
		life := ""
		if r.opt.TokenLife > 0 {
			life = fmt.Sprintf(`,"expires_in":%d`, int(r.opt.TokenLife.Seconds()))
		}
		name := "token"
		if req.Method == http.MethodPost {
			name = "access_token"
		}
		fmt.Fprintf(w, `{%q:"token-%d"%s}`, name, r.mu.tokens, life)
	})
}

func (r *Registry) knows(req *http.Request) bool {
	if req.Method == http.MethodPost {
		if req.FormValue("grant_type") == "refresh_token" {
			return req.FormValue("refresh_token") == "id-"+r.opt.Password
		}
		return req.FormValue("username") == r.opt.User && req.FormValue("password") == r.opt.Password
	}
	user, password, _ := req.BasicAuth()
	return user == r.opt.User && password == r.opt.Password || user == "<token>" && password == "id-"+r.opt.Password
}
