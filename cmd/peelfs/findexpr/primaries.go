package findexpr

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/query"
)

// primaries are all words of expressions, without their dash.
var primaries = map[string]primary{
	"a": {}, "and": {}, "o": {}, "or": {}, "not": {},

	"name": nameTest(false), "iname": nameTest(true),
	"path": pathTest(false), "ipath": pathTest(true), "wholename": pathTest(false), "iwholename": pathTest(true),
	"lname": linkTest(false), "ilname": linkTest(true),
	"regex": regexTest(false), "iregex": regexTest(true), "regextype": {1, regexType},

	"type": test(ofType), "size": test(ofSize), "perm": test(ofMode), "empty": {0, empty},
	"uid":   number(func(e query.Entry) int64 { return int64(e.Attr.UID) }, math.MaxUint32),
	"gid":   number(func(e query.Entry) int64 { return int64(e.Attr.GID) }, math.MaxUint32),
	"links": number(func(e query.Entry) int64 { return int64(e.Attr.Nlink) }, math.MaxUint32),
	"inum":  number(func(e query.Entry) int64 { return int64(e.Attr.Ino) }, math.MaxInt64),
	"user":  account("/etc/passwd", func(e query.Entry) uint32 { return e.Attr.UID }),
	"group": account("/etc/group", func(e query.Entry) uint32 { return e.Attr.GID }),
	"layer": {1, inLayer},

	"newer": {1, newer}, "newermt": {1, newerThanTime}, "newermm": {1, newer},
	"mtime": age(24 * time.Hour), "mmin": age(time.Minute),

	"maxdepth": depthOption(func(x *Expression, n int) { x.maxDepth = n }),
	"mindepth": depthOption(func(x *Expression, n int) { x.minDepth = n }),

	"true":  {0, func(*parser, string) (node, error) { return always, nil }},
	"false": {0, func(*parser, string) (node, error) { return not(always), nil }},
	"prune": {0, func(*parser, string) (node, error) { return prune, nil }},
	"quit":  {0, func(*parser, string) (node, error) { return quit, nil }},
	"print": action(Printer.Print), "print0": action(Printer.Print0), "ls": action(Printer.PrintLong), "printf": {1, printf},

	"atime": absent(1, timesHint), "ctime": absent(1, timesHint), "amin": absent(1, timesHint), "cmin": absent(1, timesHint),
	"exec": absent(0, actHint), "execdir": absent(0, actHint), "ok": absent(0, actHint), "okdir": absent(0, actHint), "delete": absent(0, "images are read-only"),
}

const (
	timesHint = "images have times of modification only: use -mtime, -mmin or -newer"
	actHint   = "send what was found to a program: peelfs find ... -print0 | xargs -0 ..."
)

// absent is a word of find(1) that makes no sense here.
func absent(arguments int, hint string) primary {
	return primary{arguments, func(*parser, string) (node, error) {
		return nil, errkind.WithHint(errkind.New(errkind.Unsupported, "that test or action of find(1) does not exist here"), "%s", hint)
	}}
}

func errorAt(word string, err error) error { return fmt.Errorf("%s: %w", word, err) }

func nameTest(fold bool) primary {
	return primary{1, func(p *parser, arg string) (node, error) {
		pat := compile(arg, p.image.Characters, fold)
		return plain(func(e query.Entry) bool { return pat.match(e.Name()) }), nil
	}}
}

func pathTest(fold bool) primary {
	return primary{1, func(p *parser, arg string) (node, error) {
		pat := compile(arg, p.image.Characters, fold)
		return plain(func(e query.Entry) bool { return pat.match(e.Path()) }), nil
	}}
}

// linkTest is about the text of a symbolic link.
func linkTest(fold bool) primary {
	return primary{1, func(p *parser, arg string) (node, error) {
		pat := compile(arg, p.image.Characters, fold)
		return func(ctx context.Context, _ *walk, e query.Entry) (bool, error) {
			if e.Attr.Kind != index.Symlink {
				return false, nil
			}
			text, err := p.image.View.Readlink(ctx, e.Attr.Ino)
			return err == nil && pat.match(string(text)), err
		}, nil
	}}
}

func regexTest(fold bool) primary {
	return primary{1, func(p *parser, arg string) (node, error) {
		re, err := p.dialect.expression(arg, fold)
		if err != nil {
			return nil, err
		}
		return plain(func(e query.Entry) bool { return re.MatchString(e.Path()) }), nil
	}}
}

