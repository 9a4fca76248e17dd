package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/fetch"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/imagename"
	"github.com/peelfs/peelfs/layers"
	"github.com/peelfs/peelfs/layers/view"
	"github.com/peelfs/peelfs/tagstore"
)

// named is a REF of the command line and what the tag store has of it, read once.
type named struct {
	ref    fetch.Reference
	record tagstore.Record // Name is always set, and all there is of a name that is not known
}

// resolve finds the image that a REF of the command line means, as --pull says,
// and tells the user what is worth telling. An id, or the beginning of one, of
// an image that is known here is a REF too, unless a known name reads the same.
func (s *session) resolve(ctx context.Context, arg string) (*fetch.Image, error) {
	n, err := s.reference(arg)
	if err != nil {
		return nil, err
	}
	return s.resolveNamed(ctx, n)
}

// resolveNamed is resolve for a REF that has been looked up.
func (s *session) resolveNamed(ctx context.Context, n named) (*fetch.Image, error) {
	policy := s.policy
	from, err := n.origin(policy)
	if err != nil {
		return nil, err
	}
	switch {
	case !n.ref.IsRegistry():
		policy = tagstore.Always // files on this machine are always read
	case n.ref.Digest() != "" && n.ref.Tag() != "" && policy != tagstore.Never:
		policy = tagstore.Missing // what a digest means is not asked, nor when a tag had it
	}
	src := &source{session: s, record: n.record, ref: from, platform: s.platform}
	out, err := s.tags.Resolve(ctx, n.record, policy, src)
	if err != nil {
		return nil, err
	}
	s.tell(n.ref, out)
	img := *src.image
	img.Reference = n.ref // as the user named it, not pinned
	return &img, nil
}

// origin is where the named image is to be fetched from: for a name that was given by
// "peelfs tag", the name that it was given to.
func (n named) origin(policy tagstore.Policy) (fetch.Reference, error) {
	if n.record.Origin == "" || policy == tagstore.Always && n.ref.Digest() == "" {
		return n.ref, nil
	}
	from, err := fetch.ParseReference(n.record.Origin)
	if err == nil && n.ref.Digest() != "" {
		from = from.WithDigest(n.ref.Digest())
	}
	return from, err
}

// reference reads a REF. The id of an image that is known here, if no image has it for
// a name, becomes a reference pinned to that image's digest; so does a name that was
// given here and is written with the digest that it has.
func (s *session) reference(arg string) (named, error) {
	ref, err := fetch.ParseReference(arg)
	m, lookupErr := s.tags.Lookup(arg, ref.String())
	given := lookupErr == nil && ref.Digest() != "" && ref.Digest() == m.Record.Digest && m.Record.Origin != ""
	switch {
	case lookupErr == nil && m.ByID, given:
		ref, err = known(m)
	case lookupErr != nil && errkind.Is(lookupErr, errkind.Invalid):
		return named{}, lookupErr // an ambiguous id
	}
	if err != nil {
		return named{}, err
	}
	return named{ref, recordOf(ref, m.Record)}, nil
}

// lookup finds what arg means in the tag store.
func (s *session) lookup(arg string) (tagstore.Match, error) {
	ref, err := fetch.ParseReference(arg)
	m, lookupErr := s.tags.Lookup(arg, ref.String())
	if lookupErr != nil && err != nil && imagename.Foreign(arg) != nil {
		return m, err
	}
	return m, lookupErr
}

// known is the reference of an image that was found in the store, pinned if the
// store knows its digest.
func known(m tagstore.Match) (fetch.Reference, error) {
	ref, err := fetch.ParseReference(m.Record.Name)
	if err != nil || !ref.IsRegistry() || m.Record.Digest == "" {
		return ref, err
	}
	return ref.WithDigest(m.Record.Digest), nil
}

// recordOf is the record under which the tag store has ref, if found is it, or else an
// empty one with that name. A digest beats a tag, unless that very digest is what the
// tag is known to mean.
func recordOf(ref fetch.Reference, found tagstore.Record) tagstore.Record {
	name := ref.String()
	if ref.Digest() != "" {
		name = ref.Name() + "@" + ref.Digest().String()
		if ref.Tag() != "" && found.Name == ref.Name()+":"+ref.Tag() && found.Digest == ref.Digest() {
			name = found.Name
		}
	}
	if found.Name == name {
		return found
	}
	return tagstore.Record{Name: name}
}

// sourceName says where ref is from.
func sourceName(ref fetch.Reference) string {
	if ref.IsRegistry() {
		return ref.Domain()
	}
	return ref.Name()
}

func (s *session) tell(ref fetch.Reference, out tagstore.Outcome) {
	if out.Unreachable != nil {
		s.console.Warn("%s\n  going on with %s as it was %s: %s", out.Unreachable, ref.Familiar(), output.Ago(out.Resolved, time.Now()), out.Digest)
	}
	if out.Was != "" {
		s.console.Say("%s has moved: was %s, now %s", ref.Familiar(), out.Was, out.Digest)
	}
	if out.Unsaved != nil {
		s.console.Warn("what %s means could not be remembered: %s", ref.Familiar(), out.Unsaved)
	}
}

