package main

import (
	"strings"
	"testing"

	"github.com/peelfs/peelfs/fetch"
	"github.com/peelfs/peelfs/tagstore"
)

// Only pulls that ask for the same in the same way share a result, and no secret is
// in the key, which is the name of a file.
func TestPullKeys(t *testing.T) {
	none := func(string) string { return "" }
	base := defaultSession().registryFlags
	key := func(change func(*registryFlags), env func(string) string, policy tagstore.Policy, paths ...string) string {
		f := base
		change(&f)
		s := &session{choices: choices{policy: policy, platform: fetch.DefaultPlatform()}, access: access(&f, env)}
		return pullKey(s, "docker.io/library/a:1", paths)
	}
	same := func(*registryFlags) {}
	plain := key(same, none, tagstore.Auto)
	if again := key(same, none, tagstore.Auto); again != plain {
		t.Errorf("%q and %q for one pull", plain, again)
	}
	seen := map[string]string{plain: "plain"}
	for name, k := range map[string]string{
		"creds":      key(func(f *registryFlags) { f.creds = "u:secret" }, none, tagstore.Auto),
		"creds2":     key(func(f *registryFlags) { f.creds = "u:secret2" }, none, tagstore.Auto),
		"anonymous":  key(func(f *registryFlags) { f.anonymous = true }, none, tagstore.Auto),
		"authfile":   key(func(f *registryFlags) { f.authFile = "/a" }, none, tagstore.Auto),
		"ca":         key(func(f *registryFlags) { f.caFile = "/a" }, none, tagstore.Auto),
		"http":       key(func(f *registryFlags) { f.plainHTTP = true }, none, tagstore.Auto),
		"tls":        key(func(f *registryFlags) { f.tlsVerify = false }, none, tagstore.Auto),
		"api":        key(func(f *registryFlags) { f.registryAPI = "v1" }, none, tagstore.Auto),
		"policy":     key(same, none, tagstore.Always),
		"path":       key(same, none, tagstore.Auto, "/etc"),
		"two paths":  key(same, none, tagstore.Auto, "/etc", "/usr"),
		"odd path":   key(same, none, tagstore.Auto, "/etc /usr"),
		"auth files": key(same, func(name string) string { return strings.TrimPrefix(name, "REGISTRY_") }, tagstore.Auto),
	} {
		if other, taken := seen[k]; taken {
			t.Errorf("%s shares with %s", name, other)
		}
		if strings.Contains(k, "secret") {
			t.Errorf("the password is in %q", k)
		}
		seen[k] = name
	}
}
