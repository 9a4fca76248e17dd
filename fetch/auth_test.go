package fetch

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/testregistry"
)

func basic(userPassword string) string {
	return base64.StdEncoding.EncodeToString([]byte(userPassword))
}

func writeFile(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLogin(t *testing.T) {
	for _, auth := range []testregistry.Auth{testregistry.Basic, testregistry.Bearer} {
		r := testregistry.New(t, testregistry.Options{Auth: auth, User: "joe", Password: "pw", Redirect: true})
		r.Push("ns/app:1", testregistry.Image{Layers: testregistry.Layers(layerA)})
		img := resolve(t, newClient(t, Config{Creds: "joe:pw"}), r.Ref("ns/app:1"))
		readAll(t, img.Layers[0].Blob, 0, -1)
		for _, q := range r.Requests() {
			if q.Host == r.CDN && q.Auth != "" {
				t.Errorf("credentials went to another host: %v", q)
			}
		}
		if n := r.Count("", "/token"); n > 1 {
			t.Errorf("%d logins for one image", n)
		}
		wantErr(t, newClient(t, Config{Creds: "joe:wrong"}), r.Ref("ns/app:1"), errkind.Denied, "--creds", "log in")
		wantErr(t, newClient(t, Config{Anonymous: true}), r.Ref("ns/app:1"), errkind.Denied, "anonymous")
		wantErr(t, newClient(t, Config{}), r.Ref("ns/app:1"), errkind.Denied, "none found")
	}
}

func TestCredentialSources(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{Auth: testregistry.Bearer, User: "joe", Password: "pw"})
	r.Push("ns/app:1", testregistry.Image{})
	auths := func(key, userPassword string) string {
		return fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, key, basic(userPassword))
	}
	good := auths(r.Host, "joe:pw")
	for name, put := range map[string]func(t *testing.T, dir string, cfg *Config){
		"authfile": func(t *testing.T, dir string, cfg *Config) {
			cfg.AuthFile = writeFile(t, dir+"/a.json", good, 0o600)
		},
		"REGISTRY_AUTH_FILE": func(t *testing.T, dir string, _ *Config) {
			t.Setenv("REGISTRY_AUTH_FILE", writeFile(t, dir+"/r.json", good, 0o600))
		},
		"DOCKER_AUTH_CONFIG": func(t *testing.T, _ string, _ *Config) { t.Setenv("DOCKER_AUTH_CONFIG", good) },
		"podman": func(t *testing.T, dir string, _ *Config) {
			t.Setenv("XDG_RUNTIME_DIR", dir)
			writeFile(t, dir+"/containers/auth.json", good, 0o600)
		},
		"docker": func(t *testing.T, dir string, _ *Config) {
			t.Setenv("DOCKER_CONFIG", "")
			t.Setenv("HOME", dir)
			writeFile(t, dir+"/.docker/config.json", good, 0o600)
		},
		"dockercfg": func(t *testing.T, dir string, _ *Config) {
			t.Setenv("HOME", dir)
			writeFile(t, dir+"/.dockercfg", fmt.Sprintf(`{"https://%s/v1/":{"auth":%q,"email":"x"}}`, r.Host, basic("joe:pw")), 0o600)
		},
		"longest namespace": func(t *testing.T, _ string, _ *Config) {
			t.Setenv("DOCKER_AUTH_CONFIG", fmt.Sprintf(`{"auths":{%q:{"auth":%q},%q:{"auth":%q},%q:{"auth":%q}}}`,
				r.Host, basic("a:b"), r.Host+"/ns", basic("joe:pw"), r.Host+"/ns/ap", basic("c:d")))
		},
		"identity token": func(t *testing.T, _ string, _ *Config) {
			t.Setenv("DOCKER_AUTH_CONFIG", fmt.Sprintf(`{"auths":{%q:{"identitytoken":"id-pw"}}}`, r.Host))
		},
		"helper for the host": func(t *testing.T, dir string, _ *Config) {
			helper(t, dir, "mine", `{"ServerURL":"x","Username":"joe","Secret":"pw"}`)
			t.Setenv("DOCKER_AUTH_CONFIG", fmt.Sprintf(`{"credsStore":"broken","credHelpers":{%q:"mine","other.example":"broken"}}`, r.Host))
		},
		"helper with an identity token": func(t *testing.T, dir string, _ *Config) {
			helper(t, dir, "mine", `{"ServerURL":"x","Username":"<token>","Secret":"id-pw"}`)
			t.Setenv("DOCKER_AUTH_CONFIG", `{"credsStore":"mine"}`)
		},
		"helper that knows nothing": func(t *testing.T, dir string, _ *Config) {
			writeFile(t, dir+"/docker-credential-empty", "#!/bin/sh\necho 'credentials not found in native keychain'\nexit 1\n", 0o755)
			t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
			t.Setenv("DOCKER_AUTH_CONFIG", fmt.Sprintf(`{"credsStore":"empty","auths":{%q:{"auth":%q}}}`, r.Host, basic("joe:pw")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			alone(t)
			cfg := Config{Retry: impatient()}
			put(t, t.TempDir(), &cfg)
			c, err := NewClient(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			resolve(t, c, r.Ref("ns/app:1"))
		})
	}
}

// helper puts a credential helper into PATH that gives one answer.
func helper(t *testing.T, dir, name, answer string) {
	t.Helper()
	writeFile(t, dir+"/docker-credential-"+name, "#!/bin/sh\nread server\ncat <<'EOT'\n"+answer+"\nEOT\n", 0o755)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestBadCredentialFiles(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{Auth: testregistry.Bearer, User: "joe", Password: "pw"})
	r.Push("app:1", testregistry.Image{})
	secret := "c2VjcmV0"
	for name, text := range map[string]string{
		"not JSON": `{"auths":"` + secret, "not base64": fmt.Sprintf(`{"auths":{%q:{"auth":"!%s"}}}`, r.Host, secret),
		"no colon":         fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, r.Host, secret),
		"helper is a path": `{"credsStore":"../../` + secret + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, Config{})
			t.Setenv("DOCKER_AUTH_CONFIG", text)
			_, err := c.Resolve(t.Context(), ref(t, r.Ref("app:1")), Platform{})
			checkErr(t, err, errkind.Invalid)
			if strings.Contains(err.Error(), "secret") || name != "helper is a path" && strings.Contains(err.Error(), secret) {
				t.Errorf("the error quotes the secret: %v", err)
			}
		})
	}
	c := newClient(t, Config{AuthFile: "/no/such/file"})
	_, err := c.Resolve(t.Context(), ref(t, r.Ref("app:1")), Platform{})
	checkErr(t, err, errkind.Invalid, "/no/such/file")
	if _, err := NewClient(Config{Creds: "joe"}); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("creds without password: %v", err)
	}
}

