package output

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// LogHandler returns a handler that writes the log to stderr, above any bars: on a
// terminal like the messages of commands, elsewhere as slog writes text.
func (c *Console) LogHandler(level slog.Level) slog.Handler {
	return &logHandler{console: c, level: level, text: slog.NewTextHandler(c, &slog.HandlerOptions{Level: level})}
}

// logHandler decides at each record: the process behind a mount begins on its
// parent's terminal and goes on in a file.
type logHandler struct {
	console *Console
	level   slog.Level
	text    slog.Handler
	attrs   string // those of the logger, as " key=value"
	group   string
}

// Enabled implements slog.Handler.
func (h *logHandler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

// Handle implements slog.Handler.
func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	if !IsTerminal(h.console.Err) {
		return h.text.Handle(ctx, r)
	}
	return h.line(r)
}

// line writes a record as a message.
func (h *logHandler) line(r slog.Record) error {
	attrs := h.attrs
	r.Attrs(func(a slog.Attr) bool {
		attrs += h.attr(a)
		return true
	})
	text := r.Message
	if attrs != "" {
		text += " (" + strings.TrimPrefix(attrs, ", ") + ")"
	}
	label, colour := strings.ToLower(r.Level.String())+":", Colour("")
	switch {
	case r.Level >= slog.LevelError:
		colour = Red
	case r.Level >= slog.LevelWarn:
		label, colour = "warning:", Yellow
	}
	h.console.message(colour, label, text)
	return nil
}

func (h *logHandler) attr(a slog.Attr) string {
	return fmt.Sprintf(", %s%s %s", h.group, a.Key, Printable(a.Value.Resolve().String()))
}

// WithAttrs implements slog.Handler.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := *h
	out.text = h.text.WithAttrs(attrs)
	for _, a := range attrs {
		out.attrs += h.attr(a)
	}
	return &out
}

// WithGroup implements slog.Handler.
func (h *logHandler) WithGroup(name string) slog.Handler {
	out := *h
	out.text, out.group = h.text.WithGroup(name), h.group+name+"."
	return &out
}
