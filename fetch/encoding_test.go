package fetch

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/testregistry"
)

func zipped(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(data)
	w.Close()
	return b.Bytes()
}

func deflated(data []byte) []byte {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	w.Write(data)
	w.Close()
	return b.Bytes()
}

// encodes answers everything encoded, with or without its length; a range is one of
// the encoded bytes.
func encodes(r *testregistry.Registry, encoding string, encode func([]byte) []byte, chunked bool) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, req *http.Request) bool {
		inner := req.Clone(req.Context())
		inner.RequestURI = ""
		inner.URL.Scheme, inner.URL.Host = "http", r.Host
		inner.Header.Del("Range")
		resp, err := http.DefaultTransport.RoundTrip(inner)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		data, _ := io.ReadAll(resp.Body)
		for k, v := range resp.Header {
			if k != "Content-Length" && k != "Accept-Ranges" {
				w.Header()[k] = v
			}
		}
		w.Header().Set("Content-Encoding", encoding)
		data, status := encode(data), resp.StatusCode
		if from, ok := strings.CutPrefix(req.Header.Get("Range"), "bytes="); ok && status == 200 {
			var lo, hi int
			if n, _ := fmt.Sscanf(from, "%d-%d", &lo, &hi); n == 1 || hi >= len(data) {
				hi = len(data) - 1
			}
			if lo > hi {
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				return true
			}
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", lo, hi, len(data)))
			data, status = data[lo:hi+1], 206
		}
		if !chunked {
			w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		}
		w.WriteHeader(status)
		if req.Method != http.MethodHead {
			w.Write(data)
			if chunked {
				http.NewResponseController(w).Flush()
			}
		}
		return true
	}
}

// An encoding that nobody has asked for is undone, on documents and on layers; the
// label alone changes nothing.
func TestEncodedAnswers(t *testing.T) {
	same := func(b []byte) []byte { return b }
	for name, c := range map[string]struct {
		encoding string
		encode   func([]byte) []byte
	}{
		"gzip": {"gzip", zipped}, "x-gzip": {"X-GZIP", zipped}, "deflate": {"deflate", deflated},
		"only labelled": {"gzip", same}, "identity": {"identity", same}, "labelled as zstd": {"zstd", same},
	} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprint(name, chunked), func(t *testing.T) {
				r := one(t)
				f := newFront(t, r, encodes(r, c.encoding, c.encode, chunked))
				img := resolve(t, newClient(t, Config{}), f.host+"/app:1")
				whole := readAll(t, img.Layers[0].Blob, 0, -1)
				if digest.FromBytes(whole) != img.Layers[0].Descriptor.Digest {
					t.Fatalf("%d bytes of another layer", len(whole))
				}
				if got := readAll(t, img.Layers[0].Blob, 10, 20); !bytes.Equal(got, whole[10:30]) {
					t.Errorf("a stretch has other bytes")
				}
			})
		}
	}
	r := one(t)
	f := newFront(t, r, encodes(r, "br", func(b []byte) []byte { return append([]byte{0x8b}, b...) }, false))
	wantErr(t, newClient(t, Config{}), f.host+"/app:1", errkind.Unsupported, `"br"`)
	bomb := zipped(make([]byte, 40<<20))
	f = newFront(t, r, func(w http.ResponseWriter, req *http.Request) bool {
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(bomb)
		return true
	})
	wantErr(t, newClient(t, Config{}), f.host+"/app:1", errkind.Unsupported, "larger")
}
