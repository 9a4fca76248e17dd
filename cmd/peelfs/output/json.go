package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// JSON writes v indented, with digests and references as they are.
func (s *Screen) JSON(v any) error { return s.encode(v, "", "\n") }

// JSONLine writes v in one line.
func (s *Screen) JSONLine(v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	return s.Document(b.Bytes())
}

// encode writes v as it stands behind prefix, and then end.
func (s *Screen) encode(v any, prefix, end string) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent(prefix, "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	return s.Document(append(bytes.TrimRight(b.Bytes(), "\n"), end...))
}

// List is a JSON array that is written one element after the other, so that it
// need not be in memory.
type List struct {
	screen *Screen
	n      int
}

// List begins an array. Nothing is written before the first Add.
func (s *Screen) List() *List { return &List{screen: s} }

// Len is the number of elements so far.
func (l *List) Len() int { return l.n }

// Add writes an element.
func (l *List) Add(v any) error {
	before := ",\n  "
	if l.n == 0 {
		before = "[\n  "
	}
	l.n++
	l.screen.WriteString(before)
	return l.screen.encode(v, "  ", "")
}

// Close writes the end of the array.
func (l *List) Close() error {
	end := "\n]\n"
	if l.n == 0 {
		end = "[]\n"
	}
	_, err := l.screen.WriteString(end)
	return err
}

// escapeControls writes characters that are not printable as \u00XX: in JSON,
// where they can only be in strings, that is the same text.
func escapeControls(text []byte) []byte {
	if !bytes.ContainsFunc(text, disturbs) && utf8.Valid(text) {
		return text
	}
	var b bytes.Buffer
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\u00%02x`, text[0])
		case r > 0xffff && disturbs(r):
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		case disturbs(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
		text = text[n:]
	}
	return b.Bytes()
}

func disturbs(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }
