package findexpr

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// pattern is one of fnmatch(3), as -name and -path have them: * stands for any
// characters, slashes and leading dots too, ? for one, [...] for one of a set, and
// a backslash takes the meaning from what follows.
type pattern struct {
	chars []item // nil if the text is not UTF-8 or the locale has single bytes
	bytes []item
	fold  bool
}

// item matches one character, or any number of them.
type item struct {
	star    bool
	any     bool
	literal rune
	set     *set
	never   bool // matches nothing
}

// compile reads a pattern. With chars it is about characters of UTF-8 where both
// the pattern and what it is held against are that, else about bytes. Ranges go by
// the numbers of characters, as in the locale C.UTF-8. With fold the case of letters
// means nothing.
func compile(text string, chars, fold bool) *pattern {
	p := &pattern{fold: fold, bytes: items(bytesOf(text), byteClasses)}
	if chars && utf8.ValidString(text) {
		p.chars = items([]rune(text), classes)
	}
	return p
}

// bytesOf has a rune for each byte of s.
func bytesOf(s string) []rune {
	out := make([]rune, len(s))
	for i := range len(s) {
		out[i] = rune(s[i])
	}
	return out
}

func items(text []rune, classes map[string]func(rune) bool) (out []item) {
	for i := 0; i < len(text); {
		c := text[i]
		i++
		switch {
		case c == '*':
			if n := len(out); n == 0 || !out[n-1].star {
				out = append(out, item{star: true})
			}
		case c == '?':
			out = append(out, item{any: true})
		case c == '\\' && i == len(text): // nothing is behind it: fnmatch says no
			out = append(out, item{never: true})
		case c == '\\':
			out = append(out, item{literal: text[i]})
			i++
		case c == '[':
			if s, next, ok := parseSet(text, i, classes); ok {
				out = append(out, item{set: s})
				i = next
				continue
			}
			out = append(out, item{literal: c})
		default:
			out = append(out, item{literal: c})
		}
	}
	return out
}

// match says whether all of s fits: as characters or, as glibc has it, as the bytes
// that they are made of. It takes time in proportion to the product of the two
// lengths at most.
func (p *pattern) match(s string) bool {
	if p.chars != nil && utf8.ValidString(s) && p.run(p.chars, []rune(s), unicode.ToLower) {
		return true
	}
	return p.run(p.bytes, bytesOf(s), lowerASCII)
}

func lowerASCII(r rune) rune {
	if r >= 'A' && r <= 'Z' {
		return r + 'a' - 'A'
	}
	return r
}

// run goes on from the last star when something does not fit: what the star stands
// for is then one longer.
func (p *pattern) run(items []item, s []rune, lower func(rune) rune) bool {
	i, at, star, mark := 0, 0, -1, 0
	for at < len(s) {
		switch {
		case i < len(items) && items[i].star:
			star, mark = i, at
			i++
		case i < len(items) && p.one(items[i], s[at], lower):
			i++
			at++
		case star >= 0:
			mark++
			i, at = star+1, mark
		default:
			return false
		}
	}
	for i < len(items) && items[i].star {
		i++
	}
	return i == len(items)
}

// one says whether a character fits an item that is not a star.
func (p *pattern) one(it item, c rune, lower func(rune) rune) bool {
	same := c
	if p.fold {
		same = lower(c)
	}
	switch {
	case it.never:
		return false
	case it.any:
		return true
	case it.set != nil:
		return it.set.has(c, same, p.fold, lower)
	case p.fold:
		return lower(it.literal) == same
	}
	return it.literal == c
}

// set is what stands between brackets.
type set struct {
	negated bool
	members []member
}

// member is a character, a range of them, or a class.
type member struct {
	low, high rune
	class     func(rune) bool
	exact     bool // the case of the character counts
	never     bool // a class that nobody knows: from here on the set matches nothing
	broken    bool // "[" of an unfinished [=x=]: then it must be the first to match
}

// has goes through the members in order, as fnmatch does: what is malformed counts
// only if it is met.
func (s *set) has(c, same rune, fold bool, lower func(rune) rune) bool {
	for i, m := range s.members {
		low, high := m.low, m.high
		if fold {
			low, high = lower(low), lower(high)
		}
		switch {
		case m.never:
			return false
		case m.exact:
			if c == m.low {
				return !s.negated && !s.brokenAfter(i)
			}
		case m.class != nil:
			if m.class(c) {
				return !s.negated && !s.brokenAfter(i)
			}
		case low <= same && same <= high:
			return !s.negated && !s.brokenAfter(i)
		}
	}
	return s.negated
}