// familiar is a canonical name as people type it.
func familiar(name string) string {
	short, ok := strings.CutPrefix(name, "docker.io/")
	if !ok {
		return name
	}
	if rest, ok := strings.CutPrefix(short, "library/"); ok && !strings.Contains(rest, "/") {
		return rest
	}
	return short
}

// source is one reference and platform as the tag store asks about them. It
// keeps the image of the last Fetch.
type source struct {
	session  *session
	record   tagstore.Record // as the tag store has it
	ref      fetch.Reference
	platform fetch.Platform
	image    *fetch.Image
}

// Head implements tagstore.Source.
func (s *source) Head(ctx context.Context) (digest.Digest, error) {
	if s.ref.Digest() != "" || !s.ref.IsRegistry() {
		return s.ref.Digest(), nil
	}
	client := s.session.client
	if s.record.Digest != "" && s.session.policy == tagstore.Auto {
		client = s.session.quick
	}
	desc, err := client.Head(ctx, s.ref)
	return desc.Digest, err
}

// Fetch implements tagstore.Source.
func (s *source) Fetch(ctx context.Context, d digest.Digest, local bool) (found tagstore.Found, err error) {
	ref := s.ref
	if d != "" && d != ref.Digest() && ref.IsRegistry() {
		ref = ref.Resolved(d)
	}
	if local && s.ref.IsRegistry() { // files are read in any case
		if err := s.session.isLocal(s.record, d, s.platform); err != nil {
			return found, err
		}
	}
	img, err := s.session.client.Resolve(ctx, ref, s.platform)
	if err != nil {
		return found, err
	}
	if d != "" && img.Digest != d && !ref.IsRegistry() {
		return found, errkind.New(errkind.NotFound, "%s is no longer in %s", d, ref)
	}
	s.image = img
	return tagstore.Found{Digest: img.Digest, Source: sourceName(s.ref), Image: describe(img)}, nil
}

func describe(img *fetch.Image) tagstore.Image {
	out := tagstore.Image{Platform: fetch.FormatPlatform(img.Platform), Manifest: img.ManifestDigest, OldID: img.OldID, Size: img.Size}
	for _, l := range img.Layers {
		out.Layers = append(out.Layers, l.Descriptor.Digest)
		if l.Alias != "" {
			out.Aliases = append(out.Aliases, l.Alias)
		}
	}
	if len(img.RawConfig) > 0 {
		out.Config = digest.FromBytes(img.RawConfig)
	}
	return out
}

// isLocal says, as an error of kind NotFound, that not all blobs that a name's
// image needs are in the cache: the registry would have to be asked.
func (s *session) isLocal(r tagstore.Record, d digest.Digest, platform fetch.Platform) error {
	need := []digest.Digest{d}
	for _, i := range r.Images {
		if i.Platform == fetch.FormatPlatform(platform) || len(r.Images) == 1 && i.Manifest == d {
			need = append(need, i.Manifest, i.Config)
		}
	}
	missing := len(need) == 1 // never seen for this platform
	for _, d := range need {
		missing = missing || !s.client.HasBlob(d)
	}
	if !missing {
		return nil
	}
	return errkind.WithHint(errkind.New(errkind.NotFound, "%s for %s is not all in the cache, and nobody may be asked",
		familiar(r.Name), fetch.FormatPlatform(platform)), "use --pull=missing, or pull it first with: peelfs pull %s", familiar(r.Name))
}

// stack is an image's layers, base first, as the layer store has them, and the
// view of them.
type stack struct {
	image  *fetch.Image
	layers []*layers.Layer
	view   *view.View
}

// stack puts an image's layers together. It does no I/O but for opening the
// layer store.
func (s *session) stack(img *fetch.Image) (*stack, error) {
	store, err := s.layers()
	if err != nil {
		return nil, err
	}
	out := &stack{image: img}
	var parts []view.Layer
	for _, l := range img.Layers {
		layer := store.Layer(layers.Source{
			Digest: l.Descriptor.Digest, Alias: l.Alias, DiffID: l.DiffID,
			MediaType: l.Descriptor.MediaType, Annotations: l.Descriptor.Annotations, Blob: l.Blob,
			Ztoc: l.Ztoc, Table: l.Table, OnlyZtoc: l.OnlyZtoc, ZtocIndex: l.ZtocIndex,
		})
		out.layers = append(out.layers, layer)
		parts = append(parts, layer)
	}
	out.view = view.New(parts, view.Options{Symlinks: s.symlinks})
	return out, nil
}

// release gives the layers back to the store, which closes those that no other stack
// has. Those that are not released are closed with the session.
func (st *stack) release() error {
	var errs []error
	for _, l := range st.layers {
		errs = append(errs, l.Release())
	}
	return errors.Join(errs...)
}

// openView resolves a REF and stacks its layers.
func (s *session) openView(ctx context.Context, arg string) (*stack, error) {
	img, err := s.resolve(ctx, arg)
	if err != nil {
		return nil, err
	}
	return s.stack(img)
}
