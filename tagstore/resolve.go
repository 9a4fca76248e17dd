package tagstore

import (
	"context"
	"errors"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"
)

// Policy says when a registry is asked what a name means.
type Policy uint8

// The policies, as --pull spells them.
const (
	Auto    Policy = iota // ask; use what is remembered if nobody answers
	Always                // ask, and fail if nobody answers
	Missing               // ask only for names that are not known
	Never                 // ask nobody
)

var policies = [...]string{"auto", "always", "missing", "never"}

func (p Policy) String() string { return policies[p] }

// ParsePolicy is the inverse of String; "" is Auto.
func ParsePolicy(s string) (Policy, error) {
	if s == "" {
		return Auto, nil
	}
	for i, name := range policies {
		if s == name {
			return Policy(i), nil
		}
	}
	return Auto, errkind.WithHint(errkind.New(errkind.Invalid, "pull policy %q is not known", s),
		"use auto, always, missing or never")
}

// Source answers for one name and one platform.
type Source interface {
	// Head says what the name means now; "" if only Fetch can tell.
	Head(ctx context.Context) (digest.Digest, error)
	// Fetch reads what d names, or, if d is "", what the name means now. With
	// local it asks nobody and fails with NotFound where that is not enough.
	Fetch(ctx context.Context, d digest.Digest, local bool) (Found, error)
}

// Outcome is what a name means and how that was learned.
type Outcome struct {
	Found
	Change
	Remembered  bool      // from the store, without an answer of the source
	Resolved    time.Time // when the source said so
	Unreachable error     // why the source did not answer, if Remembered under Auto
	Unsaved     error     // why the store could not be written; the outcome is good all the same
}

// Resolve finds what the name of known means, asking src as the policy says, and
// records it. known is the record as Get or Lookup returned it, so that it is read
// once; of a name without a record, only Name is set.
func (s *Store) Resolve(ctx context.Context, known Record, p Policy, src Source) (Outcome, error) {
	name, have := known.Name, known.Digest != ""
	switch {
	case p == Never && !have:
		return Outcome{}, errkind.WithHint(errkind.New(errkind.NotFound, "no image is called %s here, and nobody may be asked", name),
			"use --pull=missing, or pull it first with: peelfs pull %s", name)
	case p == Never:
		return s.remembered(ctx, known, src, true)
	case have && (p == Missing || p == Auto && known.Origin != ""): // the name was given here
		return s.remembered(ctx, known, src, false)
	}
	out, err := s.ask(ctx, name, src)
	if err == nil || !have || p != Auto || !isUnreachable(ctx, err) {
		return out, err
	}
	out, rememberedErr := s.remembered(ctx, known, src, true)
	if rememberedErr != nil {
		return Outcome{}, err
	}
	out.Unreachable = err
	return out, nil
}

// isUnreachable tells a source that can't be reached from one that answered no,
// and from a user who gave up.
func isUnreachable(ctx context.Context, err error) bool {
	return ctx.Err() == nil && (errkind.Is(err, errkind.Unavailable) || errkind.Is(err, errkind.Timeout))
}

func (s *Store) ask(ctx context.Context, name string, src Source) (Outcome, error) {
	d, err := src.Head(ctx)
	if err != nil {
		return Outcome{}, err
	}
	found, err := src.Fetch(ctx, d, false)
	if err != nil {
		return Outcome{}, err
	}
	out := Outcome{Found: found, Resolved: s.now()}
	out.Change, err = s.apply(ctx, name, found, true)
	return out.saved(ctx, err)
}

// remembered reads what the store knows. A platform that was not asked for
// before is recorded; the name's date stays.
func (s *Store) remembered(ctx context.Context, known Record, src Source, local bool) (Outcome, error) {
	found, err := src.Fetch(ctx, known.Digest, local)
	if err != nil {
		return Outcome{}, err
	}
	found.Digest, found.Source = known.Digest, known.Source
	out := Outcome{Found: found, Remembered: true, Resolved: known.Resolved}
	for _, i := range known.Images {
		if i.Platform == found.Image.Platform && i.ID() == found.Image.ID() {
			return out, nil
		}
	}
	err = s.update(ctx, known.Name, func(r *Record) error {
		if r.Digest == known.Digest { // else somebody has asked since
			r.setImage(found.Image, s.now())
		}
		return nil
	})
	return out.saved(ctx, err)
}

// saved takes a store that can't be written for a warning, and the end of the
// context for what it is.
func (o Outcome) saved(ctx context.Context, err error) (Outcome, error) {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return Outcome{}, err
	}
	o.Unsaved = err
	return o, nil
}