func (s *set) brokenAfter(i int) bool {
	return slices.ContainsFunc(s.members[i+1:], func(m member) bool { return m.broken })
}

// parseSet reads a set whose "[" is before i, and says where it ends. A set that
// nothing ends is none.
func parseSet(text []rune, i int, classes map[string]func(rune) bool) (s *set, next int, ok bool) {
	s = &set{}
	if i < len(text) && (text[i] == '!' || text[i] == '^') {
		s.negated = true
		i++
	}
	for first := true; i < len(text); first = false {
		if text[i] == ']' && !first {
			return s, i + 1, true
		}
		if m, after, ok := bracketed(text, i, classes); ok {
			s.members = append(s.members, m)
			i = after
			continue
		}
		low, after, ok := setChar(text, i)
		if !ok {
			return nil, 0, false
		}
		m := member{low: low, high: low, exact: after == i+5, broken: low == '[' && after < len(text) && text[after] == '='}
		m.never = low == '[' && after == i+1 && after < len(text) && text[after] == '.'
		m.broken = m.broken || m.never
		i = after
		if i < len(text) && text[i] == '-' && i+1 == len(text) { // a range without an end: fnmatch says no
			return &set{members: []member{{never: true}}}, len(text), true
		}
		if i+1 < len(text) && text[i] == '-' && text[i+1] != ']' {
			if m.high, i, ok = setChar(text, i+1); !ok {
				return nil, 0, false
			}
		}
		s.members = append(s.members, m)
	}
	return nil, 0, false
}

// setChar is one character of a set: itself, behind a backslash, or as [.x.].
func setChar(text []rune, i int) (c rune, next int, ok bool) {
	switch {
	case text[i] == '\\':
		if i+1 == len(text) {
			return 0, 0, false
		}
		return text[i+1], i + 2, true
	case i+4 < len(text) && text[i] == '[' && text[i+1] == '.' && text[i+3] == '.' && text[i+4] == ']':
		return text[i+2], i + 5, true
	}
	return text[i], i + 1, true
}

// bracketed reads a class, [:name:], or what is equivalent to a character, [=x=].
func bracketed(text []rune, i int, classes map[string]func(rune) bool) (m member, next int, ok bool) {
	if i+4 < len(text) && text[i] == '[' && text[i+1] == '=' && text[i+3] == '=' && text[i+4] == ']' {
		return member{low: text[i+2], high: text[i+2], exact: true}, i + 5, true
	}
	if i+1 >= len(text) || text[i] != '[' || text[i+1] != ':' {
		return m, 0, false
	}
	end := i + 2
	for end < len(text) && text[end] >= 'a' && text[end] <= 'z' {
		end++
	}
	if end+1 >= len(text) || text[end] != ':' || text[end+1] != ']' {
		return m, 0, false
	}
	class := classes[string(text[i+2:end])]
	return member{class: class, never: class == nil}, end + 2, true
}

// byteClasses are the classes of bytes: those beyond ASCII are in none.
var byteClasses = asciiOnly(classes)

func asciiOnly(all map[string]func(rune) bool) map[string]func(rune) bool {
	out := map[string]func(rune) bool{}
	for name, has := range all {
		out[name] = func(r rune) bool { return r < utf8.RuneSelf && has(r) }
	}
	return out
}

// classes are those of POSIX. Of characters beyond ASCII they are what Unicode has.
var classes = map[string]func(rune) bool{
	"alpha": func(r rune) bool { return unicode.IsLetter(r) || r > unicode.MaxASCII && unicode.IsDigit(r) },
	"digit": func(r rune) bool { return r >= '0' && r <= '9' },
	"alnum": func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) },
	"upper": func(r rune) bool { return unicode.IsUpper(r) || unicode.IsTitle(r) },
	"lower": unicode.IsLower,
	"space": unicode.IsSpace,
	"blank": func(r rune) bool { return r == ' ' || r == '\t' },
	"punct": func(r rune) bool {
		return unicode.IsGraphic(r) && !unicode.IsSpace(r) && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	},
	"print":  unicode.IsGraphic,
	"graph":  func(r rune) bool { return unicode.IsGraphic(r) && !unicode.IsSpace(r) },
	"cntrl":  unicode.IsControl,
	"xdigit": func(r rune) bool { return r < utf8.RuneSelf && strings.ContainsRune("0123456789abcdefABCDEF", r) },
}

// Characters says whether patterns are about characters, as find(1) decides it: by
// the first of LC_ALL, LC_CTYPE and LANG that is set. Without any of them, and in
// the locale C, they are about bytes.
func Characters(env func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(env(name)); v != "" {
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return false
}
