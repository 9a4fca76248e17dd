package ranges

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/peelfs/peelfs/fetch/transport/retry"
	"github.com/peelfs/peelfs/internal/errkind"
)

func TestContentRange(t *testing.T) {
	for v, want := range map[string]ContentRange{
		"bytes 0-99/1000": {0, 99, 1000}, "0-99/1000": {0, 99, 1000}, "bytes 5-5/*": {5, 5, -1}, " bytes=1-2/3": {1, 2, 3},
		"100-199/10240": {100, 199, 10240}, " Bytes  5-6/* ": {5, 6, -1},
	} {
		for _, s := range []Strictness{Strict, Lenient} {
			if got, err := ParseContentRange(v, s); err != nil || got != want {
				t.Errorf("%q: %v, %v", v, got, err)
			}
		}
	}
	for _, v := range []string{"", "bytes", "bytes */100", "bytes 9-0/100", "bytes 0-9", "items 0-9/100", "bytes -5-9/100",
		"bytes +5-9/100", "bytes 0-9/x", "bytes 100-109/100", "0-99999999999999999999/5", "bytes a-b/c"} {
		if got, err := ParseContentRange(v, Lenient); !errkind.Is(err, errkind.Unavailable) {
			t.Errorf("%q: %v, %v", v, got, err)
		}
	}
	// The first registry in Python says where a range would have ended.
	if got, err := ParseContentRange("100-10240/10240", Lenient); err != nil || got.Last != 10240 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := ParseContentRange("100-10240/10240", Strict); err == nil {
		t.Error("a range beyond its total was taken for a good one")
	}
}

func FuzzContentRange(f *testing.F) {
	f.Add("bytes 0-99/1000")
	f.Add("100-10240/10240")
	f.Fuzz(func(t *testing.T, v string) {
		r, err := ParseContentRange(v, Lenient)
		if err == nil && (r.First < 0 || r.Last < r.First || r.Total >= 0 && r.First >= r.Total) {
			t.Errorf("%q gave %v", v, r)
		}
		if s, serr := ParseContentRange(v, Strict); serr == nil && (err != nil || s != r || s.Total >= 0 && s.Last >= s.Total) {
			t.Errorf("%q gave %v, but leniently %v, %v", v, s, r, err)
		}
	})
}

type met struct{}

func (met) Met() bool { return true }
func (met) Retried()  {}

func tries() *retry.Attempts {
	return retry.Policy{Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}.Start(met{})
}

// script answers requests for parts of data, each as one step says, and as a good
// server when there are no more steps.
type script struct {
	data  []byte
	steps []step
	asked atomic.Int64
}

// step is one answer: refuse it, or send so many bytes and then fail; from is how
// far before what was asked for it begins.
type step struct {
	refuse error
	from   int64
	n      int
	then   error // io.EOF for an end that looks proper; nil to be silent until the request ends
}

func (s *script) open(ctx context.Context, off, end int64) (*Part, error) {
	i := int(s.asked.Add(1)) - 1
	if end < 0 {
		end = int64(len(s.data))
	}
	p := &Part{Host: "test", At: off, End: end, Total: int64(len(s.data))}
	if i >= len(s.steps) {
		p.ReadCloser = io.NopCloser(bytes.NewReader(s.data[off:end]))
		return p, nil
	}
	st := s.steps[i]
	if st.refuse != nil {
		return nil, st.refuse
	}
	p.At = max(0, off-st.from)
	n := min(p.At+int64(st.n), end)
	p.ReadCloser = io.NopCloser(io.MultiReader(bytes.NewReader(s.data[p.At:n]), ending{ctx, st.then}))
	return p, nil
}

type ending struct {
	ctx context.Context
	err error
}

func (e ending) Read([]byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	<-e.ctx.Done()
	return 0, e.ctx.Err()
}

// Whatever happens to the connections, the bytes are those that were asked for, all
// of them and in order.
func TestBytesAreWhole(t *testing.T) {
	data := make([]byte, 5000)
	for i := range data {
		data[i] = byte(i * 7 / 3)
	}
	rapid.Check(t, func(rt *rapid.T) {
		off := rapid.Int64Range(0, int64(len(data))).Draw(rt, "off")
		end := rapid.Int64Range(off, int64(len(data))).Draw(rt, "end")
		if rapid.Bool().Draw(rt, "open") {
			end = -1
		}
		s := &script{data: data, steps: rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
			return step{refuse: rapid.SampledFrom([]error{nil, nil, nil, errkind.New(errkind.Unavailable, "busy")}).Draw(rt, "refuse"),
				from: rapid.Int64Range(0, 50).Draw(rt, "from"), n: rapid.IntRange(0, 2000).Draw(rt, "n"),
				then: rapid.SampledFrom([]error{io.EOF, io.ErrUnexpectedEOF, errors.New("reset")}).Draw(rt, "then")}
		}), 0, 4).Draw(rt, "steps")}
		b := New(t.Context(), Source{Open: s.open, Tries: tries()}, off, end)
		defer b.Close()
		if err := b.Begin(); err != nil {
			rt.Fatal(err)
		}
		got, err := io.ReadAll(b)
		want := data[off:]
		if end >= 0 {
			want = data[off:end]
		}
		if err != nil || !bytes.Equal(got, want) {
			rt.Fatalf("%d of %d bytes, %v", len(got), len(want), err)
		}
	})
}

