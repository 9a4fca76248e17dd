package ranges

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/peelfs/peelfs/internal/errkind"
)

// ContentRange is a parsed Content-Range header: the bytes from First to Last,
// both included, of Total; -1 if the total is not said.
type ContentRange struct {
	First, Last, Total int64
}

// Strictness says how much of RFC 9110 a Content-Range must keep.
type Strictness bool

// Strict wants a range that lies within its total. Lenient forgives a last byte
// beyond it, as the first registries send it.
const (
	Strict  Strictness = true
	Lenient Strictness = false
)

// ParseContentRange reads "bytes 0-99/1000". The unit may be missing, as it is
// with some old servers. Errors are of kind Unavailable: such an answer may be
// that of a proxy on a bad day.
func ParseContentRange(v string, s Strictness) (ContentRange, error) {
	r, ok := parseContentRange(v)
	if !ok || r.First > r.Last || r.Total >= 0 && r.First >= r.Total || s == Strict && r.Total >= 0 && r.Last >= r.Total {
		return ContentRange{}, errkind.New(errkind.Unavailable, "the server's Content-Range %q makes no sense", printable(v))
	}
	return r, nil
}

func parseContentRange(v string) (r ContentRange, ok bool) {
	v = strings.TrimSpace(v)
	if len(v) >= len(unit) && strings.EqualFold(v[:len(unit)], unit) {
		v = strings.TrimPrefix(strings.TrimSpace(v[len(unit):]), "=")
	}
	span, total, ok := strings.Cut(v, "/")
	first, last, ok2 := strings.Cut(span, "-")
	if !ok || !ok2 {
		return r, false
	}
	var good [3]bool
	r.First, good[0] = number(first)
	r.Last, good[1] = number(last)
	if r.Total, good[2] = number(total); strings.TrimSpace(total) == "*" {
		r.Total, good[2] = -1, true
	}
	return r, good[0] && good[1] && good[2]
}

const unit = "bytes"

// number reads decimal digits and nothing else but blanks around them.
func number(s string) (int64, bool) {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 63)
	return int64(n), err == nil
}

// printable is a short form of a header for a message.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f {
			return -1
		}
		return r
	}, s[:min(len(s), 100)])
}

// Header asks for the bytes from off up to end, which is not included; a
// negative end asks for all from off on.
func Header(off, end int64) http.Header {
	v := "bytes=" + strconv.FormatInt(off, 10) + "-"
	if end >= 0 {
		v += strconv.FormatInt(end-1, 10)
	}
	return http.Header{"Range": {v}}
}
