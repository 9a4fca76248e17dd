package testregistryv1

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Image is one image as a registry stores it.
type Image struct {
	ID        string
	JSON      []byte
	Layer     []byte
	Checksums []string
	Done      bool // pushed to the end: JSON, layer and checksum
}

// Store is what one or several servers hold: an index and its registries share
// one. It is safe for concurrent use.
type Store struct {
	mu struct {
		sync.Mutex
		images  map[string]*Image
		repos   map[string]map[string]string // repository -> tag -> id
		lists   map[string][]string          // repository -> ids, in the order in which they were pushed
		tokens  map[string]bool              // good signatures
		cookies map[string]bool              // true once a token was used along with it: it is a login by itself
		serial  int
	}
}

// NewStore makes an empty store.
func NewStore() *Store {
	s := &Store{}
	s.mu.images = map[string]*Image{}
	s.mu.repos = map[string]map[string]string{}
	s.mu.lists = map[string][]string{}
	s.mu.tokens = map[string]bool{}
	s.mu.cookies = map[string]bool{}
	return s
}

// full is the name under which a repository is kept.
func full(repo string) string {
	if strings.Contains(repo, "/") {
		return repo
	}
	return "library/" + repo
}

// Put stores complete images, base first, and lets tag name the last of them.
func (s *Store) Put(repo, tag string, images ...Image) {
	s.mu.Lock()
	defer s.mu.Unlock()
	repo = full(repo)
	for _, img := range images {
		img.Done = true
		s.mu.images[img.ID] = &img
		if !slices.Contains(s.mu.lists[repo], img.ID) {
			s.mu.lists[repo] = append(s.mu.lists[repo], img.ID)
		}
	}
	s.setTag(repo, tag, images[len(images)-1].ID)
}

// setTag is called with the lock held.
func (s *Store) setTag(repo, tag, id string) {
	if s.mu.repos[repo] == nil {
		s.mu.repos[repo] = map[string]string{}
	}
	s.mu.repos[repo][tag] = id
}

// Change lets a test alter a stored image.
func (s *Store) Change(id string, f func(*Image)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := *s.mu.images[id]
	f(&next)
	s.mu.images[id] = &next
}

// image returns a copy; the slices in it are never written to.
func (s *Store) image(id string) (Image, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	img, ok := s.mu.images[id]
	if !ok {
		return Image{}, false
	}
	return *img, true
}

func (s *Store) list(repo string) ([]string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids, ok := s.mu.lists[full(repo)]
	return slices.Clone(ids), ok
}

func (s *Store) tags(repo string) (map[string]string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tags, ok := s.mu.repos[full(repo)]
	out := map[string]string{}
	for k, v := range tags {
		out[k] = v
	}
	return out, ok
}

// ancestry follows the parents, the image itself first.
func (s *Store) ancestry(id string) ([]string, bool) {
	var out []string
	for id != "" {
		img, ok := s.image(id)
		if !ok || slices.Contains(out, id) {
			return nil, false
		}
		out = append(out, id)
		var doc struct {
			Parent string `json:"parent"`
		}
		if json.Unmarshal(img.JSON, &doc) != nil {
			return nil, false
		}
		id = doc.Parent
	}
	return out, true
}

// issue makes a token for a repository.
func (s *Store) issue(repo, access string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.serial++
	signature := fmt.Sprintf("SIGNATURE%07d", s.mu.serial)
	s.mu.tokens[signature] = true
	return fmt.Sprintf("signature=%s,repository=%q,access=%s", signature, repo, access)
}

// redeem says whether an Authorization header has a good token for a repository
// ("" for any), and uses it up if once.
func (s *Store) redeem(header, repo, access string, once bool) bool {
	fields := map[string]string{}
	for _, f := range strings.FieldsFunc(header, func(r rune) bool { return r == ',' || r == ' ' }) {
		if k, v, ok := strings.Cut(f, "="); ok {
			fields[k] = strings.Trim(v, `"`)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	good := s.mu.tokens[fields["signature"]] && fields["access"] == access && (repo == "" || full(fields["repository"]) == full(repo))
	if good && once {
		delete(s.mu.tokens, fields["signature"])
	}
	return good
}

// Expire makes all tokens and cookies that were handed out useless.
func (s *Store) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.mu.tokens)
	clear(s.mu.cookies)
}

func (s *Store) bake() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.serial++
	v := fmt.Sprintf("cookie%d", s.mu.serial)
	s.mu.cookies[v] = false
	return v
}

func (s *Store) knowsCookie(v string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.mu.cookies[v]
	return ok
}

func (s *Store) isLogin(v string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.cookies[v]
}

func (s *Store) promote(v string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.cookies[v] = true
}

// PayloadChecksum is X-Docker-Checksum-Payload of an image.
func PayloadChecksum(json, layer []byte) string {
	h := sha256.New()
	h.Write(json)
	h.Write([]byte{'\n'})
	h.Write(layer)
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}
