package registryv1

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/peelfs/peelfs/fetch/v1image"
	"github.com/peelfs/peelfs/internal/errkind"
)

const (
	maxTags     = 32 << 20 // bytes of a map of all tags
	maxAncestry = 1 << 20
	inParallel  = 8 // image JSONs that are asked for at once
)

// Tags maps all tags of the repository to image identifiers.
func (s *Session) Tags(ctx context.Context) (map[string]string, error) {
	var tags map[string]string
	err := s.askTags(ctx, "", func(body []byte) error {
		tags = nil
		if err := json.Unmarshal(body, &tags); err != nil {
			return errkind.New(errkind.Corrupt, "the answer is no map of tags: %w", err)
		}
		return nil
	})
	return tags, err
}

// Tag finds the image identifier of one tag. Errors: NotFound, and as the
// network has it.
func (s *Session) Tag(ctx context.Context, tag string) (string, error) {
	var id string
	use := func(body []byte) (err error) {
		id, err = tagOf(body, tag)
		return err
	}
	if _, err := s.loggedIn(ctx, nil); err != nil {
		return "", err
	}
	err := s.askTags(ctx, tag, use)
	if errkind.Is(err, errkind.NotFound) {
		// Not every server has the route for one tag.
		err = s.askTags(ctx, "", use)
	}
	if errkind.Is(err, errkind.NotFound) {
		return "", errkind.New(errkind.NotFound, "tag %s not found in repository %s/%s: %w", tag, s.opt.Host, s.opt.Repository, err)
	}
	return id, err
}

// askTags asks for one tag, or all if tag is "". One-part names are in the
// namespace "library" here, though not where images are listed.
func (s *Session) askTags(ctx context.Context, tag string, use func(body []byte) error) error {
	names := spellings(s.opt.Repository)
	var err error
	for i := range names {
		name := names[len(names)-1-i]
		rq := request{path: "repositories/" + name + "/tags", what: "tags of " + s.opt.Host + "/" + s.opt.Repository,
			limit: maxTags, whole: true, final: true}
		if tag != "" {
			rq.path += "/" + url.PathEscape(tag)
		}
		err = s.ask(ctx, rq, func(_ *http.Response, body []byte) error { return use(body) })
		if !errkind.Is(err, errkind.NotFound) {
			return err
		}
	}
	return err
}

// tagOf reads the answer to a question for one tag: a JSON string, the bare
// identifier, or the map of all tags.
func tagOf(body []byte, tag string) (string, error) {
	var id string
	var tags map[string]string
	switch {
	case json.Unmarshal(body, &tags) == nil:
		var ok bool
		if id, ok = tags[tag]; !ok {
			return "", errkind.New(errkind.NotFound, "no such tag among %d", len(tags))
		}
	case json.Unmarshal(body, &id) == nil:
	default:
		id = string(bytes.TrimSpace(body))
	}
	return id, v1image.CheckID(id)
}

// Ancestry lists the identifiers of an image and all below it, itself first.
func (s *Session) Ancestry(ctx context.Context, id string) ([]string, error) {
	if err := v1image.CheckID(id); err != nil {
		return nil, err
	}
	var list []string
	rq := request{path: "images/" + id + "/ancestry", what: "history of image " + id, limit: maxAncestry, whole: true}
	err := s.ask(ctx, rq, func(_ *http.Response, body []byte) error {
		list = nil
		if err := json.Unmarshal(body, &list); err != nil {
			return errkind.New(errkind.Corrupt, "the answer is no list: %w", err)
		}
		return checkAncestry(id, list)
	})
	return list, err
}

func checkAncestry(id string, list []string) error {
	if len(list) == 0 || list[0] != id {
		return errkind.New(errkind.Corrupt, "the ancestry does not begin with the image itself")
	}
	if len(list) > v1image.MaxDepth {
		return errkind.New(errkind.Unsupported, "%d layers are more than %d", len(list), v1image.MaxDepth)
	}
	seen := map[string]bool{}
	for _, a := range list {
		if err := v1image.CheckID(a); err != nil {
			return err
		}
		if seen[a] {
			return errkind.New(errkind.Corrupt, "the ancestry lists image %s twice", a)
		}
		seen[a] = true
	}
	return nil
}

// Image reads the JSON of one image and what the headers say about its layer.
func (s *Session) Image(ctx context.Context, id string) (ManifestLayer, error) {
	if err := v1image.CheckID(id); err != nil {
		return ManifestLayer{}, err
	}
	var out ManifestLayer
	rq := request{path: "images/" + id + "/json", what: "JSON of image " + id, limit: v1image.MaxJSON, whole: true}
	err := s.ask(ctx, rq, func(resp *http.Response, body []byte) error {
		img, err := v1image.Parse(body)
		if err != nil {
			return err
		}
		if img.ID != id {
			return errkind.New(errkind.Corrupt, "the JSON is that of image %s", img.ID)
		}
		out = ManifestLayer{ID: id, JSON: body, Size: sizeOf(resp.Header), Checksums: checksumsOf(resp.Header)}
		return nil
	})
	return out, err
}

// sizeOf is the length of the layer as it is stored, -1 if the server does not
// say.
func sizeOf(h http.Header) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(h.Get("X-Docker-Size")), 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// checksumsOf collects the checksums of either kind; servers that keep several
// send several headers, or one with commas.
func checksumsOf(h http.Header) []string {
	var out []string
	for _, name := range []string{"X-Docker-Checksum-Payload", "X-Docker-Checksum"} {
		for _, line := range h.Values(name) {
			for _, v := range strings.Split(line, ",") {
				if v = strings.TrimSpace(v); v != "" && len(v) < 256 && len(out) < 16 {
					out = append(out, v)
				}
			}
		}
	}
	return out
}

// Resolve reads everything about the image that tag names but its layers: the
// history first, then all JSON at once.
func (s *Session) Resolve(ctx context.Context, tag string) (*Manifest, error) {
	id, err := s.Tag(ctx, tag)
	if err != nil {
		return nil, err
	}
	ids, err := s.Ancestry(ctx, id)
	if err != nil {
		return nil, err
	}
	layers := make([]ManifestLayer, len(ids))
	// By now a request with this login was answered well: tokens that are good
	// for one use have become a cookie.
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(inParallel)
	for i, id := range ids {
		g.Go(func() (err error) {
			layers[len(ids)-1-i], err = s.Image(gctx, id)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	m := &Manifest{SchemaVersion: 1, MediaType: MediaType, Registry: s.opt.Host, ID: id, Layers: layers}
	return m, m.check()
}
