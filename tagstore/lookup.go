package tagstore

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"
)

// idPrefix has at least four characters: less is more likely meant as a name.
var idPrefix = regexp.MustCompile(`^(sha256:|sha512:)?[0-9a-f]{4,128}$`)

// Match is an image that a query means, and by which names it is known.
type Match struct {
	Record Record   // of the name asked for, or of the first by name that has the image
	Image  Image    // the one asked for by id; else the record's only one, or the zero Image
	Names  []string // all names that have it, sorted
	ByID   bool     // the query was an id or a prefix of one
}

// AmbiguousError says that a prefix means several images. Its kind is Invalid.
type AmbiguousError struct {
	Prefix     string
	Candidates []Match
}

func (e *AmbiguousError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "id %s means %d images:", e.Prefix, len(e.Candidates))
	for _, m := range e.Candidates {
		fmt.Fprintf(&b, "\n  %s  %s", m.Image.ID(), strings.Join(m.Names, ", "))
	}
	return b.String()
}

// Lookup finds what query means. name is query read as a reference, in its canonical
// form, or "" if it is none. The order is:
//
//   - a name;
//   - name@digest, where the digest is what the name names, or the manifest's or
//     the configuration's on some platform;
//   - an id or the beginning of one, at least four hex characters, with or
//     without "sha256:". Ids are the manifest's digest, the configuration's
//     (docker's image id), the digest that the name names, and ids of old images.
//
// A prefix that means several images is an *AmbiguousError; several names of one
// image are one match.
func (s *Store) Lookup(query, name string) (Match, error) {
	if m, err := s.lookupName(query, name); err == nil || !errkind.Is(err, errkind.NotFound) {
		return m, err
	}
	if !idPrefix.MatchString(query) {
		return Match{}, notKnown(query)
	}
	matches, err := s.byID(query)
	switch {
	case len(matches) == 1:
		return matches[0], nil
	case len(matches) > 1:
		return Match{}, errkind.WithHint(errkind.Wrap(errkind.Invalid, &AmbiguousError{query, matches}),
			"give more of the id")
	case err != nil:
		return Match{}, err
	}
	return Match{}, s.partOrUnknown(query)
}

// shortID is the length of the ids that docker prints, hex characters. Fewer are
// not looked for among layers, of which there are many.
const shortID = 12

// partOrUnknown is the error for an id that no image has. The id of a layer, or of
// an image of docker 1.x that others are built on, is said to be one: no registry
// need be asked for an image of that name. The kind is Invalid then.
func (s *Store) partOrUnknown(query string) error {
	if len(query) < shortID {
		return notKnown(query)
	}
	records, _ := s.List() // what cannot be read cannot be found either
	for _, r := range records {
		for _, i := range r.Images {
			if n, ok := i.layer(query); ok {
				return errkind.WithHint(errkind.New(errkind.Invalid, "%s is the id of layer %d of %s, and of no image that has a name here", query, n, r.Name),
					"show what there is up to it with: peelfs mount --layers=%d %s", n, r.Name)
			}
		}
	}
	return notKnown(query)
}

// layer finds the layer whose digest, or whose id at a registry of before 2015,
// begins with query.
func (i Image) layer(query string) (n int, ok bool) {
	for n, d := range i.Layers {
		if hasPrefix(d, query) {
			return n, true
		}
	}
	for n, alias := range i.Aliases {
		id, _, _ := strings.Cut(alias[strings.LastIndexByte(alias, '/')+1:], ",")
		if strings.HasPrefix(id, query) {
			return n, true
		}
	}
	return 0, false
}

func notKnown(query string) error {
	return errkind.WithHint(errkind.New(errkind.NotFound, "no image here has the name or id %s", query),
		"list what is known with: peelfs images")
}

func (s *Store) lookupName(query, name string) (Match, error) {
	if name == "" {
		return Match{}, notKnown(query)
	}
	if r, err := s.Get(name); err == nil || !errkind.Is(err, errkind.NotFound) {
		return match(r), err
	}
	at := strings.LastIndexByte(name, '@')
	if at < 0 || digest.Digest(name[at+1:]).Validate() != nil {
		return Match{}, notKnown(query)
	}
	return s.byDigest(name[:at], digest.Digest(name[at+1:]))
}

// byDigest finds the name@digest whose name is known: the name that has the digest
// itself, else the one that has it on some platform. Without a tag, any tag of the
// repository will do. With a tag, the name may be known with the digest alone.
func (s *Store) byDigest(base string, d digest.Digest) (Match, error) {
	records, err := s.List()
	var near []Record
	for _, r := range records {
		name, ofDigest := strings.CutSuffix(r.Name, "@"+d.String())
		switch {
		case ofDigest && strings.HasPrefix(base, name+":"):
		case r.Name == base || strings.HasPrefix(r.Name, base+":"):
		default:
			continue
		}
		if r.Digest == d {
			return match(r), nil
		}
		near = append(near, r)
	}
	for _, r := range near {
		for _, i := range r.Images {
			if i.Manifest == d || i.Config == d {
				return Match{Record: r, Image: i, Names: []string{r.Name}}, nil
			}
		}
	}
	if err != nil {
		return Match{}, err
	}
	return Match{}, notKnown(base + "@" + d.String())
}

func match(r Record) Match {
	m := Match{Record: r, Names: []string{r.Name}}
	if len(r.Images) == 1 {
		m.Image = r.Images[0]
	}
	return m
}

// byID collects the images that an id prefix means. An index is one image too,
// found by its own digest even if several of its platforms are known.
func (s *Store) byID(query string) (matches []Match, err error) {
	records, err := s.List()
	for _, r := range records {
		if hasPrefix(r.Digest, query) {
			matches = addMatch(matches, match(r))
			continue
		}
		for _, i := range r.Images {
			if hasPrefix(i.Manifest, query) || hasPrefix(i.Config, query) || strings.HasPrefix(i.OldID, query) {
				matches = addMatch(matches, Match{Record: r, Image: i, Names: []string{r.Name}})
			}
		}
	}
	for i := range matches {
		matches[i].ByID = true
	}
	return matches, err
}

// addMatch joins matches of one image under one entry.
func addMatch(matches []Match, m Match) []Match {
	for i := range matches {
		have := &matches[i]
		if have.Image.ID() == m.Image.ID() && (m.Image.ID() != "" || have.Record.Digest == m.Record.Digest) {
			if !slices.Contains(have.Names, m.Record.Name) {
				have.Names = append(have.Names, m.Record.Name)
			}
			return matches
		}
	}
	return append(matches, m)
}

func hasPrefix(d digest.Digest, query string) bool {
	if d == "" {
		return false
	}
	return strings.HasPrefix(string(d), query) || strings.HasPrefix(d.Encoded(), query)
}
