package registry

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/peelfs/peelfs/internal/errkind"
)

// Limits on lists of tags; a list that is longer is cut, and said to be.
const (
	maxTags     = 1 << 20
	maxTagPages = 1 << 14
	maxTagsBody = 16 << 20 // bytes of one page
	tagsPerPage = 1000
)

// AllTags as the number of pages is all there are, within reason.
const AllTags = maxTagPages

// Tags lists the tags of the repository, sorted. It reads so many pages at most; a
// list that goes on after AllTags, or whose next page cannot be found, is told
// about in the log.
func (r *Repository) Tags(ctx context.Context, pages int) ([]string, error) {
	var tags []string
	seen := map[string]bool{}
	next := r.url("tags/list")
	next.RawQuery = "n=" + strconv.Itoa(tagsPerPage)
	for page := 0; next != nil; page++ {
		if page >= pages && pages < AllTags {
			break // more was not asked for
		}
		if page >= maxTagPages || len(tags) >= maxTags {
			r.shared.warn("the list of tags is not complete", "repository", r.domain+"/"+r.name, "tags", len(tags), "pages", page)
			break
		}
		var more []string
		err := r.retry(ctx, func() (err error) {
			more, next, err = r.tagPage(ctx, next)
			return err
		})
		if err != nil {
			return nil, err
		}
		fresh := slices.DeleteFunc(more, func(t string) bool { return seen[t] })
		if len(fresh) == 0 && page > 0 && next != nil {
			break // a server that does not count repeats itself
		}
		for _, t := range fresh {
			seen[t] = true
		}
		tags = append(tags, fresh...)
	}
	slices.Sort(tags)
	return slices.Compact(tags), nil
}

func (s *Shared) warn(msg string, args ...any) {
	if s.Logger != nil {
		s.Logger.Warn(msg, args...)
	}
}

func (r *Repository) tagPage(ctx context.Context, u *url.URL) ([]string, *url.URL, error) {
	resp, err := r.do(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, u, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, u, r.statusError(resp, "tags of "+r.domain+"/"+r.name)
	}
	raw, err := r.readAll(resp, maxTagsBody, "list of tags", "")
	if err != nil {
		return nil, u, err
	}
	var list struct {
		Tags []string `json:"tags"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, u, errkind.New(errkind.Corrupt, "list of tags: %w", err)
	}
	next, err := nextPage(u, resp.Header.Values("Link"))
	if err != nil {
		return nil, u, errkind.New(errkind.Corrupt, "list of tags of %s/%s: %w", r.domain, r.name, err)
	}
	if next == nil && len(list.Tags) >= tagsPerPage {
		next = pageAfter(u, list.Tags[len(list.Tags)-1])
	}
	return list.Tags, next, nil
}

// pageAfter is the page that follows a full one whose server names none.
func pageAfter(u *url.URL, last string) *url.URL {
	next := *u
	q := next.Query()
	q.Set("last", last)
	next.RawQuery = q.Encode()
	return &next
}

// nextPage finds the link with the relation "next" (RFC 8288) among all of the
// lines. It leads to the server that was asked, by the path and the query of the
// link: a registry behind a proxy may not know its own name or scheme, and no other
// host gets to see what is asked for here. A link that leads nowhere, or to the
// same page, is an error: the list would be cut.
func nextPage(u *url.URL, lines []string) (*url.URL, error) {
	for _, line := range lines {
		for _, link := range splitLinks(line) {
			target, ok := nextTarget(link)
			if !ok {
				continue
			}
			to, err := u.Parse(target)
			if err != nil || to.Path == "" {
				return nil, errkind.New(errkind.Corrupt, "the link to the next page, %q, is no address", cutLine(target))
			}
			next := *u
			next.Path, next.RawPath, next.RawQuery, next.Fragment = to.Path, to.RawPath, to.RawQuery, ""
			if next.String() == u.String() {
				return nil, errkind.New(errkind.Corrupt, "the link to the next page leads to the same page")
			}
			return &next, nil
		}
	}
	return nil, nil
}

// splitLinks parts a Link header at the commas between links: those within <> and
// quotes are part of one.
func splitLinks(line string) []string {
	var links []string
	start, inside := 0, byte(0)
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case inside != 0:
			if c == inside {
				inside = 0
			}
		case c == '<':
			inside = '>'
		case c == '"':
			inside = '"'
		case c == ',':
			links = append(links, line[start:i])
			start = i + 1
		}
	}
	return append(links, line[start:])
}

// nextTarget is the address of a link whose relations have "next" among them.
// Names of parameters and relations are not case sensitive, and a value need not be
// quoted.
func nextTarget(link string) (string, bool) {
	target, params, ok := strings.Cut(strings.TrimSpace(link), ">")
	if target, found := strings.CutPrefix(target, "<"); ok && found {
		for _, param := range strings.Split(params, ";") {
			name, value, _ := strings.Cut(param, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "rel") {
				continue
			}
			relations := strings.Fields(strings.Trim(strings.TrimSpace(value), `"'`))
			if slices.ContainsFunc(relations, func(r string) bool { return strings.EqualFold(r, "next") }) {
				return strings.TrimSpace(target), true
			}
		}
	}
	return "", false
}
