package findexpr

import (
	"regexp"
	"strings"

	"github.com/peelfs/peelfs/internal/errkind"
)

// dialect is a syntax of regular expressions, as -regextype names it.
type dialect struct {
	bare      bool   // ( ) | group and choose by themselves, else behind a backslash
	repeats   bool   // + ? repeat by themselves, else behind a backslash
	intervals string // what opens {n,m}: `{`, `\{`, or "" if nothing does
	classes   bool   // sets have [:alpha:] and the like
}

// dialects are those of find(1); without -regextype it is emacs.
var dialects = map[string]dialect{
	"emacs": {repeats: true}, "findutils-default": {repeats: true},
	"posix-extended": {true, true, "{", true}, "posix-egrep": {true, true, "{", true}, "egrep": {true, true, "{", true},
	"posix-awk": {true, true, "{", true}, "awk": {true, true, "", true}, "gnu-awk": {true, true, "{", true},
	"posix-basic": {false, false, `\{`, true}, "ed": {false, false, `\{`, true}, "sed": {false, false, `\{`, true}, "grep": {false, false, `\{`, true},
	"posix-minimal-basic": {false, false, `\{`, true},
}

// expression translates a regular expression that must fit a whole path.
// References back into the text, as \1, are refused with an error of kind Invalid.
func (d dialect) expression(text string, fold bool) (*regexp.Regexp, error) {
	t := translation{dialect: d, text: text, start: true}
	for t.i < len(text) {
		if err := t.next(); err != nil {
			return nil, err
		}
	}
	flags := "(?s)"
	if fold {
		flags = "(?si)"
	}
	re, err := regexp.Compile(flags + `\A(?:` + t.out.String() + `)\z`)
	if err != nil {
		return nil, errkind.WithHint(errkind.New(errkind.Invalid, "regular expression %q is malformed", text),
			"see -regextype: the syntax is that of emacs unless it says otherwise")
	}
	return re, nil
}

// translation is one expression on its way to the syntax of Go.
type translation struct {
	dialect
	text  string
	i     int
	start bool // nothing stands before here that could be repeated
	out   strings.Builder

	repeated byte // the operator that was written last, if nothing came after it
}

func (t *translation) next() error {
	c := t.text[t.i]
	t.i++
	switch {
	case c == '\\':
		return t.escaped()
	case c == '[':
		return t.set()
	case c == '*' && t.start: // there is nothing to repeat: a character
		t.literal(`\*`)
	case c == '*', (c == '+' || c == '?') && t.repeats && !t.start:
		t.repeat(c)
	case c == '+' || c == '?':
		t.literal(`\` + string(c))
	case strings.IndexByte("()|", c) >= 0 && t.bare:
		t.group(c)
	case strings.IndexByte("()|", c) >= 0:
		t.literal(`\` + string(c))
	case c == '{' && t.intervals == "{" && !t.start:
		return t.interval("}")
	case c == '^' && !t.start && !t.bare:
		t.literal(`\^`)
	case c == '^', c == '.', c == '$' && (t.bare || t.i == len(t.text) || strings.HasPrefix(t.text[t.i:], `\)`) || strings.HasPrefix(t.text[t.i:], `\|`)):
		t.literal(string(c))
		t.start = c == '^'
	default:
		t.literal(regexp.QuoteMeta(t.text[t.i-1 : t.i]))
	}
	return nil
}

// escaped is what stands behind a backslash.
func (t *translation) escaped() error {
	if t.i == len(t.text) {
		return errkind.New(errkind.Invalid, "regular expression %q ends with a backslash", t.text)
	}
	c := t.text[t.i]
	t.i++
	switch {
	case strings.IndexByte("()|", c) >= 0 && !t.bare:
		t.group(c)
	case (c == '+' || c == '?') && !t.repeats && !t.start:
		t.repeat(c)
	case c == '{' && t.intervals == `\{` && !t.start:
		return t.interval(`\}`)
	case c >= '1' && c <= '9':
		return errkind.New(errkind.Unsupported, `regular expression %q refers back, by \%c: that is not supported`, t.text, c)
	case strings.IndexByte("wWbB", c) >= 0:
		t.literal(`\` + string(c))
	case c == '<' || c == '>':
		t.literal(`\b`)
	case c == '`':
		t.literal(`\A`)
	case c == '\'':
		t.literal(`\z`)
	default:
		t.literal(regexp.QuoteMeta(string(c)))
	}
	return nil
}

func (t *translation) literal(s string) {
	t.out.WriteString(s)
	t.start, t.repeated = false, 0
}

// repeat writes an operator. Two in a row mean what they do together, which Go has
// no way to write: two of a kind are one, others are any number.
func (t *translation) repeat(op byte) {
	switch {
	case t.repeated == 0:
		t.out.WriteByte(op)
	case t.repeated != op:
		text := t.out.String()
		t.out.Reset()
		t.out.WriteString(text[:len(text)-1] + "*")
		op = '*'
	}
	t.repeated = op
}

func (t *translation) group(c byte) {
	t.out.WriteByte(c)
	t.start, t.repeated = c != ')', 0
}

// interval copies n,m up to its end.
func (t *translation) interval(end string) error {
	n := strings.Index(t.text[t.i:], end)
	if n < 0 || strings.Trim(t.text[t.i:t.i+n], "0123456789,") != "" {
		return errkind.New(errkind.Invalid, "regular expression %q has { without }", t.text)
	}
	bounds := t.text[t.i : t.i+n]
	if strings.HasPrefix(bounds, ",") {
		bounds = "0" + bounds
	}
	t.out.WriteString("{" + bounds + "}")
	t.i += n + len(end)
	return nil
}

// set copies a bracket expression, in which a backslash means itself.
func (t *translation) set() error {
	j := t.i
	if j < len(t.text) && t.text[j] == '^' {
		j++
	}
	if j < len(t.text) && t.text[j] == ']' {
		j++
	}
	for j < len(t.text) && t.text[j] != ']' {
		if t.classes && strings.HasPrefix(t.text[j:], "[:") {
			if n := strings.Index(t.text[j+2:], ":]"); n >= 0 {
				j += n + 4
				continue
			}
		}
		j++
	}
	if j >= len(t.text) {
		return errkind.New(errkind.Invalid, "regular expression %q has [ without ]", t.text)
	}
	t.literal("[" + t.setText(t.text[t.i:j]) + "]")
	t.i = j + 1
	return nil
}

// setText is what is between brackets, for Go: characters that mean something there
// get a backslash, classes stay.
func (d dialect) setText(s string) string {
	var b strings.Builder
	if strings.HasPrefix(s, "^") {
		b.WriteByte('^')
		s = s[1:]
	}
	for i := 0; i < len(s); i++ {
		if d.classes && strings.HasPrefix(s[i:], "[:") {
			if n := strings.Index(s[i+2:], ":]"); n >= 0 {
				b.WriteString(s[i : i+n+4])
				i += n + 3
				continue
			}
		}
		if strings.IndexByte(`\[]^&~`, s[i]) >= 0 || s[i] == '-' && (i == 0 || i == len(s)-1) {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
