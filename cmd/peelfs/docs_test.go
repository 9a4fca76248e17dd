package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/peelfs/peelfs/cmd/peelfs/mounttab"
	"github.com/peelfs/peelfs/internal/errkind"
)

// cliPage is what scripts may rely on. These tests hold it against the program, in
// both directions.
func cliPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// section is what is between a heading and the next one.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page, "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("docs/cli.md has no section %q", heading)
	}
	text, _, _ := strings.Cut(rest, "\n## ")
	return text
}

// commands are all commands of the program, by their path without its name.
func commands() map[string]*cobra.Command {
	root := rootCommand(newApp(nil, os.Stdout, os.Stderr, func(string) string { return "" }))
	root.InitDefaultHelpCmd()
	all := map[string]*cobra.Command{}
	var add func(*cobra.Command)
	add = func(parent *cobra.Command) {
		for _, cmd := range parent.Commands() {
			if cmd.IsAvailableCommand() || cmd.Name() == "help" {
				all[strings.TrimPrefix(cmd.CommandPath(), "peelfs ")] = cmd
				add(cmd)
			}
		}
	}
	add(root)
	return all
}

func TestDocumentedCommands(t *testing.T) {
	page, all := cliPage(t), commands()
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^peelfs ((?:cache |index )?[a-z-]+)`).FindAllStringSubmatch(page, -1) {
		documented[m[1]] = true
		if all[m[1]] == nil {
			t.Errorf("docs/cli.md has peelfs %s, which is no command", m[1])
		}
	}
	for name, cmd := range all {
		parent, _, _ := strings.Cut(name, " ")
		if !documented[name] && !cmd.HasSubCommands() && parent != "completion" {
			t.Errorf("docs/cli.md does not name peelfs %s", name)
		}
	}
}

// flagNames are the flags of a command that are not hidden for being of no use;
// those that help leaves to common-flags are among them.
func flagNames(cmd *cobra.Command) (names []string) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		global := cmd.Root().PersistentFlags().Lookup(f.Name) != nil
		if !global && f.Name != "help" && f.Name != expressionFlag && f.Name != "fake" {
			names = append(names, f.Name)
		}
	})
	return names
}

func TestDocumentedFlags(t *testing.T) {
	page, all := cliPage(t), commands()
	known := map[string]bool{"help": true, "version": true}
	root := rootCommand(newApp(nil, os.Stdout, os.Stderr, func(string) string { return "" }))
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) { known[f.Name] = true })
	named := map[string]bool{}
	for _, m := range regexp.MustCompile(`--([a-z][a-z0-9-]*)`).FindAllStringSubmatch(page, -1) {
		named[m[1]] = true
	}
	for name, cmd := range all {
		rows := section(t, page, "Flags of the other commands")
		_, row, ok := strings.Cut(rows, "\n| `"+name+"` | ")
		row, _, _ = strings.Cut(row, "\n")
		for _, flag := range flagNames(cmd) {
			known[flag] = true
			if strings.HasPrefix(name, "completion") {
				continue // as cobra has it
			}
			common := commonFlags().Flags().Lookup(flag) != nil
			if !named[flag] {
				t.Errorf("docs/cli.md does not name --%s of peelfs %s", flag, name)
			}
			if ok && !common && !strings.Contains(row, "--"+flag+"`") {
				t.Errorf("docs/cli.md has a row for %s without --%s", name, flag)
			}
		}
		for _, m := range regexp.MustCompile("--([a-z][a-z0-9-]*)`").FindAllStringSubmatch(row, -1) {
			if ok && cmd.Flags().Lookup(m[1]) == nil {
				t.Errorf("docs/cli.md has --%s of peelfs %s, which has no such flag", m[1], name)
			}
		}
	}
	for name := range named {
		if !known[name] {
			t.Errorf("docs/cli.md names --%s, which no command has", name)
		}
	}
	mount := section(t, page, "Flags of mount")
	for _, flag := range flagNames(all["mount"]) {
		if !strings.Contains(mount, "--"+flag) {
			t.Errorf("docs/cli.md does not have --%s among the flags of mount", flag)
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `(?:-[a-z]`, `)?--([a-z-]+)").FindAllStringSubmatch(mount, -1) {
		if all["mount"].Flags().Lookup(m[1]) == nil && all["automount"].Flags().Lookup(m[1]) == nil {
			t.Errorf("docs/cli.md has --%s among the flags of mount, which has no such flag", m[1])
		}
	}
}

func TestDocumentedExitCodes(t *testing.T) {
	documented := map[string]bool{"0 none": true}
	for _, m := range regexp.MustCompile(`(?m)^\| (\d+) \| ([A-Za-z ]+) \|`).FindAllStringSubmatch(section(t, cliPage(t), "Exit codes"), -1) {
		documented[m[1]+" "+m[2]] = true
	}
	have := map[string]bool{"0 none": true}
	for kind := errkind.Internal; kind <= errkind.Canceled; kind++ {
		have[strconv.Itoa(kind.ExitCode())+" "+kind.String()] = true
	}
	if !maps.Equal(documented, have) {
		t.Errorf("docs/cli.md has the codes %v, and the program %v", slices.Sorted(maps.Keys(documented)), slices.Sorted(maps.Keys(have)))
	}
}

// jsonOf are the types behind what docs/cli.md says of JSON.
var jsonOf = map[string]any{
	"mounts": mounttab.Mount{}, "status": mountStatus{}, "inspect": inspected{}, "images": imageRow{}, "history": historyRow{}, "stat": fullEntry{},
	"which": whichReport{}, "diff": difference{}, "diff --stat": diffStat{}, "du": duRow{}, "top": topReport{}, "cache ls": cachedRow{},
	"cache du": usage{}, "cache prune": prunedRow{}, "cache verify": verified{}, "index import": imported{}, "version": versionInfo{},
	"LAYER": layerRow{}, "ENTRY": entry{}, "USAGE": duLayer{},
}

// keysOf are the keys of a type and of all that is in it, but for what is named in
// leave.
func keysOf(typ reflect.Type, into map[string]bool) {
	for typ.Kind() == reflect.Slice || typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct || typ.Implements(reflect.TypeFor[json.Marshaler]()) {
		return
	}
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "" && name != "-" && !strings.HasSuffix(name, "Base64") {
			into[name] = true
		}
		if f.IsExported() && name != "-" || f.Anonymous {
			keysOf(f.Type, into)
		}
	}
}

func TestDocumentedKeys(t *testing.T) {
	text := section(t, cliPage(t), "JSON")
	_, text, _ = strings.Cut(text, "```\n")
	text, _, _ = strings.Cut(text, "\n```")
	blocks := map[string]string{}
	name := ""
	for line := range strings.Lines(text) {
		if m := regexp.MustCompile(`^([A-Za-z][A-Za-z, -]*?)(\s{2,}|\n)`).FindStringSubmatch(line); m != nil {
			name, line = m[1], strings.TrimPrefix(line, m[1])
		}
		blocks[name] += line
	}
	var expand func(text string, into map[string]bool)
	expand = func(text string, into map[string]bool) {
		for _, m := range regexp.MustCompile(`"([A-Za-z]+)"|\b(LAYER|ENTRY|USAGE|as du)\b`).FindAllStringSubmatch(text, -1) {
			switch {
			case m[1] != "":
				into[m[1]] = true
			case m[2] == "as du":
				expand(blocks["du"], into)
			default:
				expand(blocks[m[2]], into)
			}
		}
	}
	for name, value := range jsonOf {
		if blocks[name] == "" {
			t.Errorf("docs/cli.md says nothing of the JSON of %s", name)
			continue
		}
		documented, have := map[string]bool{}, map[string]bool{}
		expand(blocks[name], documented)
		keysOf(reflect.TypeOf(value), have)
		for key := range have {
			if !documented[key] {
				t.Errorf("docs/cli.md does not have the key %q of %s", key, name)
			}
		}
		for key := range documented {
			if !have[key] {
				t.Errorf("docs/cli.md has the key %q of %s, which does not exist", key, name)
			}
		}
	}
}

// Every command is in a file under its name, and every page of the manual has what
// manual pages have.
func TestCommandsHaveFilesAndPages(t *testing.T) {
	pages := manPages(rootCommand(newApp(nil, os.Stdout, os.Stderr, func(string) string { return "" })))
	for name := range commands() {
		parent, _, _ := strings.Cut(name, " ")
		if pages["peelfs-"+strings.ReplaceAll(name, " ", "-")+".1"] == "" && name != "help" {
			t.Errorf("peelfs %s has no page", name)
		}
		if parent == "completion" || parent == "help" {
			continue
		}
		file := strings.NewReplacer(" ", "", "-", "").Replace(name) + ".go"
		text, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
			continue
		}
		if n := len(regexp.MustCompile(`(?m)^func \w+Command\(`).FindAll(text, -1)); n != 1 {
			t.Errorf("%s makes %d commands", file, n)
		}
	}
	for name, page := range pages {
		for _, part := range []string{".SH NAME\n", ".SH SYNOPSIS\n", ".SH EXIT STATUS\n", ".SH ENVIRONMENT\n", ".SH FILES\n", ".SH SEE ALSO\n", fmt.Sprintf("%q", "peelfs "+version)} {
			if !strings.Contains(page, part) {
				t.Errorf("%s has no %q", name, part)
			}
		}
	}
}
