package findexpr

import (
	"context"
	"errors"
	"fmt"
	gopath "path"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/query"
	"github.com/peelfs/peelfs/layers/view"
)

// piece is a part of a format: text, or something about the entry.
type piece struct {
	text  string
	value func(ctx context.Context, w *walk, e query.Entry) (string, error)
	left  bool
	zero  bool
	width int
	most  int // characters; -1 for all
}

// maxWidth is how wide a field may be.
const maxWidth = 10_000

// printf reads a format of -printf, and prints by it.
func printf(p *parser, format string) (node, error) {
	p.acts, p.x.formats = true, true
	pieces, err := p.pieces(format)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, w *walk, e query.Entry) (bool, error) {
		var b strings.Builder
		for _, piece := range pieces {
			if err := piece.write(ctx, &b, w, e); err != nil {
				return false, err
			}
		}
		return true, w.out.Printf(b.String())
	}, nil
}

func (f piece) write(ctx context.Context, b *strings.Builder, w *walk, e query.Entry) error {
	if f.value == nil {
		b.WriteString(f.text)
		return nil
	}
	s, err := f.value(ctx, w, e)
	if err != nil {
		return err
	}
	if f.most >= 0 && len(s) > f.most {
		s = s[:f.most]
	}
	pad := strings.Repeat(" ", max(0, f.width-utf8.RuneCountInString(s)))
	switch {
	case f.left:
		s += pad
	case f.zero:
		s = strings.Repeat("0", len(pad)) + s
	default:
		s = pad + s
	}
	b.WriteString(s)
	return nil
}

func (p *parser) pieces(format string) (out []piece, err error) {
	text := func(s string) { out = append(out, piece{text: s}) }
	for i := 0; i < len(format); {
		c := format[i]
		i++
		switch {
		case c == '\\':
			s, n, stop := escape(format[i:])
			text(s)
			if stop {
				return out, nil
			}
			i += n
		case c == '%':
			f, n, err := p.directive(format[i:])
			if err != nil {
				return nil, err
			}
			out = append(out, f)
			i += n
		default:
			text(string(c))
		}
	}
	return out, nil
}

