package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/peelfs/peelfs/internal/peers"
)

// form is one of the fixture's forms, or a gzip image in another situation.
type form struct {
	name  string
	from  string   // the reference in the fixture
	first []string // a command that is run before, if any, without the reference
	here  bool     // with the cache that is measured
}

var forms = []form{
	{name: "gzip", from: "gzip"},
	{name: "gzip, indexed before", from: "gzip", first: []string{"index", "build"}, here: true},
	{name: "gzip, SOCI index", from: "gzip", first: []string{"index", "push"}},
	{name: "zstd", from: "zstd"},
	{name: "estargz", from: "estargz"},
	{name: "estargz-inner", from: "estargz-inner"},
	{name: "zstdchunked", from: "zstdchunked"},
	{name: "zstdchunked-stargz", from: "zstdchunked-stargz"},
}

// measureFormats counts what three steps of a cold mount cost in each layer
// format. The counts depend on no machine.
func measureFormats(ctx context.Context, l *lab) error {
	for i, f := range forms {
		ref, err := l.reg.Push(ctx, "oci:testdata/fixture/images:"+f.from, fmt.Sprintf("fixture/form%d:1", i))
		if err != nil {
			return err
		}
		if err := l.measureForm(ctx, f, ref); err != nil {
			return err
		}
	}
	return nil
}

func (l *lab) measureForm(ctx context.Context, f form, ref string) error {
	s, err := l.newSession()
	if err != nil {
		return err
	}
	defer s.close()
	if f.first != nil {
		before := s
		if !f.here {
			if before, err = l.newSession(); err != nil {
				return err
			}
			defer before.close()
		}
		if _, err := before.run(ctx, append(f.first, ref)...); err != nil {
			return err
		}
	}
	return l.countSteps(ctx, s, f.name, ref)
}

func (l *lab) countSteps(ctx context.Context, s *session, form, ref string) error {
	var dir string
	figures := ""
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"mount, ls -lR", func() (err error) {
			if dir, err = s.mount(ctx, ref); err != nil {
				return err
			}
			_, err = peers.Run(ctx, nil, "ls", "-lR", dir)
			return err
		}},
		{"213 bytes", func() error {
			_, err := os.ReadFile(filepath.Join(dir, "app/mod001.py"))
			return err
		}},
		{"64 KiB of 3 MiB", func() error { return readMiddle(filepath.Join(dir, "usr/share/text.bin")) }},
	} {
		_, mark := l.reg.Requests(0)
		before := l.reg.Sent()
		if err := step.do(); err != nil {
			return err
		}
		asked, _ := l.reg.Requests(mark)
		figures += fmt.Sprintf("%s: %d requests, %.1f kB; ", step.name, len(asked), float64(l.reg.Sent()-before)/1e3)
	}
	l.table.note("fixture, "+form, figures[:len(figures)-2])
	return nil
}

// readMiddle reads 64 KiB in the middle of a file.
func readMiddle(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	_, err = io.ReadFull(io.NewSectionReader(f, info.Size()/2, 64<<10), make([]byte, 64<<10))
	return err
}
