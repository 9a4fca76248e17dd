// Package inflate reads gzip layers forward, tells where they can be entered
// again, and enters them there.
//
// The invariant: for every Span that a Reader reports,
//
//	DecodeSpan(dst, blob[s.In:s.In+s.InLen], s.Window, s.Bits)
//
// fills dst of s.OutLen bytes with exactly the bytes that the Reader gave at
// offset s.Out, and needs no byte of the blob outside that range.
//
// # Seek points
//
// A span starts where a deflate block starts: at bit Bits (0 the lowest) of
// the byte at In. Its compressed range runs from that byte to the next span's
// first byte, and includes the latter when it is shared (the next span's Bits
// is not 0): [floor(start/8), ceil(end/8)) for bit positions start and end.
// The range of a span includes all gzip trailers and headers between its
// first and last block; bytes in front of the first span are the first
// member's header, and bytes behind the last span hold no output.
//
// Checkpoints of a SOCI ztoc (zlib's zran) name the first whole byte instead,
// and count the bits that lie before it:
//
//	in, bits := s.In, 0                       // s.Bits == 0
//	in, bits := s.In + 1, 8 - s.Bits          // s.Bits > 0
//
// so a ztoc's span [in_i, in_i+1) is entered by fetching from
// In = in_i - (bits_i > 0 ? 1 : 0) to in_i+1 and calling DecodeSpan with
// Bits = (8 - bits_i) & 7 and the checkpoint's window.
package inflate

// WindowSize is how far back a deflate stream may refer.
const WindowSize = 32 << 10

// Span is a stretch of output that can be decoded on its own.
type Span struct {
	Out, OutLen int64 // in the output, bytes
	In, InLen   int64 // in the blob, bytes; see the package comment
	Bits        uint8 // bits of the byte at In that belong to the span before, 0 to 7

	// Window is what the span refers to in front of itself: the WindowSize
	// bytes before Out with all those zeroed that it does not use, or nil if
	// it uses none. The receiver owns it.
	Window []byte

	Digest [32]byte // sha256 of the compressed range
	Sum    uint64   // xxh3-64 of the output
}

// Options of a Reader. The zero value is plain decompression.
type Options struct {
	// SpanSize is the least output of a span but the last, in bytes; spans
	// grow beyond it to the next block. 0 turns spans off, at no cost.
	SpanSize int64

	// OnSpan receives the spans, in order, each from within the Next, Read
	// or WriteTo that gives the span's last byte or from within the one
	// after it. An error of OnSpan ends the reading.
	OnSpan func(Span) error
}
