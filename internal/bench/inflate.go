package main

import (
	stdgzip "compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/peelfs/peelfs/layers/inflate"
)

// measureInflate decodes each layer three ways, from the page cache, in one
// goroutine, into nothing. It measures the
// processor's time, which does not depend on other programs.
func measureInflate(ctx context.Context, l *lab) error {
	for _, i := range []*image{l.many, l.big} {
		m, err := l.manifest(ctx, i)
		if err != nil {
			return err
		}
		for n, layer := range m.Layers {
			file := filepath.Join(l.dir, "layer.gz")
			if err := l.save(ctx, i, layer.Digest, file); err != nil {
				return err
			}
			if err := l.inflateThreeWays(fmt.Sprintf("%s layer %d", i.name, n+1), file); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *lab) save(ctx context.Context, i *image, digest, file string) error {
	body, err := l.get(ctx, i, "blobs", digest)
	if err != nil {
		return err
	}
	defer body.Close()
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer out.Close()
	_, err = io.Copy(out, body)
	return err
}

func (l *lab) inflateThreeWays(what, file string) error {
	var size int64
	timed := func(open func(io.Reader) (io.Reader, error)) (time.Duration, error) {
		return l.medianOf(func() (time.Duration, error) {
			f, err := os.Open(file)
			if err != nil {
				return 0, err
			}
			defer f.Close()
			before := cpuTime()
			r, err := open(f)
			if err != nil {
				return 0, err
			}
			size, err = io.Copy(io.Discard, r)
			return cpuTime() - before, err
		})
	}
	ours, err := timed(func(r io.Reader) (io.Reader, error) {
		return inflate.NewReader(r, inflate.Options{SpanSize: 1 << 20, OnSpan: func(inflate.Span) error { return nil }}), nil
	})
	if err != nil {
		return err
	}
	theirs, err := timed(func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) })
	if err != nil {
		return err
	}
	std, err := timed(func(r io.Reader) (io.Reader, error) { return stdgzip.NewReader(r) })
	if err != nil {
		return err
	}
	mb := func(d time.Duration) string { return fmt.Sprintf("%.0f MB/s", float64(size)/d.Seconds()/1e6) }
	ratio := float64(theirs) / float64(ours)
	l.table.add(row{
		work: "inflate " + what + ", with seek points", ours: mb(ours),
		peer:  "klauspost " + mb(theirs) + ", standard library " + mb(std),
		ratio: fmt.Sprintf("%.2f", ratio), target: ">= 1.80 x klauspost", met: judge(ratio >= 1.8),
	})
	return nil
}

// cpuTime is what this process has used of the processors.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
