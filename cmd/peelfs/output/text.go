package output

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Printable is s, quoted as in Go if it has anything that would disturb a
// terminal or that is not text.
func Printable(s string) string {
	for _, r := range s {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return strconv.Quote(s)
		}
	}
	return s
}

// Clean is a message of one or more lines as a terminal may have it: control
// characters, marks that turn the direction of writing and bytes that are not
// UTF-8 are written as escapes like \x1b. Lines after the first are indented, so
// that none of them can pass for a message of its own.
func Clean(s string) string {
	var b strings.Builder
	for i, line := range strings.Split(s, "\n") {
		if i > 0 {
			b.WriteByte('\n')
			if line != "" && line[0] != ' ' {
				b.WriteString("  ")
			}
		}
		cleanLine(&b, line)
	}
	return b.String()
}

func cleanLine(b *strings.Builder, line string) {
	for len(line) > 0 {
		r, n := utf8.DecodeRuneInString(line)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(b, `\x%02x`, line[0])
		case unicode.IsPrint(r):
			b.WriteString(line[:n])
		case r == '\t':
			b.WriteByte(' ')
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		line = line[n:]
	}
}

// Ago is a past time as people say it.
func Ago(t, now time.Time) string {
	d := now.Sub(t)
	switch {
	case t.IsZero():
		return "never"
	case d < time.Minute:
		return "just now"
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}

// ShortDigest is a digest for tables: the first twelve digits, without the
// algorithm.
func ShortDigest(d string) string {
	_, hex, ok := strings.Cut(d, ":")
	if !ok {
		hex = d
	}
	return hex[:min(12, len(hex))]
}
