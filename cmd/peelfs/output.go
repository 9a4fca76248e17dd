package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/peelfs/peelfs/internal/errkind"
)

// asJSON says whether --format asks for JSON; Invalid if it asks for something
// unknown.
func (a *app) asJSON() (bool, error) {
	switch a.flags.format {
	case "", "table":
		return false, nil
	case "json":
		return true, nil
	}
	return false, errkind.WithHint(errkind.New(errkind.Invalid, "format %q is not known", a.flags.format), "use table or json")
}

// emit writes a result: v as JSON if that was asked for, else as table does it.
func (a *app) emit(v any, table func(io.Writer) error) error {
	inJSON, err := a.asJSON()
	if err != nil {
		return err
	}
	if inJSON {
		return writeJSON(a.out, v)
	}
	return table(a.out)
}

// writeJSON writes v indented, with digests and references as they are.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// columnsTo aligns rows of cells, the first of which is the heading.
func columnsTo(w io.Writer, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			row[i] = printable(cell)
		}
		fmt.Fprintln(tw, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	return tw.Flush()
}

// printable is s, quoted if it has what would disturb a terminal.
func printable(s string) string {
	for _, r := range s {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return strconv.Quote(s)
		}
	}
	return s
}

// ago is a past time as people say it.
func ago(t, now time.Time) string {
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

// shortDigest is a digest for tables: its algorithm is told by its length.
func shortDigest(d string) string {
	_, hex, ok := strings.Cut(d, ":")
	if !ok {
		hex = d
	}
	return hex[:min(12, len(hex))]
}

// parseSize reads 500MB, 2GiB, 1.5g or a number of bytes; "" and "0" are 0.
func parseSize(s string) (int64, error) {
	number := strings.TrimRightFunc(s, func(r rune) bool { return unicode.IsLetter(r) || r == ' ' })
	unit := strings.ToLower(strings.TrimSpace(s[len(number):]))
	factor, ok := map[string]float64{
		"": 1, "b": 1,
		"k": 1 << 10, "kib": 1 << 10, "kb": 1e3,
		"m": 1 << 20, "mib": 1 << 20, "mb": 1e6,
		"g": 1 << 30, "gib": 1 << 30, "gb": 1e9,
		"t": 1 << 40, "tib": 1 << 40, "tb": 1e12,
	}[unit]
	if s == "" {
		return 0, nil
	}
	value, err := strconv.ParseFloat(number, 64)
	if err != nil || !ok || !(value >= 0 && value*factor < 1<<62) {
		return 0, errkind.WithHint(errkind.New(errkind.Invalid, "size %q is malformed", s), "write it as 2GiB or 500MB")
	}
	return int64(value * factor), nil
}
