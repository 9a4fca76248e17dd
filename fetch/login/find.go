// Package login finds credentials and turns them into what a registry accepts.
//
// Credentials are looked up where docker, podman and their helpers keep them,
// again at every login, and are never written down. They travel to the origin
// that asked for them and to the token server that it named, nowhere else, and
// appear in no error: an error says only which source they came from.
package login

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"

	"github.com/peelfs/peelfs/internal/errkind"
)

// Credential is a user and a password, or a token of some sort.
type Credential = auth.Credential

const (
	maxAuthFile   = 4 << 20
	helperTimeout = 30 * time.Second
	dockerHub     = "docker.io"
	dockerHubKey  = "https://index.docker.io/v1/" // what all files call Docker Hub
)

// Options say where to look before the usual places.
type Options struct {
	Creds     string              // user:password for every registry
	AuthFile  string              // before all but Creds; it must exist
	Anonymous bool                // look nowhere
	Getenv    func(string) string // nil for os.Getenv
	Logger    *slog.Logger        // for helpers that do not work; nil discards
}

// Finder looks credentials up. It is safe for concurrent use.
type Finder struct {
	opt Options

	mu struct {
		sync.Mutex
		warned map[string]bool // helpers that were said not to work
	}
}

// NewFinder checks opt; the error is of kind Invalid.
func NewFinder(opt Options) (*Finder, error) {
	if opt.Getenv == nil {
		opt.Getenv = os.Getenv
	}
	if opt.Creds != "" && !strings.Contains(opt.Creds, ":") {
		return nil, errkind.WithHint(errkind.New(errkind.Invalid, "the credentials given have no password"),
			"write them as USER:PASSWORD")
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	f := &Finder{opt: opt}
	f.mu.warned = map[string]bool{}
	return f, nil
}

// Find returns the credential for a repository of a registry, named as users
// name it (docker.io), and words that say where it is from. Without one the
// credential is empty and the source says so. A helper that does not work is told
// about once and passed over: what is public needs no credential, and where one is
// needed the source names the helper.
func (f *Finder) Find(ctx context.Context, domain, repository string) (Credential, string, error) {
	if f.opt.Anonymous {
		return Credential{}, "anonymous, as asked", nil
	}
	if user, password, ok := strings.Cut(f.opt.Creds, ":"); ok {
		return Credential{Username: user, Password: password}, "--creds", nil
	}
	var failed []string
	for _, src := range f.sources() {
		conf, err := src.read()
		if errors.Is(err, fs.ErrNotExist) && !src.required {
			continue
		}
		if err != nil {
			return Credential{}, src.name, errkind.New(errkind.Invalid, "credentials from %s: %w", src.name, err)
		}
		found, err := conf.find(ctx, domain, repository)
		if err != nil {
			return Credential{}, src.name, err
		}
		if found.broken != nil {
			failed = append(failed, found.broken.Error())
			f.warn(found.helper, src.name, found.broken)
		}
		if found.cred != (Credential{}) {
			return found.cred, src.name + found.where(), nil
		}
	}
	return Credential{}, strings.Join(append([]string{"none found"}, failed...), "; "), nil
}

// warn says once that a helper does not work.
func (f *Finder) warn(helper, file string, err error) {
	f.mu.Lock()
	said := f.mu.warned[helper]
	f.mu.warned[helper] = true
	f.mu.Unlock()
	if !said {
		f.opt.Logger.Warn("a credential helper does not work: going on without it", "file", file, "reason", err)
	}
}

// source is one place that holds a file of credentials.
type source struct {
	name     string
	path     string // "" if text is it
	text     string
	required bool
	legacy   bool // ~/.dockercfg: the file is the map of auths itself
}

// sources lists the places in the order in which they are asked.
func (f *Finder) sources() []source {
	env := f.opt.Getenv
	var list []source
	add := func(path string) {
		if path != "" {
			list = append(list, source{name: path, path: path})
		}
	}
	if f.opt.AuthFile != "" {
		list = append(list, source{name: "--authfile " + f.opt.AuthFile, path: f.opt.AuthFile, required: true})
	}
	if p := env("REGISTRY_AUTH_FILE"); p != "" {
		list = append(list, source{name: "REGISTRY_AUTH_FILE " + p, path: p})
	}
	if text := env("DOCKER_AUTH_CONFIG"); text != "" {
		list = append(list, source{name: "DOCKER_AUTH_CONFIG", text: text})
	}
	home := env("HOME")
	if dir := env("XDG_RUNTIME_DIR"); dir != "" {
		add(filepath.Join(dir, "containers/auth.json"))
	}
	add(under(env("XDG_CONFIG_HOME"), home, ".config", "containers/auth.json"))
	add(under(env("DOCKER_CONFIG"), home, ".docker", "config.json"))
	if home != "" {
		p := filepath.Join(home, ".dockercfg")
		list = append(list, source{name: p, path: p, legacy: true})
	}
	return list
}

// under is dir/name, or home/sub/name where dir is not set.
func under(dir, home, sub, name string) string {
	if dir == "" && home == "" {
		return ""
	}
	if dir == "" {
		dir = filepath.Join(home, sub)
	}
	return filepath.Join(dir, name)
}

func (s source) read() (*config, error) {
	text := []byte(s.text)
	if s.path != "" {
		f, err := os.Open(s.path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if text, err = io.ReadAll(io.LimitReader(f, maxAuthFile)); err != nil {
			return nil, err
		}
	}
	return parseConfig(text, s.legacy)
}

// config is a file as docker and podman write it.
type config struct {
	Auths       map[string]entry  `json:"auths"`
	CredHelpers map[string]string `json:"credHelpers"`
	CredsStore  string            `json:"credsStore"`
}

type entry struct {
	Auth          string `json:"auth"`
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// parseConfig never quotes the text in its errors: it is full of secrets.
func parseConfig(text []byte, legacy bool) (*config, error) {
	var c config
	var into any = &c
	if legacy {
		into = &c.Auths
	}
	if len(strings.TrimSpace(string(text))) == 0 {
		return &c, nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return nil, errors.New("it is not JSON of the expected form")
	}
	return &c, nil
}

// answer is what one file has for a registry.
type answer struct {
	cred   Credential
	helper string // the one that is responsible; "" if none is
	broken error  // why the helper gave nothing
}

// where says which part of the file the credential is from.
func (a answer) where() string {
	if a.helper == "" || a.broken != nil {
		return ""
	}
	return ", helper docker-credential-" + a.helper
}

// find asks the helper that is responsible, and then, if that has nothing, the
// entries.
func (c *config) find(ctx context.Context, domain, repository string) (answer, error) {
	a := answer{helper: c.CredHelpers[domain]}
	if a.helper == "" {
		a.helper = c.CredsStore
	}
	if a.helper != "" {
		if strings.ContainsAny(a.helper, "/\\") {
			return answer{}, errkind.New(errkind.Invalid, "credential helper %q is not a name", a.helper)
		}
		a.cred, a.broken = askHelper(ctx, a.helper, domain)
		if ctx.Err() != nil {
			return answer{}, context.Cause(ctx)
		}
		if a.cred != (Credential{}) {
			return a, nil
		}
	}
	e, ok := c.match(domain, repository)
	if !ok {
		return a, nil
	}
	cred, err := e.credential()
	if err != nil {
		return answer{}, errkind.New(errkind.Invalid, "credentials for %s: %w", domain, err)
	}
	if cred != (Credential{}) {
		a = answer{cred: cred, broken: a.broken, helper: a.helper}
		if a.broken == nil {
			a.helper = ""
		}
	}
	return a, nil
}

// askHelper runs docker-credential-HELPER. One that knows no credential gives an
// empty one.
func askHelper(ctx context.Context, helper, domain string) (Credential, error) {
	ctx, cancel := context.WithTimeout(ctx, helperTimeout)
	defer cancel()
	key := domain
	if domain == dockerHub {
		key = dockerHubKey
	}
	cred, err := credentials.NewNativeStore(helper).Get(ctx, key)
	if err != nil {
		return Credential{}, fmt.Errorf("docker-credential-%s: %w", helper, err)
	}
	return cred, nil
}

// match finds the entry with the longest name that is the repository, a
// namespace above it, or its registry.
func (c *config) match(domain, repository string) (entry, bool) {
	byName := make(map[string]entry, len(c.Auths))
	for key, e := range c.Auths {
		name := normalizeKey(key)
		if _, taken := byName[name]; !taken || key == name {
			byName[name] = e
		}
	}
	for name := domain + "/" + repository; ; {
		if e, ok := byName[strings.TrimSuffix(name, "/")]; ok && e != (entry{}) {
			return e, true
		}
		cut := strings.LastIndexByte(name, '/')
		if cut < 0 {
			return entry{}, false
		}
		name = name[:cut]
	}
}

// normalizeKey removes what old files put around a registry's name: a scheme,
// and the path of its API.
func normalizeKey(key string) string {
	if key == dockerHubKey {
		return dockerHub
	}
	name, isURL := key, false
	for _, scheme := range []string{"https://", "http://"} {
		if rest, ok := strings.CutPrefix(name, scheme); ok {
			name, isURL = rest, true
		}
	}
	name = strings.TrimSuffix(name, "/")
	if isURL || strings.HasSuffix(name, "/v1") || strings.HasSuffix(name, "/v2") {
		name, _, _ = strings.Cut(name, "/")
	}
	switch name {
	case "index.docker.io", "registry-1.docker.io":
		return dockerHub
	}
	return name
}

func (e entry) credential() (Credential, error) {
	cred := Credential{Username: e.Username, Password: e.Password,
		RefreshToken: e.IdentityToken, AccessToken: e.RegistryToken}
	if e.Auth != "" {
		text, err := base64.StdEncoding.DecodeString(e.Auth)
		if err != nil {
			return Credential{}, errors.New("the auth field is not base64")
		}
		user, password, ok := strings.Cut(string(text), ":")
		if !ok {
			return Credential{}, errors.New("the auth field has no password")
		}
		cred.Username, cred.Password = user, strings.TrimRight(password, "\x00")
	}
	if cred.Username == "<token>" && cred.RefreshToken == "" {
		cred = Credential{RefreshToken: cred.Password, AccessToken: cred.AccessToken}
	}
	return cred, nil
}

// Describe is how an error names the source of a credential.
func Describe(cred Credential, source string) string {
	if cred == (Credential{}) {
		return "no credentials (" + source + ")"
	}
	return fmt.Sprintf("credentials from %s", source)
}
