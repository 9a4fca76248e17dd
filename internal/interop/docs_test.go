//go:build interop

package interop

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var (
	documentedCommand = regexp.MustCompile(`(?m)^peelfs ([a-z-]+)( (?:ls|du|prune|verify))?\b`)
	documentedFlag    = regexp.MustCompile("`(--[a-z-]+)")
)

// The commands and the flags of mount that docs/cli.md promises are there, in the
// help of the command or in that of the flags which all have.
func TestDocumentedCommandsExist(t *testing.T) {
	text, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	b := newBox(t)
	commands := documentedCommand.FindAllStringSubmatch(string(text), -1)
	if len(commands) < 10 {
		t.Fatalf("docs/cli.md has %d commands", len(commands))
	}
	for _, m := range commands {
		args := append(strings.Fields(m[1]+m[2]), "--help")
		if out, err := b.try(args...); err != nil || !strings.Contains(out, "peelfs "+strings.Fields(m[1] + m[2])[0]) {
			t.Errorf("peelfs %s: %v", strings.Join(args, " "), err)
		}
	}
	help := b.peelfs("mount", "--help") + b.peelfs("help", "common-flags") + b.peelfs("automount", "--help")
	_, flags, _ := strings.Cut(string(text), "## Flags of mount")
	flags, _, _ = strings.Cut(flags, "\n## ")
	for _, m := range documentedFlag.FindAllStringSubmatch(flags, -1) {
		if !strings.Contains(help, m[1]) {
			t.Errorf("peelfs mount has no %s", m[1])
		}
	}
}