// A token dies in the middle of a mount: one login, with the credentials that are
// on disk by then.
func TestTokensExpire(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{Auth: testregistry.Bearer, User: "joe", Password: "pw", Redirect: true})
	r.Push("app:1", testregistry.Image{Layers: testregistry.Layers(layerA)})
	c := newClient(t, Config{})
	file := t.TempDir() + "/auth.json"
	t.Setenv("REGISTRY_AUTH_FILE", file)
	put := func(password string) {
		writeFile(t, file, fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, r.Host, basic("joe:"+password)), 0o600)
	}
	put("pw")
	b := resolve(t, c, r.Ref("app:1")).Layers[0].Blob
	r.ExpireTokens()
	r.SetPassword("new")
	put("new")
	r.Forget()
	readAll(t, b, 0, -1)
	if n := r.Count("", "/token"); n != 1 {
		t.Errorf("%d logins after the token died", n)
	}
	readAll(t, b, 0, 1)
	if n := r.Count("", "/token"); n != 1 {
		t.Errorf("%d logins after the new token worked", n)
	}
}

// A signed redirect dies: back to the registry for a new one.
func TestRedirectsExpire(t *testing.T) {
	for _, status := range []int{401, 403} {
		r := testregistry.New(t, testregistry.Options{Auth: testregistry.Bearer, User: "joe", Password: "pw", Redirect: true})
		r.Push("app:1", testregistry.Image{Layers: testregistry.Layers(layerA)})
		b := resolve(t, newClient(t, Config{Creds: "joe:pw"}), r.Ref("app:1")).Layers[0].Blob
		r.Fail(testregistry.Fault{Path: "/signed/", Status: status, Times: 1})
		readAll(t, b, 0, -1)
		if n := r.Count("GET", "/signed/"); n != 3 { // configuration, refused, layer
			t.Errorf("status %d: %d requests at the second host", status, n)
		}
	}
}

