package treedump

import (
	"fmt"
	"sort"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// object maps keys to values that are JSON already.
type object map[string]string

// String is the object on one line, keys sorted.
func (o object) String() string {
	keys := make([]string, 0, len(o))
	for k := range o {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	fields := make([]string, 0, len(o))
	for _, k := range keys {
		fields = append(fields, quote(k)+": "+o[k])
	}
	return "{" + strings.Join(fields, ", ") + "}\n"
}

var escapes = map[rune]string{
	'"': `\"`, '\\': `\\`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\f': `\f`, '\b': `\b`,
}

// quote is s as an ASCII JSON string. A byte that is not UTF-8 becomes the lone
// surrogate U+DC00 + byte, so that no two names look alike.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\udc%02x`, s[0])
		case escapes[r] != "":
			b.WriteString(escapes[r])
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, hi, lo)
		case r < 0x20 || r > 0x7e && r != 0x7f:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
		s = s[n:]
	}
	b.WriteByte('"')
	return b.String()
}
