package transport

import (
	"bytes"
	"compress/zlib"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/peelfs/peelfs/fetch/transport/retry"
	"github.com/peelfs/peelfs/internal/errkind"
)

// Page returns an error if an answer that should be something else calls itself a
// web page: that of a captive portal, or of a proxy in trouble.
func Page(resp *http.Response) error {
	t, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if t != "text/html" && t != "application/xhtml+xml" {
		return nil
	}
	return retry.Doubtful(errkind.WithHint(
		errkind.New(errkind.Unavailable, "%s answers with a web page (status %d, %s)", resp.Request.URL.Host, resp.StatusCode, t),
		"does the network want a login (a captive portal), or does a proxy answer in the registry's place? check the name too"))
}

// ReadDocument reads a whole answer of at most limit bytes and closes it. A web page
// in its place is an error; that alone is told by the first byte too, for some
// servers call all that they send HTML. It undoes
// a Content-Encoding that nobody has asked for, unless good, which may be nil, says
// that the bytes are right as they are: some servers only label them so.
func ReadDocument(resp *http.Response, limit int64, good func([]byte) bool) ([]byte, error) {
	defer resp.Body.Close()
	raw, err := readLimited(resp.Body, limit)
	if err != nil {
		return nil, Classify(err, resp.Request.URL.Host)
	}
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte("<")) {
		if err := Page(resp); err != nil {
			return nil, err
		}
	}
	encoding := Encoding(resp.Header)
	if encoding == "" || good != nil && good(raw) {
		return raw, nil
	}
	r, err := Decode(bytes.NewReader(raw), encoding)
	if err == nil {
		var plain []byte
		if plain, err = readLimited(r, limit); err == nil {
			return plain, nil
		}
	}
	if errkind.Is(err, errkind.Unsupported) {
		return nil, err
	}
	return raw, nil // it was a label only; the caller sees what the bytes are
}

// readLimited reads up to limit bytes; more are an error of kind Unsupported.
func readLimited(r io.Reader, limit int64) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = TooLarge(limit)
	}
	return raw, err
}

// TooLarge is the error of a document with more than limit bytes.
func TooLarge(limit int64) error {
	return errkind.WithHint(errkind.New(errkind.Unsupported, "larger than %d bytes", limit),
		"no image needs so much: check the name, and what answers for the registry")
}

// Encoding is what an answer's bytes are wrapped in, in lower case; "" for nothing.
func Encoding(h http.Header) string {
	encoding := strings.ToLower(strings.TrimSpace(strings.Join(h.Values("Content-Encoding"), ",")))
	if encoding == "identity" {
		return ""
	}
	return encoding
}

// IsEncoded reports whether data, of which head is the beginning, is in an encoding
// or only labelled so. compressed says that what is meant begins with the same magic
// bytes by itself: then it must be twice what it is once.
func IsEncoded(head []byte, encoding string, compressed bool) bool {
	if !hasMagic(head, encoding) {
		return false
	}
	if !compressed {
		return true
	}
	r, err := Decode(bytes.NewReader(head), encoding)
	if err != nil {
		return false
	}
	inner := make([]byte, 4)
	n, _ := io.ReadFull(r, inner)
	return hasMagic(inner[:n], encoding)
}

func hasMagic(head []byte, encoding string) bool {
	switch encoding {
	case "gzip", "x-gzip":
		return bytes.HasPrefix(head, []byte{0x1f, 0x8b})
	case "zstd":
		return bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd})
	case "deflate":
		return len(head) >= 2 && head[0]&0x0f == 8 && (int(head[0])<<8|int(head[1]))%31 == 0
	}
	return true // Decode says that it is not known
}

// maxDecoderMemory bounds the window that a zstd stream may ask for, bytes.
const maxDecoderMemory = 64 << 20

// Decode undoes an encoding as Encoding names it. One that is not known is of kind
// Unsupported.
func Decode(r io.Reader, encoding string) (io.Reader, error) {
	switch encoding {
	case "gzip", "x-gzip":
		return gzip.NewReader(r)
	case "deflate":
		return zlib.NewReader(r)
	case "zstd":
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxDecoderMemory))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return nil, errkind.New(errkind.Unsupported, "the server encodes its answer as %q, which nobody has asked for", printable(encoding))
}
