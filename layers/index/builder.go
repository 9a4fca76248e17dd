package index

import (
	"io"

	"github.com/peelfs/peelfs/internal/errkind"
)

// Builder applies the rules within one layer to its records.
type Builder struct{}

// NewBuilder returns a Builder of an empty layer.
func NewBuilder() *Builder { return &Builder{} }

// Add applies the layer's next record.
func (b *Builder) Add(r Record) error { return errkind.New(errkind.Internal, "not built") }

// Refuse counts an entry that its source had to leave out.
func (b *Builder) Refuse(name, reason string) {}

// Refused says how many entries were left out, with the first few; it is
// complete after Write.
func (b *Builder) Refused() (n int, sample []string) { return 0, nil }

// Write writes the index.
func (b *Builder) Write(w io.Writer, h Header, spans []Span, windows []Window) error {
	return errkind.New(errkind.Internal, "not built")
}

// WindowPacker packs windows, one at a time.
type WindowPacker struct{}

// Pack returns raw packed; nil for nil.
func (p *WindowPacker) Pack(raw []byte) Window { return nil }
