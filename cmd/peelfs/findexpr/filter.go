package findexpr

import (
	"strconv"
	"strings"
	"time"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/query"
)

// filter says whether an entry passes a test that needs nothing but its path and
// attributes.
type filter func(query.Entry) bool

// ofType matches kinds by find's letters, as "f" or "f,l".
func ofType(letters string) (filter, error) {
	var kinds [256]bool
	for _, letter := range strings.Split(letters, ",") {
		kind, ok := map[string]index.Kind{
			"f": index.File, "d": index.Dir, "l": index.Symlink, "c": index.Char, "b": index.Block, "p": index.Fifo,
			"s": index.Link, // sockets: a tar has none, and no entry of a view is of this kind
		}[letter]
		if !ok {
			return nil, errkind.WithHint(errkind.New(errkind.Invalid, "type %q is not known", letter), "use f, d, l, c, b or p, or several: f,l")
		}
		kinds[kind] = true
	}
	return func(e query.Entry) bool { return kinds[e.Attr.Kind] }, nil
}

// ofSize matches sizes as find(1) does: in units of 512 bytes, or of what a
// letter says (c w b k M G), rounded up; "+N" is more than N units, "-N" fewer.
func ofSize(text string) (filter, error) {
	unit, number := int64(512), text
	if n := len(text); n > 0 {
		if u, ok := map[byte]int64{'c': 1, 'w': 2, 'b': 512, 'k': 1 << 10, 'M': 1 << 20, 'G': 1 << 30}[text[n-1]]; ok {
			unit, number = u, text[:n-1]
		}
	}
	want, compare, err := signed(number)
	if err != nil {
		return nil, errkind.WithHint(errkind.New(errkind.Invalid, "size %q is malformed", text), "write it as +10M, -4k or 0, with c for bytes")
	}
	return func(e query.Entry) bool {
		units := e.Attr.Size / unit
		if e.Attr.Size%unit != 0 {
			units++
		}
		return compare(units, want)
	}, nil
}

// signed reads +N, -N or N, and how a value is held against it.
func signed(text string) (n int64, compare func(a, b int64) bool, err error) {
	compare = func(a, b int64) bool { return a == b }
	digits := text
	switch {
	case strings.HasPrefix(text, "+"):
		digits, compare = text[1:], func(a, b int64) bool { return a > b }
	case strings.HasPrefix(text, "-"):
		digits, compare = text[1:], func(a, b int64) bool { return a < b }
	}
	u, err := strconv.ParseUint(digits, 10, 62)
	return int64(u), compare, err
}

// ofMode matches permission and set-id bits as find(1) does: exactly MODE, with
// "-MODE" all of its bits, with "/MODE" any of them. MODE is octal or symbolic
// like u+s,o=w.
func ofMode(text string) (filter, error) {
	rest := strings.TrimLeft(text, "-/")
	mode, err := parseMode(rest)
	if err != nil || len(text)-len(rest) > 1 {
		return nil, errkind.WithHint(errkind.New(errkind.Invalid, "mode %q is malformed", text), "write it as 644, -4000, /6000 or /u+s,g+s")
	}
	switch {
	case rest == text:
		return func(e query.Entry) bool { return e.Attr.Mode == mode }, nil
	case text[0] == '-':
		return func(e query.Entry) bool { return e.Attr.Mode&mode == mode }, nil
	}
	return func(e query.Entry) bool { return mode == 0 || e.Attr.Mode&mode != 0 }, nil
}

func parseMode(text string) (uint32, error) {
	if n, err := strconv.ParseUint(text, 8, 12); err == nil {
		return uint32(n), nil
	}
	mode := uint32(0)
	for _, clause := range strings.Split(text, ",") {
		bits, err := parseClause(clause)
		if err != nil {
			return 0, err
		}
		mode |= bits
	}
	return mode, nil
}

// parseClause is the bits of one symbolic clause like "ug+s".
func parseClause(clause string) (bits uint32, err error) {
	i := strings.IndexAny(clause, "+=")
	if i < 0 || i == len(clause)-1 {
		return 0, errkind.New(errkind.Invalid, "clause %q", clause)
	}
	who, what := clause[:i], clause[i+1:]
	if who == "" || strings.Contains(who, "a") {
		who = strings.ReplaceAll(who, "a", "") + "ugo"
	}
	for _, w := range who {
		for _, p := range what {
			b, ok := symbolic[w][p]
			if !ok {
				return 0, errkind.New(errkind.Invalid, "clause %q", clause)
			}
			bits |= b
		}
	}
	return bits, nil
}

var symbolic = map[rune]map[rune]uint32{
	'u': {'r': 0o400, 'w': 0o200, 'x': 0o100, 's': 0o4000, 't': 0},
	'g': {'r': 0o40, 'w': 0o20, 'x': 0o10, 's': 0o2000, 't': 0},
	'o': {'r': 0o4, 'w': 0o2, 'x': 0o1, 's': 0, 't': 0o1000},
}

// parseTime reads a date, or a date and time, in UTC unless it says otherwise.
func parseTime(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errkind.WithHint(errkind.New(errkind.Invalid, "time %q is malformed", text), "write it as 2024-12-31 or 2024-12-31T23:59:59Z")
}
