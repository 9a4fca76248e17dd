package v1image

import (
	"encoding/json"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/internal/errkind"
)

var (
	idA = strings.Repeat("a", 64)
	idB = strings.Repeat("b", 64)
)

func parse(t *testing.T, raw string) *Image {
	t.Helper()
	img, err := Parse([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestIdentifiers(t *testing.T) {
	for _, ok := range []string{idA, strings.Repeat("0f", 8)} {
		if err := CheckID(ok); err != nil {
			t.Errorf("CheckID(%q): %v", ok, err)
		}
	}
	for _, bad := range []string{"", "abc", strings.Repeat("A", 64), idA + "a", idA[:63], idA + "\n",
		"../../../../etc/passwd", strings.Repeat("g", 64), strings.Repeat("a", 32)} {
		if err := CheckID(bad); !errkind.Is(err, errkind.Corrupt) {
			t.Errorf("CheckID(%q) = %v, want kind corrupt", bad, err)
		}
	}
}

func TestParseTakesWhatItNeedsAndForgivesTheRest(t *testing.T) {
	img := parse(t, `{"id":"`+idA+`","parent":"`+idB+`","created":"2013-06-13T14:03:50.821769-07:00",
		"author":17,"comment":null,"container_config":{"Cmd":["/bin/sh","-c","echo hi"],"Env":null}}`)
	if img.ID != idA || img.Parent != idB || img.CreatedBy != "/bin/sh -c echo hi" || img.Author != "" {
		t.Errorf("got %+v", img)
	}
	if img.Created == nil || img.Created.Year() != 2013 {
		t.Errorf("created = %v", img.Created)
	}
	for _, cmd := range []string{`null`, `17`, `{}`, `[1]`} {
		if got := parse(t, `{"id":"`+idA+`","container_config":{"Cmd":`+cmd+`}}`).CreatedBy; got != "" {
			t.Errorf("Cmd %s gave %q", cmd, got)
		}
	}
	if got := parse(t, `{"id":"`+idA+`","container_config":{"Cmd":"one string"}}`).CreatedBy; got != "one string" {
		t.Errorf("Cmd as a string gave %q", got)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, raw := range map[string]string{
		"null": `null`, "list": `[]`, "cut": `{"id":"`, "no id": `{}`, "short id": `{"id":"abc"}`,
		"bad parent": `{"id":"` + idA + `","parent":"../x"}`, "id is a number": `{"id":5}`,
	} {
		if _, err := Parse([]byte(raw)); !errkind.Is(err, errkind.Corrupt) {
			t.Errorf("%s: %v, want kind corrupt", name, err)
		}
	}
	if _, err := Parse(make([]byte, MaxJSON+1)); !errkind.Is(err, errkind.Unsupported) {
		t.Errorf("too large: %v", err)
	}
}

func TestConfig(t *testing.T) {
	base := parse(t, `{"id":"`+idB+`","created":"2014-01-01T00:00:00Z","container_config":{"Cmd":["ADD","x"]}}`)
	empty := parse(t, `{"id":"`+idB+`","throwaway":true,"comment":"nothing"}`)
	top := parse(t, `{"id":"`+idA+`","parent":"`+idB+`","Size":5,"throwaway":false,"author":"me","docker_version":"1.2.0",
		"Created":7,"created":"2014-01-02T00:00:00Z",
		"config":{"Env":["A=1"],"Cmd":null,"Entrypoint":"/run","Volumes":null,"ExposedPorts":{"80/tcp":{}},
		"User":null,"env":4,"PortSpecs":null,"Memory":0}}`)
	chain := []*Image{base, empty, top}
	raw, err := Config(chain, History(chain), nil)
	if err != nil {
		t.Fatal(err)
	}
	var img ocispec.Image
	if err := json.Unmarshal(raw, &img); err != nil {
		t.Fatal(err)
	}
	if img.Architecture != "amd64" || img.OS != "linux" || img.Author != "me" || img.Created.Day() != 2 {
		t.Errorf("image = %+v", img)
	}
	if len(img.Config.Env) != 1 || len(img.Config.Entrypoint) != 1 || img.Config.Cmd != nil || len(img.Config.ExposedPorts) != 1 {
		t.Errorf("config = %+v", img.Config)
	}
	if len(img.History) != 3 || img.History[0].CreatedBy != "ADD x" || !img.History[1].EmptyLayer || img.History[2].EmptyLayer {
		t.Errorf("history = %+v", img.History)
	}
	var f map[string]any
	if err := json.Unmarshal(raw, &f); err != nil {
		t.Fatal(err)
	}
	for _, name := range notConfig[:6] {
		if _, ok := f[name]; ok {
			t.Errorf("%s is still there", name)
		}
	}
	if f["docker_version"] != "1.2.0" {
		t.Error("an unknown field was lost")
	}
}

func TestConfigOfNothing(t *testing.T) {
	if _, err := Config(nil, nil, nil); !errkind.Is(err, errkind.Corrupt) {
		t.Errorf("got %v", err)
	}
}

// What Parse accepts, Config turns into something that decodes, always the same.
func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"id":"` + idA + `"}`))
	f.Add([]byte(`{"id":"` + idA + `","config":{"Env":["A=1"],"cmd":4},"created":null,"OS":[]}`))
	f.Add([]byte(`{"id":"` + idA + `","os.features":"x","variant":{},"config":[],"history":3,"rootfs":{}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		img, err := Parse(raw)
		if err != nil {
			return
		}
		if !ValidID(img.ID) || img.Parent != "" && !ValidID(img.Parent) {
			t.Fatalf("identifiers %q, %q", img.ID, img.Parent)
		}
		chain := []*Image{img}
		one, err := Config(chain, History(chain), nil)
		if err != nil {
			t.Fatalf("accepted, but its configuration is not: %v", err)
		}
		two, err := Config(chain, History(chain), nil)
		if err != nil || string(one) != string(two) {
			t.Fatalf("not deterministic: %q, %q, %v", one, two, err)
		}
	})
}
