package registry

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"pgregory.net/rapid"

	"github.com/peelfs/peelfs/fetch/image"
	"github.com/peelfs/peelfs/fetch/login"
	"github.com/peelfs/peelfs/fetch/transport"
	"github.com/peelfs/peelfs/fetch/transport/retry"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/testregistry"
)

// noise is n bytes that differ from each other; rapid draws nothing so large.
func noise(n int) []byte {
	p := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(p)
	return p
}

func open(t testing.TB, r *testregistry.Registry, timeout time.Duration) *Repository {
	t.Helper()
	return openWith(t, r, transport.Options{IOTimeout: timeout})
}

func openWith(t testing.TB, r *testregistry.Registry, opt transport.Options) *Repository {
	t.Helper()
	tr, err := transport.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.Close)
	find, err := login.NewFinder(login.Options{Anonymous: true})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := image.ParseReference(r.Ref("app"))
	if err != nil {
		t.Fatal(err)
	}
	return Open(&Shared{Transport: tr, Credentials: find,
		Policy: retry.Policy{Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}}, ref)
}

func readBody(body io.ReadCloser) ([]byte, error) {
	defer body.Close()
	return io.ReadAll(body)
}

// want reads a range and compares it with what data has there.
func want(t testing.TB, b image.Blob, data []byte, off, n int64) {
	t.Helper()
	body, at, err := b.ReadRange(context.Background(), off, n)
	if err != nil {
		t.Fatalf("range %d+%d: %v", off, n, err)
	}
	got, err := readBody(body)
	if err != nil {
		t.Fatalf("range %d+%d: %v after %d bytes", off, n, err, len(got))
	}
	end := off + n
	if n < 0 || at < off {
		end = int64(len(data))
	}
	if at > off || !bytes.Equal(got, data[at:end]) {
		t.Fatalf("range %d+%d: wrong bytes, %d from %d", off, n, len(got), at)
	}
}

func TestRanges(t *testing.T) {
	data := noise(100_000)
	r := testregistry.New(t, testregistry.Options{})
	repo := open(t, r, time.Minute)
	d := r.PushBlob(data)
	unknown := d
	unknown.Size = -1
	for _, desc := range []ocispec.Descriptor{d, unknown} {
		b := repo.Blob(desc)
		rapid.Check(t, func(rt *rapid.T) {
			off := rapid.Int64Range(0, int64(len(data))-1).Draw(rt, "off")
			n := rapid.Int64Range(-1, int64(len(data))-off).Draw(rt, "n")
			want(t, b, data, off, n)
		})
	}
	for _, q := range r.Requests() {
		if strings.Contains(q.Range, ",") || q.Range != "" && !strings.HasPrefix(q.Range, "bytes=") {
			t.Errorf("request %v is not for a single range", q)
		}
	}
	b := repo.Blob(d)
	if n, ok := b.Size(); !ok || n != int64(len(data)) {
		t.Errorf("size = %d, %v", n, ok)
	}
	for _, c := range []struct{ off, n int64 }{{-1, 5}, {100_001, -1}, {99_999, 2}, {5, 1 << 62}} {
		if _, _, err := b.ReadRange(t.Context(), c.off, c.n); !errkind.Is(err, errkind.Corrupt) {
			t.Errorf("range %d+%d: %v", c.off, c.n, err)
		}
	}
	r.Forget()
	want(t, b, data, 100_000, -1)
	want(t, b, data, 7, 0)
	if len(r.Requests()) != 0 {
		t.Error("a request for no bytes was sent")
	}
}