// escape reads what is behind a backslash, and how long it is; \c stops the output.
func escape(s string) (text string, n int, stop bool) {
	if s == "" {
		return `\`, 0, false
	}
	if i := strings.IndexByte("abfnrtv\\", s[0]); i >= 0 {
		return "\a\b\f\n\r\t\v\\"[i : i+1], 1, false
	}
	if s[0] == 'c' {
		return "", 1, true
	}
	for n < 3 && n < len(s) && s[n] >= '0' && s[n] <= '7' {
		n++
	}
	if n == 0 {
		return `\` + s[:1], 1, false
	}
	code, _ := strconv.ParseUint(s[:n], 8, 16)
	return string([]byte{byte(code)}), n, false
}

// directive reads what is behind a per cent sign, and how long it is.
func (p *parser) directive(s string) (f piece, n int, err error) {
	f.most = -1
	for n < len(s) && strings.IndexByte("-0+ #", s[n]) >= 0 {
		f.left, f.zero = f.left || s[n] == '-', f.zero || s[n] == '0'
		n++
	}
	number := func() (int, bool) {
		from := n
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		v, err := strconv.Atoi(s[from:n])
		return v, err == nil && v <= maxWidth
	}
	if n < len(s) && s[n] >= '1' && s[n] <= '9' {
		var ok bool
		if f.width, ok = number(); !ok {
			return f, 0, errkind.New(errkind.Invalid, "a field is wider than %d", maxWidth)
		}
	}
	if n < len(s) && s[n] == '.' {
		n++
		f.most, _ = number()
	}
	if n == len(s) {
		return f, 0, errkind.New(errkind.Invalid, "the format ends with a %% that means nothing")
	}
	c := s[n]
	n++
	if c == '%' {
		return piece{text: "%"}, n, nil
	}
	if c == 'T' {
		if n == len(s) {
			return f, 0, errkind.New(errkind.Invalid, "%%T needs a letter: which part of the time")
		}
		c = s[n]
		if timeParts[c] == nil {
			return f, 0, errkind.New(errkind.Invalid, "%%T%c is not known", c)
		}
		f.value = func(_ context.Context, _ *walk, e query.Entry) (string, error) { return timeParts[c](mtime(e)), nil }
		return f, n + 1, nil
	}
	f.value, err = p.field(c)
	return f, n, err
}

// simple are directives that need nothing but the entry.
var simple = map[byte]func(w *walk, e query.Entry) string{
	's': func(_ *walk, e query.Entry) string { return strconv.FormatInt(e.Attr.Size, 10) },
	'b': func(_ *walk, e query.Entry) string { return strconv.FormatInt((e.Attr.Size+511)/512, 10) },
	'k': func(_ *walk, e query.Entry) string { return strconv.FormatInt((e.Attr.Size+1023)/1024, 10) },
	'd': func(_ *walk, e query.Entry) string { return strconv.Itoa(e.Depth) },
	'm': func(_ *walk, e query.Entry) string { return strconv.FormatUint(uint64(e.Attr.Mode), 8) },
	'n': func(_ *walk, e query.Entry) string { return strconv.FormatUint(uint64(e.Attr.Nlink), 10) },
	'i': func(_ *walk, e query.Entry) string { return strconv.FormatUint(uint64(e.Attr.Ino), 10) },
	'U': func(_ *walk, e query.Entry) string { return strconv.FormatUint(uint64(e.Attr.UID), 10) },
	'G': func(_ *walk, e query.Entry) string { return strconv.FormatUint(uint64(e.Attr.GID), 10) },
	'y': func(_ *walk, e query.Entry) string { return letter(e.Attr.Kind) },
	't': func(_ *walk, e query.Entry) string { return clock(mtime(e)) },
}

// named are directives that are names.
var named = map[byte]func(w *walk, e query.Entry) string{
	'p': func(_ *walk, e query.Entry) string { return e.Path() },
	'f': func(_ *walk, e query.Entry) string { return e.Name() },
	'h': func(_ *walk, e query.Entry) string { return strings.TrimSuffix(gopath.Dir(e.Path()), "/") },
	'H': func(w *walk, _ query.Entry) string { return w.from.Path() },
	'P': func(w *walk, e query.Entry) string { return e.PathBelow(w.from) },
}

// field is what a letter stands for.
func (p *parser) field(c byte) (func(context.Context, *walk, query.Entry) (string, error), error) {
	if get := simple[c]; get != nil {
		return func(_ context.Context, w *walk, e query.Entry) (string, error) { return get(w, e), nil }, nil
	}
	if get := named[c]; get != nil {
		return func(_ context.Context, w *walk, e query.Entry) (string, error) { return p.image.Name(get(w, e)), nil }, nil
	}
	switch c {
	case 'M':
		return func(_ context.Context, _ *walk, e query.Entry) (string, error) {
			return p.image.Permission(e.Attr), nil
		}, nil
	case 'l', 'Y':
		return p.linkField(c), nil
	case 'u':
		ids, err := accounts(p.ctx, p.image.View, "/etc/passwd")
		return func(_ context.Context, _ *walk, e query.Entry) (string, error) {
			return p.image.Name(ids.name(e.Attr.UID)), nil
		}, err
	case 'g':
		ids, err := accounts(p.ctx, p.image.View, "/etc/group")
		return func(_ context.Context, _ *walk, e query.Entry) (string, error) {
			return p.image.Name(ids.name(e.Attr.GID)), nil
		}, err
	}
	return nil, errkind.WithHint(errkind.New(errkind.Invalid, "%%%c is not known", c), "use %%p %%P %%f %%h %%H %%l %%s %%m %%M %%u %%g %%U %%G %%y %%Y %%d %%i %%n %%b %%k %%t %%T")
}

// linkField is the text of a symbolic link, or the type of what it leads to.
func (p *parser) linkField(c byte) func(context.Context, *walk, query.Entry) (string, error) {
	return func(ctx context.Context, _ *walk, e query.Entry) (string, error) {
		switch {
		case e.Attr.Kind != index.Symlink && c == 'l':
			return "", nil
		case e.Attr.Kind != index.Symlink:
			return letter(e.Attr.Kind), nil
		case c == 'l':
			text, err := p.image.View.Readlink(ctx, e.Attr.Ino)
			return p.image.Name(string(text)), err
		}
		to, err := p.image.View.Resolve(ctx, e.Path(), true)
		switch {
		case errors.Is(err, view.ErrLoop):
			return "L", nil
		case errkind.Is(err, errkind.NotFound):
			return "N", nil
		}
		return letter(to.Kind), err
	}
}

func letter(k index.Kind) string {
	return map[index.Kind]string{
		index.File: "f", index.Dir: "d", index.Symlink: "l", index.Char: "c", index.Block: "b", index.Fifo: "p",
	}[k]
}

func mtime(e query.Entry) time.Time { return timeOf(e.Attr) }

func timeOf(a view.Attr) time.Time { return time.Unix(a.Sec, int64(a.Nsec)).UTC() }

// fraction is how find(1) writes seconds: with ten digits behind the point.
func fraction(t time.Time) string { return fmt.Sprintf("%02d.%09d0", t.Second(), t.Nanosecond()) }

func clock(t time.Time) string {
	return t.Format("Mon Jan _2 15:04:") + fraction(t) + t.Format(" 2006")
}

// timeParts are what %T can be followed by.
var timeParts = map[byte]func(time.Time) string{
	'@': func(t time.Time) string { return fmt.Sprintf("%d.%09d0", t.Unix(), t.Nanosecond()) },
	'Y': func(t time.Time) string { return strconv.Itoa(t.Year()) },
	'm': layout("01"), 'd': layout("02"), 'H': layout("15"), 'M': layout("04"), 'I': layout("03"), 'p': layout("PM"),
	'a': layout("Mon"), 'A': layout("Monday"), 'b': layout("Jan"), 'h': layout("Jan"), 'B': layout("January"), 'y': layout("06"),
	'e': layout("_2"), 'j': layout("002"), 'D': layout("01/02/06"), 'x': layout("01/02/06"), 'F': layout("2006-01-02"), 'R': layout("15:04"), 'Z': layout("MST"), 'z': layout("-0700"),
	'S': fraction, 'k': func(t time.Time) string { return fmt.Sprintf("%2d", t.Hour()) },
	's': func(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) },
	'T': func(t time.Time) string { return t.Format("15:04:") + fraction(t) },
	'X': func(t time.Time) string { return t.Format("15:04:") + fraction(t) },
	'+': func(t time.Time) string { return t.Format("2006-01-02+15:04:") + fraction(t) },
	'c': layout("Mon Jan _2 15:04:05 2006"),
	'u': func(t time.Time) string { return strconv.Itoa((int(t.Weekday())+6)%7 + 1) },
	'w': func(t time.Time) string { return strconv.Itoa(int(t.Weekday())) },
}

func layout(l string) func(time.Time) string { return func(t time.Time) string { return t.Format(l) } }
