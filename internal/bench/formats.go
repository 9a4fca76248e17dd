package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/peelfs/peelfs/internal/peers"
)

// forms are the references of the fixture that the registry is given.
var forms = []string{"gzip", "zstd", "estargz", "estargz-inner", "zstdchunked", "zstdchunked-stargz"}

// measureFormats counts what three steps of a cold mount cost in each layer
// format. The counts depend on no machine.
func measureFormats(ctx context.Context, l *lab) error {
	for _, form := range forms {
		ref, err := l.reg.Push(ctx, "oci:testdata/fixture/images:"+form, "fixture/"+form+":1")
		if err != nil {
			return err
		}
		s, err := l.newSession()
		if err != nil {
			return err
		}
		err = l.countSteps(ctx, s, form, ref)
		s.close()
		if err != nil {
			return err
		}
	}
	return nil
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