func TestServersThatIgnoreRanges(t *testing.T) {
	data := noise(100_000)
	r := testregistry.New(t, testregistry.Options{})
	repo := open(t, r, time.Minute)
	d := r.PushBlob(data)
	r.Fail(testregistry.Fault{Path: "/blobs/", IgnoreRange: true})
	for _, size := range []int64{d.Size, -1} {
		d.Size = size
		b := repo.Blob(d)
		body, at, err := b.ReadRange(t.Context(), 50_000, 100)
		if err != nil || at != 0 {
			t.Fatalf("at %d, %v", at, err)
		}
		if got, err := readBody(body); err != nil || !bytes.Equal(got, data) {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
		want(t, b, data, 0, 10)
	}
}

// A connection may break anywhere, as often as it likes as long as there is
// progress: nobody notices.
func TestBrokenConnections(t *testing.T) {
	data := noise(1 << 20)
	for name, faults := range map[string][]testregistry.Fault{
		"cut once":            {{Cut: true, After: 1000, Times: 1}},
		"cut at the start":    {{Cut: true, Times: 3}},
		"cut often":           {{Cut: true, After: 100_000}},
		"5xx, then cut":       {{Status: 502, Times: 2}, {Cut: true, After: 5, Times: 1}, {Status: 503, Times: 2}},
		"429":                 {{Status: 429, Header: "Retry-After: 1", Times: 1}},
		"408":                 {{Status: 408, Times: 1}},
		"200 after a cut":     {{Cut: true, After: 70_000, Times: 1}, {IgnoreRange: true}},
		"stall":               {{Stall: true, After: 3000, Times: 1}},
		"odd Content-Range":   {{Cut: true, After: 70_000, Times: 1}, {Header: "Content-Range: 70000-1048575/1048576", Times: 1}},
		"wrong Content-Range": {{Cut: true, After: 70_000, Times: 1}, {Header: "Content-Range: bytes 0-9/1048576", Times: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			r := testregistry.New(t, testregistry.Options{})
			repo := open(t, r, 500*time.Millisecond)
			b := repo.Blob(r.PushBlob(data))
			for _, f := range faults {
				r.Fail(f)
			}
			want(t, b, data, 0, -1)
			if n := repo.shared.Retries(); n == 0 {
				t.Error("no retry was counted: the fault did not happen")
			}
		})
	}
}

// One connection that falls silent while others work costs no more than patience:
// with a limit of an hour for each attempt, all of this must come all the same.
func TestStalledConnections(t *testing.T) {
	data := noise(28 << 20)
	slow := int64(40 << 20)
	for name, faults := range map[string][]testregistry.Fault{
		"before the answer":     {{Stall: true, Times: 1}},
		"in the first bytes":    {{Stall: true, After: 1000, Times: 1}},
		"twice in a row":        {{Stall: true, After: 1000, Times: 2}},
		"one of several pieces": {{Rate: slow, Times: 3}, {Rate: slow, Stall: true, After: 1 << 20, Times: 1}, {Rate: slow}},
		"ranges are ignored":    {{Stall: true, After: 1000, Times: 1, IgnoreRange: true}, {IgnoreRange: true}},
	} {
		t.Run(name, func(t *testing.T) {
			r := testregistry.New(t, testregistry.Options{})
			repo := openWith(t, r, transport.Options{IOTimeout: time.Hour, Patience: 50 * time.Millisecond})
			b := repo.Blob(r.PushBlob(data))
			for _, f := range faults {
				f.Path = "/blobs/"
				r.Fail(f)
			}
			want(t, b, data, 0, -1)
			if n := repo.shared.Retries(); n != 0 {
				t.Errorf("%d retries: a silence was taken for a failure", n)
			}
		})
	}
}

func TestLostCauses(t *testing.T) {
	data := noise(10_000)
	for name, c := range map[string]struct {
		fault testregistry.Fault
		kind  errkind.Kind
	}{
		"no progress":    {testregistry.Fault{Cut: true, After: 0}, errkind.Unavailable},
		"always 500":     {testregistry.Fault{Status: 500}, errkind.Unavailable},
		"gone":           {testregistry.Fault{Status: 404}, errkind.NotFound},
		"forbidden":      {testregistry.Fault{Status: 403}, errkind.Denied},
		"416":            {testregistry.Fault{Status: 416}, errkind.Corrupt},
		"other size":     {testregistry.Fault{Header: "Content-Range: bytes 1-9999/20000"}, errkind.Corrupt},
		"no range given": {testregistry.Fault{Header: "Content-Range:"}, errkind.Unavailable},
		"always silent":  {testregistry.Fault{Stall: true, After: 100}, errkind.Timeout},
	} {
		t.Run(name, func(t *testing.T) {
			r := testregistry.New(t, testregistry.Options{})
			b := open(t, r, 50*time.Millisecond).Blob(r.PushBlob(data))
			r.Fail(c.fault)
			body, _, err := b.ReadRange(t.Context(), 1, -1)
			if err == nil {
				_, err = readBody(body)
			}
			if !errkind.Is(err, c.kind) {
				t.Errorf("error %v of kind %v, want %v", err, errkind.Of(err), c.kind)
			}
			r.Mend()
			want(t, b, data, 1, -1) // nothing is poisoned
		})
	}
}

func TestSizeThatLies(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	d := r.PushBlob(noise(1000))
	d.Size = 999
	_, _, err := open(t, r, time.Minute).Blob(d).ReadRange(t.Context(), 0, -1)
	if !errkind.Is(err, errkind.Corrupt) || !strings.Contains(err.Error(), "999") {
		t.Errorf("error %v", err)
	}
}

func TestCancellation(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	data := noise(20 << 20)
	b := open(t, r, time.Hour).Blob(r.PushBlob(data))
	r.Fail(testregistry.Fault{Path: "/blobs/", Stall: true, After: 1000})
	ctx, cancel := context.WithCancel(t.Context())
	body, _, err := b.ReadRange(ctx, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(body, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := body.Read(make([]byte, 10))
		done <- err
	}()
	cancel()
	if err := <-done; !errkind.Is(err, errkind.Canceled) {
		t.Errorf("error %v", err)
	}
	body.Close()
	if _, _, err := b.ReadRange(ctx, 0, -1); !errkind.Is(err, errkind.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestClosedEarly(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	data := noise(28 << 20)
	repo := open(t, r, time.Minute)
	b := repo.Blob(r.PushBlob(data))
	r.Fail(testregistry.Fault{Path: "/blobs/", Rate: 40 << 20})
	for _, n := range []int{0, 1, 7 << 20, 9 << 20, 20 << 20} {
		body, _, err := b.ReadRange(t.Context(), 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, n)
		if _, err := io.ReadFull(body, got); err != nil || !bytes.Equal(got, data[:n]) {
			t.Errorf("%d bytes: %v", n, err)
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
		if used := repo.shared.spare.Load(); used != 0 {
			t.Errorf("%d connections were not given back", used)
		}
	}
}

// The connections of this server are slow one by one: several are used, and the
// bytes are in order.
func TestSlowConnectionsAreSeveral(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	data := noise(48<<20 + 12345)
	repo := open(t, r, time.Minute)
	b := repo.Blob(r.PushBlob(data))
	r.Fail(testregistry.Fault{Path: "/blobs/", Rate: 40 << 20})
	want(t, b, data, 100, -1)
	if n := r.Count("GET", "/blobs/"); n < 8 {
		t.Errorf("%d requests: no parallel ranges", n)
	}
	if got := r.Bytes("GET", "/blobs/"); got != int64(len(data))-100 {
		t.Errorf("%d bytes were sent for %d", got, len(data)-100)
	}
	if used := repo.shared.spare.Load(); used != 0 {
		t.Errorf("%d connections were not given back", used)
	}
}

func TestPiecesSurviveFaults(t *testing.T) {
	data := noise(28 << 20)
	slow := int64(40 << 20)
	for name, faults := range map[string][]testregistry.Fault{
		"cuts":          {{Cut: true, After: 3 << 20, Rate: slow}},
		"busy":          {{Rate: slow, Times: 2}, {Status: 503, Times: 2}, {Status: 429, Times: 2}, {Rate: slow}},
		"ranges cease":  {{Rate: slow, Times: 3}, {IgnoreRange: true}},
		"never ranges":  {{IgnoreRange: true}},
		"gone half way": {{Rate: slow, Times: 3}, {Status: 404, Times: 1}, {Rate: slow}},
	} {
		t.Run(name, func(t *testing.T) {
			r := testregistry.New(t, testregistry.Options{})
			repo := open(t, r, time.Minute)
			b := repo.Blob(r.PushBlob(data))
			for _, f := range faults {
				f.Path = "/blobs/"
				r.Fail(f)
			}
			body, at, err := b.ReadRange(t.Context(), 0, -1)
			if err != nil || at != 0 {
				t.Fatal(at, err)
			}
			got, err := readBody(body)
			if !bytes.Equal(got, data[:len(got)]) {
				t.Error("wrong bytes")
			}
			if gone := strings.HasPrefix(name, "gone"); gone != errkind.Is(err, errkind.NotFound) || !gone && len(got) != len(data) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

// How the rest of a long range is read follows from what the lead showed.
func TestDecision(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	data := noise(stripeMin)
	for name, c := range map[string]struct {
		blocked, since time.Duration
		spare          int64
		several        bool
	}{
		"slow connection":          {time.Second, time.Second, 0, true},
		"fast connection":          {10 * time.Millisecond, 10 * time.Millisecond, 0, false},
		"slow reader":              {time.Second, time.Minute, 0, false},
		"slow, but all are in use": {time.Second, time.Second, maxSpare, false},
	} {
		repo := open(t, r, time.Minute)
		repo.shared.spare.Store(c.spare)
		b := repo.Blob(r.PushBlob(data)).(*blob)
		s := newStriped(t.Context(), b, b.body(t.Context(), 0, leadSize), stripeMin)
		s.got, s.pos, s.blocked, s.begun = decideAt, decideAt, c.blocked, time.Now().Add(-c.since)
		s.decide()
		if (s.pieces != nil) != c.several || (s.single != nil) == c.several {
			t.Errorf("%s: several = %v, one = %v", name, s.pieces != nil, s.single != nil)
		}
		s.Close()
		if left := repo.shared.spare.Load(); left != c.spare {
			t.Errorf("%s: %d connections in use afterwards", name, left)
		}
	}
}
