package inflate

import (
	"errors"
	"io"
)

// Reader gives the output of a gzip blob of one or more members.
type Reader struct{}

// Buffer is a run of output.
type Buffer struct{}

// Bytes is the output.
func (b *Buffer) Bytes() []byte { return nil }

// Release gives the buffer back.
func (b *Buffer) Release() {}

// NewReader returns a Reader.
func NewReader(r io.Reader, opt Options) *Reader { return &Reader{} }

// Next returns the next run of output.
func (r *Reader) Next() (*Buffer, error) { return nil, errors.ErrUnsupported }

// Read is an io.Reader over Next.
func (r *Reader) Read(p []byte) (int, error) { return 0, errors.ErrUnsupported }

// WriteTo writes all output.
func (r *Reader) WriteTo(w io.Writer) (int64, error) { return 0, errors.ErrUnsupported }

// Trailing is the number of bytes behind the last member.
func (r *Reader) Trailing() int64 { return 0 }

// DecodeSpan decodes a span.
func DecodeSpan(dst, src, window []byte, bits uint8) error { return errors.ErrUnsupported }
