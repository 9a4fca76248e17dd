package testregistryv1

import (
	"net/http"
	"strings"
	"time"
)

// Fault is one thing that goes wrong with one answer.
type Fault struct {
	Status     int               // answer with this status and Body
	Body       string            // of Status
	Header     map[string]string // replace these headers of the answer; "" removes
	Redirect   string            // 302 to this URL; %s in it is the request's path
	Close      bool              // close the connection without an answer
	CutAfter   int               // send so many bytes of a layer, then break the connection
	Damage     bool              // flip a bit in the middle of the layer
	Hold       <-chan struct{}   // wait with the answer until this closes or the client leaves
	BytePause  time.Duration     // pause after each 4 KiB of a layer; for the command, not for tests
	Drop       int               // leave so many bytes at the end of the layer away
	KeepLength bool              // with Drop: promise the full length
}

type plan struct {
	match string
	left  int
	fault Fault
}

// Fail makes the next n requests go wrong whose "METHOD path" contains match; n
// below zero means all from now on. Plans are tried in the order in which they
// were made.
func (s *Server) Fail(match string, n int, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.plans = append(s.mu.plans, &plan{match, n, f})
}

// Mend forgets all faults.
func (s *Server) Mend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.plans = nil
}

// fault finds the fault of a request and counts it.
func (s *Server) fault(r *http.Request) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.mu.plans {
		if p.left != 0 && strings.Contains(r.Method+" "+r.URL.Path, p.match) {
			p.left--
			return p.fault
		}
	}
	return Fault{}
}

// preempt carries out what a fault does instead of an answer.
func (f Fault) preempt(w http.ResponseWriter, r *http.Request) bool {
	if f.Hold != nil {
		select {
		case <-f.Hold:
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
	switch {
	case f.Close:
		panic(http.ErrAbortHandler)
	case f.Redirect != "":
		http.Redirect(w, r, strings.ReplaceAll(f.Redirect, "%s", r.URL.Path), http.StatusFound)
	case f.Status != 0:
		f.override(w.Header())
		w.WriteHeader(f.Status)
		_, _ = w.Write([]byte(f.Body)) // the client may be gone
	default:
		return false
	}
	return true
}

func (f Fault) override(h http.Header) {
	for k, v := range f.Header {
		h.Del(k)
		if v != "" {
			h.Set(k, v)
		}
	}
}
