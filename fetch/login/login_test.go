package login

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"oras.land/oras-go/v2/registry/remote/auth"
)

func TestChallenges(t *testing.T) {
	for _, c := range []struct {
		lines []string
		want  string
	}{
		{[]string{`Bearer realm="https://a/t",service="s",scope="repository:a:pull,push"`}, `Bearer realm="https://a/t",service="s",scope="repository:a:pull,push"`},
		{[]string{`Basic realm="x, Bearer y"`, `bearer Realm = "r"`}, `bearer realm="r"`},
		{[]string{`Basic realm="a", Bearer realm="b",service="c"`}, `Bearer realm="b",service="c"`},
		{[]string{`Bearer realm="b",error="invalid_token", Basic realm="a"`}, `Bearer realm="b",error="invalid_token"`},
		{[]string{`Negotiate`, `BASIC realm="a\"b, c"`}, `BASIC realm="a\"b, c"`},
		{[]string{`Negotiate abc==, Basic`}, `Basic`},
		{[]string{`Negotiate`}, ``},
		{nil, ``},
	} {
		if got, _ := choose(c.lines); got != c.want {
			t.Errorf("%q gave %q, want %q", c.lines, got, c.want)
		}
	}
}

func FuzzChallenges(f *testing.F) {
	f.Add(`Bearer realm="a,b",scope="\"", Basic realm=x`)
	f.Add(`,,= ="`)
	f.Fuzz(func(t *testing.T, line string) {
		got, _ := choose([]string{line})
		if got == "" {
			return
		}
		scheme, _, _ := strings.Cut(strings.ToLower(got), " ")
		if scheme != "bearer" && scheme != "basic" {
			t.Errorf("%q gave %q", line, got)
		}
	})
}

func TestKeysOfFiles(t *testing.T) {
	for key, want := range map[string]string{
		"https://index.docker.io/v1/": "docker.io", "index.docker.io": "docker.io", "https://reg.example/v2/": "reg.example",
		"reg.example/ns": "reg.example/ns", "http://reg.example:5000": "reg.example:5000", "reg.example/v1/": "reg.example", "docker.io": "docker.io",
	} {
		if got := normalizeKey(key); got != want {
			t.Errorf("%s = %s, want %s", key, got, want)
		}
	}
}

func TestDockerHubKey(t *testing.T) {
	env := map[string]string{"DOCKER_AUTH_CONFIG": `{"auths":{"https://index.docker.io/v1/":{"auth":"am9lOnB3"},"docker.io/ns":{"username":"ns","password":"x"}}}`}
	f, err := NewFinder(Options{Getenv: func(name string) string { return env[name] }})
	if err != nil {
		t.Fatal(err)
	}
	for repository, user := range map[string]string{"library/debian": "joe", "ns/app": "ns", "nsx/app": "joe"} {
		cred, source, err := f.Find(t.Context(), "docker.io", repository)
		if err != nil || cred.Username != user || source != "DOCKER_AUTH_CONFIG" {
			t.Errorf("%s: %q from %s, %v", repository, cred.Username, source, err)
		}
	}
	if cred, _, err := f.Find(t.Context(), "reg.example", "app"); err != nil || cred != (Credential{}) {
		t.Errorf("another registry got %q, %v", cred.Username, err)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"auths":{"a/b":{"auth":"am9lOnB3"}},"credHelpers":{"x":"y"}}`), "a", "b/c")
	f.Add([]byte(`{"a":{"auth":"x"}}`), "a", "")
	f.Fuzz(func(t *testing.T, text []byte, domain, repository string) {
		for _, legacy := range []bool{false, true} {
			c, err := parseConfig(text, legacy)
			if err != nil {
				continue
			}
			if e, ok := c.match(domain, repository); ok {
				_, _ = e.credential()
			}
		}
	})
}

func TestTokensGrowOld(t *testing.T) {
	now := time.Unix(1000, 0)
	tok := newTokens()
	tok.now = func() time.Time { return now }
	n := 0
	login := func(life time.Duration) string {
		got, err := tok.Set(t.Context(), "", auth.SchemeBearer, "", func(ctx context.Context) (string, error) {
			n++
			grantOf(ctx).life = life
			return "t", nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	valid := func() bool {
		_, err := tok.GetToken(t.Context(), "", auth.SchemeBearer, "any")
		return err == nil
	}
	if valid() {
		t.Error("a token before the first login")
	}
	login(100 * time.Second)
	now = now.Add(79 * time.Second)
	if !valid() {
		t.Error("the token is old too early")
	}
	now = now.Add(2 * time.Second)
	if valid() {
		t.Error("the token is used until its last moment")
	}
	login(lifeOf(0))
	tok.forget()
	if valid() || n != 2 {
		t.Errorf("a forgotten token is used; %d logins", n)
	}
	for seconds, want := range map[int64]time.Duration{0: time.Minute, -5: time.Minute, 10: time.Minute, 300: 5 * time.Minute} {
		if got := lifeOf(seconds); got != want {
			t.Errorf("lifeOf(%d) = %v", seconds, got)
		}
	}
}

// One waiter leaves, the login goes on for the other.
func TestLoginBelongsToAll(t *testing.T) {
	tok := newTokens()
	begun, release := make(chan struct{}), make(chan struct{})
	fetch := func(ctx context.Context) (string, error) {
		close(begun)
		<-release
		return "t", ctx.Err()
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := tok.Set(ctx, "", auth.SchemeBearer, "", fetch); !errors.Is(err, context.Canceled) {
			t.Errorf("the one who left got %v", err)
		}
	})
	<-begun
	done := make(chan string, 1)
	wg.Go(func() {
		got, err := tok.Set(t.Context(), "", auth.SchemeBearer, "", func(context.Context) (string, error) { return "t", nil })
		if err != nil {
			t.Error(err)
		}
		done <- got
	})
	cancel()
	close(release)
	if got := <-done; got != "t" {
		t.Errorf("got %q", got)
	}
	wg.Wait()
}
