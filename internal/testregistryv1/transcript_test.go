package testregistryv1

import (
	"bytes"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

var (
	id1 = strings.Repeat("1", 64)
	id2 = strings.Repeat("2", 64)

	json1 = `{"id":"` + id1 + `","created":"2014-01-01T00:00:00Z"}`
	json2 = `{"id":"` + id2 + `","parent":"` + id1 + `","created":"2014-01-01T00:00:00Z"}`

	layer1 = bytes.Repeat([]byte("0123456789"), LayerBytes/10)
	layer2 = bytes.Repeat([]byte("x"), 114)
)

// pushBody has the bodies that the recorded push sent.
func pushBody(path string) string {
	list := `[{"id":"` + id1 + `"},{"id":"` + id2 + `"}]`
	return map[string]string{
		"repositories/foo/bar/": list, "repositories/foo/bar/images": list,
		"repositories/foo/bar/tags/latest": `"` + id2 + `"`,
		"images/" + id1 + "/json":          json1, "images/" + id2 + "/json": json2,
		"images/" + id1 + "/layer": string(layer1), "images/" + id2 + "/layer": string(layer2),
	}[path]
}

// Each preset gives the recorded answers to the recorded questions.
func TestPresetsAnswerAsRecorded(t *testing.T) {
	for _, c := range []struct {
		quirks Quirks
		files  []string
	}{
		{Python(), []string{"python.txt", "python-second-push.txt"}},
		{Contrib(), []string{"contrib.txt"}},
		{Ooyala(), []string{"ooyala.txt"}},
	} {
		t.Run(c.quirks.Name, func(t *testing.T) {
			host := New(NewStore(), c.quirks).Start(t)
			for _, file := range c.files {
				exchanges, err := ReadTranscript("testdata/" + file)
				if err != nil {
					t.Fatal(err)
				}
				if len(exchanges) < 25 {
					t.Fatalf("%s: %d exchanges were recognised", file, len(exchanges))
				}
				for _, e := range exchanges {
					compare(t, host, e)
				}
			}
		})
	}
}

func compare(t *testing.T, host string, e Exchange) {
	t.Helper()
	resp, err := ask(host, e)
	if e.Status == 0 {
		if err == nil {
			t.Errorf("%s: an answer, where the server closed the connection", e.Ask)
			resp.Body.Close()
		}
		return
	}
	if err != nil {
		t.Errorf("%s: %v", e.Ask, err)
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != e.Status {
		t.Errorf("%s: status %d, recorded %d", e.Ask, resp.StatusCode, e.Status)
	}
	if e.BodyBytes >= 0 {
		if _, err := io.ReadFull(resp.Body, make([]byte, e.BodyBytes)); err != nil {
			t.Errorf("%s: body: %v", e.Ask, err)
		}
	} else if body, err := io.ReadAll(resp.Body); err != nil || normal(host, string(body)) != normal(host, e.Body) {
		t.Errorf("%s: body %q (%v), recorded %q", e.Ask, body, err, e.Body)
	}
	if e.Header != nil {
		compareHeaders(t, host, e, resp.Header)
	}
}

func ask(host string, e Exchange) (*http.Response, error) {
	method, path, _ := strings.Cut(e.Ask, " ")
	header := http.Header{"User-Agent": {"docker/1.3.3 go/go1.3.3"}}
	switch method {
	case "RANGE":
		header.Set("Range", path)
		method, path = "GET", "images/"+id1+"/layer"
	case "WHOLE":
		method, path = "GET", "images/"+id1+"/layer"
	}
	body := pushBody(path)
	if strings.HasSuffix(path, "/checksum") {
		header.Set("X-Docker-Checksum-Payload", PayloadChecksum([]byte(json1), layer1))
		if strings.Contains(path, id2) {
			header.Set("X-Docker-Checksum-Payload", PayloadChecksum([]byte(json2), layer2))
		}
	}
	req, err := http.NewRequest(method, "http://"+host+"/v1/"+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if method == "GET" {
		req.Body, req.ContentLength = http.NoBody, 0
	}
	req.Header = header
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Docker-Token", "true")
	return http.DefaultClient.Do(req)
}

var volatile = regexp.MustCompile(`signature=[A-Z0-9]+|127\.0\.0\.1:\d+|sha256:[0-9a-f]{64}`)

// normal hides what differs from run to run.
func normal(host, s string) string {
	return volatile.ReplaceAllString(strings.ReplaceAll(s, host, "127.0.0.1:1"), "VOLATILE")
}

func compareHeaders(t *testing.T, host string, e Exchange, got http.Header) {
	t.Helper()
	ignored := map[string]bool{"Date": true, "Server": true, "Connection": true, "Expires": true, "X-Request-Id": true,
		"Transfer-Encoding": true}
	if e.BodyBytes < 0 && e.Header.Get("Content-Length") != "" && strings.Contains(e.Body, "DIR") {
		ignored["Content-Length"] = true // the recorded body was made shorter
	}
	for k := range e.Header {
		want, have := strings.Join(e.Header.Values(k), ", "), strings.Join(got.Values(k), ", ")
		if !ignored[k] && normal(host, want) != normal(host, have) {
			t.Errorf("%s: %s: %q, recorded %q", e.Ask, k, have, want)
		}
		if len(got.Values(k)) == 0 && !strings.Contains("Server Connection Transfer-Encoding", k) {
			t.Errorf("%s: no %s", e.Ask, k)
		}
	}
	for k := range got {
		if len(e.Header.Values(k)) == 0 {
			t.Errorf("%s: %s: %q was not recorded", e.Ask, k, got.Get(k))
		}
	}
}

// In token mode the recorded Authorization headers have the recorded effect.
func TestTokenModeAsRecorded(t *testing.T) {
	store := NewStore()
	index := New(store, Python()).Start(t)
	registry := New(store, PythonToken()).Start(t)
	store.Put("foo/bar", "latest", Image{ID: id1, JSON: []byte(json1), Layer: layer1}, Image{ID: id2, JSON: []byte(json2), Layer: layer2})

	get := func(url, authorization string) *http.Response {
		req, err := http.NewRequest("GET", url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp
	}
	token := get("http://"+index+"/v1/repositories/foo/bar/images", "").Header.Get("X-Docker-Token")
	if !regexp.MustCompile(`^Token signature=[A-Z0-9]+,repository="foo/bar",access=read$`).MatchString(token) {
		t.Fatalf("token %q", token)
	}
	for authorization, want := range map[string]int{
		"": 401, "Token ": 401, "Token " + token: 200, token: 200,
		`Token signature=X,repository="foo/baz",access=read`:  401,
		`Token signature=X,repository="foo/bar",access=write`: 401,
	} {
		for _, path := range []string{"repositories/foo/bar/tags", "images/" + id2 + "/json"} {
			resp := get("http://"+registry+"/v1/"+path, authorization)
			if resp.StatusCode != want {
				t.Errorf("%s with %q: %d, recorded %d", path, authorization, resp.StatusCode, want)
			}
			if want == 401 && resp.Header.Get("WWW-Authenticate") != "Token" {
				t.Errorf("challenge %q", resp.Header.Get("WWW-Authenticate"))
			}
		}
	}
	if resp := get("http://"+registry+"/v1/repositories/foo/bar/images", token); resp.StatusCode != 404 {
		t.Errorf("index route on the registry: %d, recorded 404", resp.StatusCode)
	}
}
