package opened

// readAhead follows how a layer is read, and guesses how much of what lies behind
// a missing span will be wanted. It grows while access is sequential, or while
// what it guessed is used, and shrinks when it is not.
type readAhead struct {
	next    int   // the span after the last run
	window  int64 // bytes of the blob to ask for beyond what is demanded
	guessed []int // spans that came with the last run without being demanded
	random  bool  // the last guess was wrong
}

// see notes that span first is missing and returns the window for it. worth is
// what a round trip costs, in bytes; used tells whether a span was read.
func (r *readAhead) see(first int, worth int64, used func(int) bool) int64 {
	hits := 0
	for _, i := range r.guessed {
		if used(i) {
			hits++
		}
	}
	right := len(r.guessed) > 0 && 4*hits >= len(r.guessed)
	switch {
	case first == r.next && first > 0:
		r.window, r.random = max(2*r.window, minAhead, worth), false
	case worth == 0:
		r.window = 0
	case right:
		r.window, r.random = 2*r.window, false
	case len(r.guessed) > 0:
		r.window, r.random = r.window/2, true
	case !r.random:
		r.window = worth
	}
	r.window = min(r.window, maxAhead)
	return r.window
}