// A server that always ends early is called that, after as many requests as the
// policy allows.
func TestAlwaysShort(t *testing.T) {
	s := &script{data: make([]byte, 100)}
	for range 20 {
		s.steps = append(s.steps, step{n: 10, then: io.EOF})
	}
	b := New(t.Context(), Source{Open: func(ctx context.Context, off, end int64) (*Part, error) {
		p, err := s.open(ctx, 0, end)
		p.At = off
		return p, err
	}, Tries: tries()}, 0, 100)
	got, err := io.ReadAll(b)
	if !errkind.Is(err, errkind.Unavailable) || !strings.Contains(err.Error(), "before the end that it has announced") {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if n := s.asked.Load(); n != 6 {
		t.Errorf("%d requests", n)
	}
}

func patient(d time.Duration) func(string) time.Duration {
	return func(string) time.Duration { return d }
}

// A connection that falls silent gets a rival, and that goes on from the same byte;
// nothing counts as a failure, so one attempt is enough.
func TestSilenceHasARival(t *testing.T) {
	data := []byte("what is asked for over a second connection")
	s := &script{data: data, steps: []step{{n: 7}, {from: 3, n: 20}}}
	once := retry.Policy{Attempts: 1}.Start(met{})
	b := New(t.Context(), Source{Open: s.open, Tries: once, Patience: patient(10 * time.Millisecond)}, 0, int64(len(data)))
	if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%q, %v", got, err)
	}
	if n := s.asked.Load(); n != 3 {
		t.Errorf("%d requests, want the first, its rival, and the rival's rival", n)
	}
}

// A rival that is no better does not disturb: the first connection may wake up.
func TestRivalsThatFail(t *testing.T) {
	data := []byte("the first connection is slow, the second of no use")
	wake := make(chan struct{})
	asked := 0
	open := func(ctx context.Context, off, end int64) (*Part, error) {
		if asked++; asked > 1 {
			close(wake)
			return nil, errkind.New(errkind.Unavailable, "no more connections")
		}
		slow := readerFunc(func(p []byte) (int, error) {
			<-wake
			return 0, io.EOF
		})
		return &Part{Host: "test", End: end, Total: end,
			ReadCloser: io.NopCloser(io.MultiReader(bytes.NewReader(data[:10]), slow, bytes.NewReader(data[10:])))}, nil
	}
	b := New(t.Context(), Source{Open: open, Tries: tries(), Patience: patient(10 * time.Millisecond)}, 0, int64(len(data)))
	if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, data) || asked != 2 {
		t.Errorf("%q, %v after %d requests", got, err, asked)
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A reader that stops leaves nothing behind, also when all connections are silent.
func TestCancellationEndsTheRace(t *testing.T) {
	s := &script{data: make([]byte, 100), steps: []step{{n: 10}, {}, {}}}
	ctx, cancel := context.WithCancel(t.Context())
	b := New(ctx, Source{Open: s.open, Tries: tries(), Patience: patient(time.Millisecond)}, 0, 100)
	if _, err := io.ReadFull(b, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	go func() {
		for s.asked.Load() < 2 {
		}
		cancel()
	}()
	if _, err := b.Read(make([]byte, 10)); !errkind.Is(err, errkind.Canceled) {
		t.Errorf("error %v", err)
	}
	if n := s.asked.Load(); n != 2 {
		t.Errorf("%d requests", n)
	}
}

// wholeCheck wants the bytes of data and their number.
type wholeCheck struct {
	bytes.Buffer
	want []byte
}

func (c *wholeCheck) Ended(n int64, announced bool) bool { return bytes.Equal(c.Bytes(), c.want) }
func (c *wholeCheck) Verify(n int64) error {
	if !bytes.Equal(c.Bytes(), c.want) {
		return errkind.New(errkind.Corrupt, "not what was promised")
	}
	return nil
}

// The check sees each byte once, also across repairs; the last bytes do not leave
// when it fails, not even those of a blob of none.
func TestChecks(t *testing.T) {
	data := []byte("the whole of it")
	for name, c := range map[string]struct {
		data, want []byte
		bad        bool
	}{
		"good": {data, data, false}, "wrong": {data, []byte("something else"), true},
		"empty": {nil, nil, false}, "empty, but not promised so": {nil, data, true},
	} {
		cut := step{n: 4, then: errors.New("reset")}
		open := func(ctx context.Context, off, end int64) (*Part, error) {
			from, n := int64(0), len(c.data)
			if cut.then != nil {
				n = min(n, cut.n)
			}
			then := cut.then
			cut.then = nil
			if then == nil || len(c.data) == 0 {
				then = io.EOF
			}
			return &Part{Host: "test", At: from, End: int64(len(c.data)), Total: -1, Whole: true,
				ReadCloser: io.NopCloser(io.MultiReader(bytes.NewReader(c.data[:n]), ending{ctx, then}))}, nil
		}
		b := New(t.Context(), Source{Open: open, Tries: tries()}, 0, -1)
		if err := b.Begin(); err != nil {
			t.Fatal(err)
		}
		b.All(0, -1, &wholeCheck{want: c.want})
		got, err := io.ReadAll(b)
		if c.bad != errkind.Is(err, errkind.Corrupt) || !c.bad && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.bad && len(c.data) > 0 && len(got) == len(c.data) {
			t.Errorf("%s: all bytes escaped", name)
		}
	}
}
