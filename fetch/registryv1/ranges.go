package registryv1

import (
	"fmt"
	"strconv"
	"strings"
)

func rangeHeader(lo, hi int64) string { return fmt.Sprintf("bytes=%d-%d", lo, hi) }

// contentRange is a parsed Content-Range; total is -1 if it is not said.
type contentRange struct {
	lo, hi, total int64
}

// parseContentRange reads "bytes 0-9/100". The registry in Python leaves the unit
// out, and its hi may be one too large.
func parseContentRange(v string) (contentRange, bool) {
	v = strings.TrimSpace(v)
	if unit, rest, ok := strings.Cut(v, " "); ok {
		if !strings.EqualFold(unit, "bytes") {
			return contentRange{}, false
		}
		v = strings.TrimSpace(rest)
	}
	part, total, ok := strings.Cut(v, "/")
	if !ok {
		return contentRange{}, false
	}
	lo, hi, ok := strings.Cut(part, "-")
	if !ok {
		return contentRange{}, false
	}
	r := contentRange{total: -1}
	var good [3]bool
	r.lo, good[0] = number(lo)
	r.hi, good[1] = number(hi)
	good[2] = total == "*"
	if !good[2] {
		r.total, good[2] = number(total)
	}
	return r, good[0] && good[1] && good[2] && r.lo <= r.hi && (r.total < 0 || r.lo < r.total)
}

// number reads decimal digits and nothing else.
func number(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err == nil
}
