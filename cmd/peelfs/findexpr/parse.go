package findexpr

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/query"
)

// Split parts the arguments of find: the words of the expression, from all others,
// which are flags and images. value says of a flag that is not the expression's
// whether the next argument is its value. Words of an expression may have two
// dashes, and their arguments may be joined to them by "=".
func Split(args []string, value func(flag string) bool) (words, rest []string) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return words, append(rest, args[i:]...)
		}
		if operators[arg] {
			words = append(words, arg)
			continue
		}
		name, joined, hasValue := strings.Cut(arg, "=")
		name = strings.TrimPrefix(strings.TrimPrefix(name, "-"), "-")
		p, ok := primaries[name]
		switch {
		case !strings.HasPrefix(arg, "-") || arg == "-":
			rest = append(rest, arg)
		case ok && hasValue && p.arguments == 1:
			words = append(words, "-"+name, joined)
		case ok && !hasValue:
			words = append(words, "-"+name)
			for n := p.arguments; n > 0 && i+1 < len(args); n-- {
				i++
				words = append(words, args[i])
			}
		default:
			rest = append(rest, arg)
			if i+1 < len(args) && value(arg) {
				i++
				rest = append(rest, args[i])
			}
		}
	}
	return words, rest
}

var operators = map[string]bool{"(": true, ")": true, "!": true, ",": true}

// Known says whether name, without its dash, is the word of a test or an action.
func Known(name string) bool {
	_, ok := primaries[name]
	return ok
}

// parser reads the words of an expression from left to right.
type parser struct {
	ctx     context.Context // of the one parse that it is for
	image   Image
	words   []string
	i       int
	depth   int
	dialect dialect
	acts    bool // something prints: the expression itself does not
	x       *Expression
}

// maxNesting is how deep parentheses and negations may be.
const maxNesting = 1000

// Parse reads the words of an expression; none at all find everything. Files that
// it names are looked up in the image now. A malformed expression is an error of
// kind Invalid.
func Parse(ctx context.Context, image Image, words []string) (*Expression, error) {
	p := &parser{ctx: ctx, image: image, words: words, dialect: dialects["emacs"], x: &Expression{maxDepth: -1, root: always}}
	if len(words) > 0 {
		root, err := p.commas()
		if err != nil {
			return nil, err
		}
		if p.i < len(words) {
			return nil, malformed("%q closes nothing", words[p.i])
		}
		p.x.root = root
	}
	if !p.acts {
		p.x.root = both(p.x.root, printing(Printer.Print))
	}
	return p.x, nil
}

func malformed(format string, args ...any) error {
	return errkind.WithHint(errkind.New(errkind.Invalid, format, args...), "see: peelfs find --help")
}

func (p *parser) peek() string {
	if p.i < len(p.words) {
		return p.words[p.i]
	}
	return ""
}

func (p *parser) commas() (node, error) { return p.chain(p.ors, list, ",") }
func (p *parser) ors() (node, error)    { return p.chain(p.ands, either, "-o", "-or") }

// chain reads operands with operators between them.
func (p *parser) chain(operand func() (node, error), join func(a, b node) node, operators ...string) (node, error) {
	left, err := operand()
	for err == nil && slices.Contains(operators, p.peek()) && p.i < len(p.words) {
		p.i++
		var right node
		if right, err = operand(); err == nil {
			left = join(left, right)
		}
	}
	return left, err
}

// ands reads tests that stand next to each other, with or without -a between them.
func (p *parser) ands() (node, error) {
	left, err := p.nots()
	for err == nil && p.i < len(p.words) && !slices.Contains([]string{")", ",", "-o", "-or"}, p.peek()) {
		if w := p.peek(); w == "-a" || w == "-and" {
			p.i++
		}
		var right node
		if right, err = p.nots(); err == nil {
			left = both(left, right)
		}
	}
	return left, err
}

func (p *parser) nots() (node, error) {
	if p.depth++; p.depth > maxNesting {
		return nil, malformed("the expression is too deep")
	}
	defer func() { p.depth-- }()
	if p.i == len(p.words) {
		if p.i == 0 {
			return nil, malformed("the expression is empty")
		}
		return nil, malformed("a test is missing behind %q", p.words[p.i-1])
	}
	word := p.words[p.i]
	p.i++
	switch word {
	case "!", "-not":
		inner, err := p.nots()
		if err != nil {
			return nil, err
		}
		return not(inner), nil
	case "(":
		inner, err := p.commas()
		if err != nil {
			return nil, err
		}
		if p.peek() != ")" {
			return nil, malformed("a parenthesis is open")
		}
		p.i++
		return inner, nil
	}
	return p.primary(word)
}

// primary reads a test or an action.
func (p *parser) primary(word string) (node, error) {
	prim, ok := primaries[strings.TrimPrefix(word, "-")]
	switch {
	case !ok || prim.parse == nil:
		return nil, malformed("%q is not where a test can be", word)
	case prim.arguments > len(p.words)-p.i:
		return nil, malformed("%s needs an argument", word)
	}
	arg := ""
	if prim.arguments > 0 {
		arg = p.words[p.i]
		p.i += prim.arguments
	}
	n, err := prim.parse(p, arg)
	if err != nil && prim.arguments > 0 {
		return nil, errkind.WithHint(errorAt(word, err), "%s", errkind.Hint(err))
	}
	return n, err
}

// primary is a test or an action.
type primary struct {
	arguments int
	parse     func(p *parser, arg string) (node, error) // nil for operators that are words
}

// depthOption reads -maxdepth and -mindepth, which hold for the whole walk.
func depthOption(set func(*Expression, int)) primary {
	return primary{1, func(p *parser, arg string) (node, error) {
		n, err := strconv.ParseUint(arg, 10, 31)
		if err != nil {
			return nil, errkind.New(errkind.Invalid, "%q is no depth", arg)
		}
		set(p.x, int(n))
		return always, nil
	}}
}

// test is a primary whose argument makes a filter.
func test(parse func(string) (filter, error)) primary {
	return primary{1, func(_ *parser, arg string) (node, error) {
		f, err := parse(arg)
		return plain(f), err
	}}
}

// action is a primary that prints.
func action(print func(Printer, query.Entry) error) primary {
	return primary{0, func(p *parser, _ string) (node, error) {
		p.acts = true
		return printing(print), nil
	}}
}

func printing(print func(Printer, query.Entry) error) node {
	return func(_ context.Context, w *walk, e query.Entry) (bool, error) { return true, print(w.out, e) }
}
