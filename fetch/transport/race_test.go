package transport

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A server that accepts a request and then says nothing is asked once more over
// another connection; without that this test would take the hour of IOTimeout.
func TestSilentAnswerHasARival(t *testing.T) {
	var asked atomic.Int64
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			<-r.Context().Done()
			return
		}
		io.WriteString(w, r.RemoteAddr)
	})
	tr := newTransport(t, Options{IOTimeout: time.Hour, Patience: 10 * time.Millisecond})
	resp, err := get(t, tr, s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err != nil || asked.Load() != 2 {
		t.Errorf("%v after %d requests", err, asked.Load())
	}
}

// A request that changes something is sent once, however long it takes.
func TestWhatHasARival(t *testing.T) {
	for _, c := range []struct {
		method string
		body   io.Reader
		want   bool
	}{
		{"GET", nil, true}, {"HEAD", nil, true}, {"GET", http.NoBody, true},
		{"GET", strings.NewReader("x"), false}, {"POST", nil, false}, {"PUT", strings.NewReader("x"), false},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, "http://a/", c.body)
		if err != nil {
			t.Fatal(err)
		}
		if repeatable(req) != c.want {
			t.Errorf("%s with body %v: %v", c.method, c.body, !c.want)
		}
	}
}

// Patience grows with what a host makes one wait, and forgets it in time.
func TestPatience(t *testing.T) {
	tr := newTransport(t, Options{})
	if p := tr.Patience("a"); p != DefaultPatience {
		t.Errorf("%v with a stranger", p)
	}
	r := tr.road("a")
	r.note(2 * time.Second)
	r.note(time.Millisecond)
	if p := tr.Patience("a"); p != 8*time.Second {
		t.Errorf("%v after a wait of 2 s", p)
	}
	if p := tr.Patience("b"); p != DefaultPatience {
		t.Errorf("%v with another host", p)
	}
	r.mu.since = r.mu.since.Add(-roadPeriod - time.Second)
	r.note(time.Millisecond)
	if p := tr.Patience("a"); p != 8*time.Second {
		t.Errorf("%v in the next period", p)
	}
	r.mu.since = r.mu.since.Add(-roadPeriod - time.Second)
	r.note(time.Millisecond)
	if p := tr.Patience("a"); p != DefaultPatience {
		t.Errorf("%v two periods later", p)
	}
}
