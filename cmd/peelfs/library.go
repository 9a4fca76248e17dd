package main

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/fetch"
	"github.com/peelfs/peelfs/fusefs"
	"github.com/peelfs/peelfs/internal/errkind"
)

// imageLibrary is the library that automount shows: every image by its whole name, and
// in the listings those that the tag store knows.
type imageLibrary struct {
	*session
	mounted *mounted // the mount, of which images take what they have in common

	mu struct {
		sync.Mutex
		names   []string  // of images, sorted
		changed time.Time // the tag store's then
	}
}

// Kind implements fusefs.Library. The first part of a path is a registry's host,
// with a dot, a port, or "localhost"; the last one of an image has a tag or a
// digest.
func (s *imageLibrary) Kind(path string) fusefs.PathKind {
	host, rest, deep := strings.Cut(path, "/")
	if host != "localhost" && !strings.ContainsAny(host, ".:") {
		return fusefs.NotAPath
	}
	if !deep {
		path, rest = path+"/x", "x"
	}
	ref, err := fetch.ParseReference(path)
	if err != nil || !ref.IsRegistry() || ref.Domain() != host {
		return fusefs.NotAPath
	}
	if last := rest[strings.LastIndexByte(rest, '/')+1:]; strings.ContainsAny(last, ":@") {
		return fusefs.ImagePath
	}
	return fusefs.FolderPath
}

// List implements fusefs.Library.
func (s *imageLibrary) List(folder string) (names []string, changed time.Time, err error) {
	all, changed, err := s.known()
	if folder != "" {
		folder += "/"
	}
	for _, name := range all {
		if rest, ok := strings.CutPrefix(name, folder); ok {
			rest, _, _ = strings.Cut(rest, "/")
			names = append(names, rest)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), changed, err
}

// known are the names of images in the tag store, which is read again when it has
// changed.
func (s *imageLibrary) known() ([]string, time.Time, error) {
	changed, err := s.tags.Changed()
	if changed.IsZero() {
		return nil, changed, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.changed.Equal(changed) {
		return s.mu.names, changed, nil
	}
	records, err := s.tags.List()
	if err != nil && len(records) == 0 {
		return nil, changed, err
	}
	var names []string
	for _, r := range records {
		if r.Digest != "" && s.Kind(r.Name) == fusefs.ImagePath {
			names = append(names, r.Name)
		}
	}
	s.mu.names, s.mu.changed = names, changed
	return names, changed, nil
}

// Known implements fusefs.Library.
func (s *imageLibrary) Known(image string) bool {
	n, err := s.reference(image)
	return err == nil && n.record.Digest != ""
}

// Resolve implements fusefs.Library.
func (s *imageLibrary) Resolve(ctx context.Context, image string) (string, error) {
	img, err := s.resolve(ctx, image)
	if err != nil {
		return "", err
	}
	return img.Digest.String(), nil
}

// Open implements fusefs.Library. All images share the mount's session: layers that
// several of them have are open once, and what bounds memory and requests bounds it
// for the process.
func (s *imageLibrary) Open(ctx context.Context, image, id string) (*fusefs.Opened, error) {
	m := &mounted{app: s.mounted.app, flags: s.mounted.flags, s: s.session, squash: s.mounted.squash, record: s.mounted.record}
	m.r.dir = filepath.Join(s.mounted.r.dir, image)
	img, err := m.pinned(ctx, image, id)
	if err != nil {
		return nil, err
	}
	if m.stack, err = s.stack(img); err != nil {
		return nil, err
	}
	m.describeImage(img)
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // it goes on for as long as the image is open
	prefetched := m.prefetch(ctx)
	return &fusefs.Opened{View: m.stack.view, Options: m.options(img), Close: func() error {
		cancel()
		<-prefetched
		return m.stack.release()
	}}, nil
}

// pinned is the image that a name had when it was resolved.
func (m *mounted) pinned(ctx context.Context, image, id string) (*fetch.Image, error) {
	n, err := m.s.reference(image)
	if err != nil {
		return nil, err
	}
	ref, at := n.ref, n.ref
	if ref.Digest() == "" {
		from, err := n.origin(m.s.policy)
		if err != nil {
			return nil, err
		}
		d, err := digest.Parse(id)
		if err != nil {
			return nil, errkind.New(errkind.Internal, "%q: %w", id, err)
		}
		at = from.Resolved(d)
	}
	img, err := m.s.client.Resolve(ctx, at, m.s.platform)
	if err != nil {
		return nil, err
	}
	out := *img
	out.Reference = ref
	return &out, nil
}