func TestTokenServerThatKnowsNoPost(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{Auth: testregistry.Bearer, User: "joe", Password: "pw"})
	r.Push("app:1", testregistry.Image{})
	r.RefusePost()
	c := newClient(t, Config{})
	t.Setenv("DOCKER_AUTH_CONFIG", fmt.Sprintf(`{"auths":{%q:{"identitytoken":"id-pw"}}}`, r.Host))
	resolve(t, c, r.Ref("app:1"))
	if r.Count("POST", "/token") != 1 || r.Count("GET", "/token") != 1 {
		t.Errorf("requests: %v", r.Requests())
	}
}

func TestOneLoginForMany(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{Auth: testregistry.Anonymous})
	r.Push("app:1", testregistry.Image{Layers: testregistry.Layers(layerA, layerB)})
	b := resolve(t, newClient(t, Config{}), r.Ref("app:1")).Layers[1].Blob
	r.Forget()
	r.ExpireTokens()
	r.Fail(testregistry.Fault{Path: "/token", Delay: 100 * time.Millisecond})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { readAll(t, b, 0, -1) })
	}
	wg.Wait()
	if n := r.Count("", "/token"); n > 2 {
		t.Errorf("%d logins for eight readers", n)
	}
}

func TestTLS(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{TLS: true, Auth: testregistry.Anonymous, Redirect: true})
	r.Push("app:1", testregistry.Image{Layers: testregistry.Layers(layerA)})
	ca := writeFile(t, t.TempDir()+"/ca.pem",
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw})), 0o644)
	for name, cfg := range map[string]Config{"trusted": {CAFile: ca}, "not verified": {InsecureTLS: true}} {
		t.Run(name, func(t *testing.T) {
			readAll(t, resolve(t, newClient(t, cfg), r.Ref("app:1")).Layers[0].Blob, 0, -1)
		})
	}
	wantErr(t, newClient(t, Config{}), r.Ref("app:1"), errkind.Denied, "--ca-file")
	if _, err := NewClient(Config{CAFile: writeFile(t, t.TempDir()+"/x", "no PEM", 0o644)}); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("CA file without certificates: %v", err)
	}
}

func TestNoServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	c := newClient(t, Config{})
	wantErr(t, c, addr+"/app:1", errkind.Unavailable, "nothing listens")
	wantErr(t, c, "no-such-host.invalid/app:1", errkind.Unavailable, "no-such-host.invalid")
	if n := c.Stats().Retries; n != 0 {
		t.Errorf("%d retries where nobody has ever answered", n)
	}
}

func TestRedirectsThatAreRefused(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	r.Push("app:1", testregistry.Image{Layers: testregistry.Layers(layerA)})
	b := resolve(t, newClient(t, Config{}), r.Ref("app:1")).Layers[0].Blob
	r.Fail(testregistry.Fault{Path: "/blobs/", Status: http.StatusFound, Header: "Location: /v2/app/blobs/sha256:loop"})
	_, _, err := b.ReadRange(t.Context(), 0, -1)
	checkErr(t, err, errkind.Unavailable, "redirects")
}
