package fetch

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/peelfs/peelfs/fetch/image"
	"github.com/peelfs/peelfs/fetch/registry"
	"github.com/peelfs/peelfs/internal/errkind"
)

// Tags lists the tags of ref's repository, or the names in a layout or archive,
// sorted.
func (c *Client) Tags(ctx context.Context, ref Reference) ([]string, error) {
	switch ref.Transport() {
	case image.DockerArchive:
		return c.archiveNames(ctx, ref)
	case image.DockerDaemon:
		return nil, errkind.New(errkind.Unsupported, "the tags of a docker daemon are not listed")
	}
	if c.onlyV1(ref) {
		return c.tagsV1(ctx, ref)
	}
	src, err := c.source(ctx, ref)
	if err != nil {
		return nil, err
	}
	tags, err := src.Tags(ctx, registry.AllTags)
	if c.tryV1(ctx, ref, err) {
		if tags, err1 := c.tagsV1(ctx, ref); err1 == nil {
			return tags, nil
		}
	}
	return tags, err
}

func (c *Client) tagsV1(ctx context.Context, ref Reference) ([]string, error) {
	s, err := c.sessionV1(ref)
	if err != nil {
		return nil, err
	}
	tags, err := s.Tags(ctx)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(tags)), nil
}

// hintTimeout is how long an error may wait for its hint.
const hintTimeout = 5 * time.Second

// hintTags adds to "no such tag" the tags that are like it: one request, and only
// if it works.
func (c *Client) hintTags(ctx context.Context, src source, ref Reference, err error) error {
	short, cancel := context.WithTimeout(ctx, hintTimeout)
	defer cancel()
	tags, terr := src.Tags(short, 1)
	if terr != nil {
		return errkind.WithHint(err, "check the name %s, or log in if it is private", ref.Name())
	}
	if near := nearest(ref.Tag(), tags, 5); len(near) > 0 {
		return errkind.WithHint(err, "there is no tag %q, but there are %s", ref.Tag(), strings.Join(near, ", "))
	}
	return errkind.WithHint(err, "the repository has no tags")
}

// nearest picks the n names most like want: same beginning first, then fewest
// letters to change.
func nearest(want string, names []string, n int) []string {
	cost := func(name string) int {
		d := distance(want, name)
		if strings.HasPrefix(name, want) || strings.HasPrefix(want, name) {
			d /= 4
		}
		return d
	}
	const most = 5000 // of names that are compared
	list := slices.Clone(names[:min(len(names), most)])
	slices.SortStableFunc(list, func(a, b string) int { return cost(a) - cost(b) })
	return list[:min(n, len(list))]
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
