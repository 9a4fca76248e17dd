package testregistry

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Fault is one way to misbehave. It applies to requests with the method ("" for
// any) whose path has Path in it, on either host, and wears off after Times
// requests (0: never). Faults are tried in the order in which they were given.
type Fault struct {
	Method string
	Path   string
	Times  int
	Skip   int // this many requests pass first

	Status      int    // answer so, without doing anything
	Header      string // "Name: value" of the answer, in place of what would be there; "Name:" removes it
	Body        string // of the answer, with Status
	IgnoreRange bool   // answer 200 with everything
	Cut         bool   // break the connection after After bytes of the body
	Stall       bool   // say nothing more after After bytes, until the client leaves
	After       int64
	Flip        bool          // change the first byte of the body
	Rate        int64         // bytes a second for each connection
	Delay       time.Duration // before the answer
}

// Fail adds a fault.
func (r *Registry) Fail(f Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.faults = append(r.mu.faults, &f)
}

// Mend removes all faults.
func (r *Registry) Mend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.faults = nil
}

// take finds the fault for req and uses it up by one.
func (r *Registry) take(req *http.Request) *Fault {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, f := range r.mu.faults {
		if f.Method != "" && f.Method != req.Method || !strings.Contains(req.URL.Path, f.Path) {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				r.mu.faults = append(r.mu.faults[:i:i], r.mu.faults[i+1:]...)
			}
		}
		taken := *f
		return &taken
	}
	return nil
}

// misbehave serves req by h with the fault that applies, if one does.
func (r *Registry) misbehave(w http.ResponseWriter, req *http.Request, h http.HandlerFunc) {
	f := r.take(req)
	if f == nil {
		h(w, req)
		return
	}
	if !wait(req, f.Delay) {
		return
	}
	if f.Status != 0 {
		f.setHeader(w.Header())
		w.WriteHeader(f.Status)
		fmt.Fprint(w, f.Body)
		return
	}
	if f.IgnoreRange {
		req.Header.Del("Range")
	}
	h(&faulty{ResponseWriter: w, f: f, req: req}, req)
}

func wait(req *http.Request, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-req.Context().Done():
		return false
	}
}

func (f *Fault) setHeader(h http.Header) {
	if name, value, ok := strings.Cut(f.Header, ":"); ok {
		h.Del(name)
		if value = strings.TrimSpace(value); value != "" {
			h.Set(name, value)
		}
	}
}

// faulty spoils an answer on its way.
type faulty struct {
	http.ResponseWriter
	f      *Fault
	req    *http.Request
	n      int64
	headed bool
}

func (w *faulty) WriteHeader(status int) {
	w.headed = true
	w.f.setHeader(w.Header())
	w.ResponseWriter.WriteHeader(status)
}

func (w *faulty) Write(p []byte) (int, error) {
	if !w.headed {
		w.WriteHeader(http.StatusOK)
	}
	if w.f.Flip && w.n == 0 && len(p) > 0 {
		p = append([]byte{p[0] ^ 1}, p[1:]...)
	}
	done := 0
	for done < len(p) {
		n, err := w.some(p[done:])
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// some writes a little of p, as the fault allows.
func (w *faulty) some(p []byte) (int, error) {
	if w.f.Cut || w.f.Stall {
		p = p[:min(int64(len(p)), w.f.After-w.n)]
	}
	if w.f.Rate > 0 {
		p = p[:min(len(p), 16<<10)]
	}
	n, err := w.ResponseWriter.Write(p)
	w.n += int64(n)
	if err == nil && (w.f.Cut || w.f.Stall) && w.n >= w.f.After {
		err = w.end()
	}
	if w.f.Rate > 0 && !wait(w.req, time.Duration(n)*time.Second/time.Duration(w.f.Rate)) {
		err = w.req.Context().Err()
	}
	return n, err
}

// end stops the answer for good. The bytes written so far do arrive.
func (w *faulty) end() error {
	_ = http.NewResponseController(w.ResponseWriter).Flush()
	if w.f.Stall {
		<-w.req.Context().Done()
	}
	panic(http.ErrAbortHandler)
}