// regexType chooses the syntax of the expressions behind it.
func regexType(p *parser, arg string) (node, error) {
	d, ok := dialects[arg]
	if !ok {
		return nil, errkind.WithHint(errkind.New(errkind.Invalid, "%q is not known", arg), "use emacs, posix-basic, posix-extended, posix-egrep, posix-awk, grep or sed")
	}
	p.dialect = d
	return always, nil
}

// empty holds for files without content and directories without entries.
func empty(p *parser, _ string) (node, error) {
	return func(ctx context.Context, _ *walk, e query.Entry) (bool, error) {
		switch {
		case e.Attr.Kind == index.File:
			return e.Attr.Size == 0, nil
		case !e.IsDir():
			return false, nil
		}
		dir, err := p.image.View.ReadDir(ctx, e.Attr.Ino)
		return err == nil && dir.Len() == 0, err
	}, nil
}

// number is a test of a number: N, or more with +N, or less with -N.
func number(of func(query.Entry) int64, most int64) primary {
	return test(func(arg string) (filter, error) {
		n, compare, err := signed(arg)
		if err != nil || n > most {
			return nil, errkind.WithHint(errkind.New(errkind.Invalid, "%q is no number that can be", arg), "write it as 5, +5 for more, or -5 for less")
		}
		return func(e query.Entry) bool { return compare(of(e), n) }, nil
	})
}

// account is a test of an owner or a group, by a name of the image or a number.
func account(file string, of func(query.Entry) uint32) primary {
	return primary{1, func(p *parser, arg string) (node, error) {
		ids, err := accounts(p.ctx, p.image.View, file)
		if err != nil {
			return nil, err
		}
		id, ok := ids.byName[arg]
		if !ok {
			n, err := strconv.ParseUint(arg, 10, 32)
			if err != nil {
				return nil, errkind.WithHint(errkind.New(errkind.Invalid, "the image's %s has no %q", file, arg), "name a number instead")
			}
			id = uint32(n)
		}
		return plain(func(e query.Entry) bool { return of(e) == id }), nil
	}}
}

func inLayer(p *parser, arg string) (node, error) {
	n, err := p.image.Layer(arg)
	return plain(func(e query.Entry) bool { return p.image.View.LayerOf(e.Attr.Ino) == n }), err
}

// newer holds for what was modified after a file of the image, or a date.
func newer(p *parser, arg string) (node, error) {
	if !strings.HasPrefix(arg, "/") {
		return newerThanTime(p, arg)
	}
	e, err := query.Find(p.ctx, p.image.View, arg, true)
	return plain(after(e.Attr.Sec, e.Attr.Nsec)), err
}

func newerThanTime(_ *parser, arg string) (node, error) {
	t, err := parseTime(arg)
	return plain(after(t.Unix(), uint32(t.Nanosecond()))), err
}

func after(sec int64, nsec uint32) filter {
	return func(e query.Entry) bool { return e.Attr.Sec > sec || e.Attr.Sec == sec && e.Attr.Nsec > nsec }
}

// age is a test of how many units ago something was modified, fractions of them
// left out.
func age(unit time.Duration) primary {
	return primary{1, func(p *parser, arg string) (node, error) {
		digits := strings.TrimLeft(arg, "+-")
		n, err := strconv.ParseFloat(digits, 64)
		if err != nil || len(arg)-len(digits) > 1 || !(n >= 0 && n < 1e9) {
			return nil, errkind.WithHint(errkind.New(errkind.Invalid, "%q is no age", arg), "write it as 7, +7 for longer ago, or -7 for less")
		}
		seconds := unit.Seconds()
		now := float64(p.image.Now.Unix()) + float64(p.image.Now.Nanosecond())/1e9
		return plain(func(e query.Entry) bool {
			past := (now - float64(e.Attr.Sec) - float64(e.Attr.Nsec)/1e9) / seconds
			switch arg[0] {
			case '+':
				return past >= n+1
			case '-':
				return past < n
			}
			return past >= n && past < n+1
		}), nil
	}}
}

func prune(_ context.Context, w *walk, _ query.Entry) (bool, error) {
	w.prune = true
	return true, nil
}

func quit(_ context.Context, w *walk, _ query.Entry) (bool, error) {
	w.quit = true
	return true, nil
}
