package registry

import (
	"context"
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/fetch/manifest"
	"github.com/peelfs/peelfs/internal/errkind"
)

const (
	maxReferrers     = 1000
	maxReferrerPages = 10
)

// Referrers lists what refers to the manifest d and is of the given artifact
// type. A registry that does not have this answers NotFound: then there may be a
// tag, as ReferrersTag names it.
func (r *Repository) Referrers(ctx context.Context, d digest.Digest, artifactType string) ([]ocispec.Descriptor, error) {
	var found []ocispec.Descriptor
	next := r.url("referrers/" + d.String())
	next.RawQuery = url.Values{"artifactType": {artifactType}}.Encode()
	for page := 0; next != nil && page < maxReferrerPages && len(found) < maxReferrers; page++ {
		var more []ocispec.Descriptor
		err := r.retry(ctx, func() (err error) {
			more, next, err = r.referrersPage(ctx, next)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, m := range more { // a registry need not filter
			if m.ArtifactType == artifactType {
				found = append(found, m)
			}
		}
	}
	return found[:min(len(found), maxReferrers)], nil
}

func (r *Repository) referrersPage(ctx context.Context, u *url.URL) ([]ocispec.Descriptor, *url.URL, error) {
	resp, err := r.do(ctx, http.MethodGet, u, http.Header{"Accept": {ocispec.MediaTypeImageIndex}})
	if err != nil {
		return nil, u, err
	}
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusForbidden, http.StatusUnauthorized:
		resp.Body.Close()
		return nil, u, errkind.New(errkind.NotFound, "%s has no referrers API (status %d)", r.domain, resp.StatusCode)
	default:
		return nil, u, r.statusError(resp, "referrers of "+r.domain+"/"+r.name)
	}
	raw, err := r.readAll(resp, manifest.MaxManifest, "list of referrers", "")
	if err != nil {
		return nil, u, err
	}
	if t, err := manifest.Detect(raw, resp.Header.Get("Content-Type")); err != nil || !manifest.IsIndex(t) {
		return nil, u, errkind.New(errkind.NotFound, "%s has no referrers API: it answers with something else", r.domain)
	}
	x, err := manifest.ParseIndex(raw)
	if err != nil {
		return nil, u, err
	}
	next, err := nextPage(u, resp.Header.Values("Link"))
	return x.Manifests, next, err
}

// Tagged reads the manifest that a tag names. Its digest is computed.
func (r *Repository) Tagged(ctx context.Context, tag string) (ocispec.Descriptor, error) {
	var d ocispec.Descriptor
	err := r.retry(ctx, func() (err error) {
		d, err = r.getManifest(ctx, tag)
		return err
	})
	d.Digest = digest.FromBytes(d.Data)
	return d, err
}

// ReferrersTag is the tag that lists what refers to a manifest where there is no
// referrers API (distribution-spec, "Referrers Tag Schema").
func ReferrersTag(d digest.Digest) string {
	alg, hex := d.Algorithm().String(), d.Encoded()
	return alg[:min(32, len(alg))] + "-" + hex[:min(64, len(hex))]
}
