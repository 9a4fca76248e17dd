package archtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// fakeGo stands for the go command: two packages, of which the first has three
// targets: the second target fails, the third one
// runs out of time. The third package does not build.
const fakeGo = `#!/bin/sh
case "$*" in
list*) printf 'one\ntwo\nthree\n' ;;
"test -list ^Fuzz one") printf 'FuzzA\nFuzzB\nFuzzC\nok one\n' ;;
"test -list ^Fuzz two") printf 'ok two\n' ;;
"test -list"*) exit 2 ;;
*FuzzB*) exit 1 ;;
*FuzzC*) echo '    context deadline exceeded'; exit 1 ;;
esac
`

func TestFuzzingGoesOnAfterAFailure(t *testing.T) {
	stub := filepath.Join(t.TempDir(), "go")
	if err := os.WriteFile(stub, []byte(fakeGo), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(root, ".ci/fuzz"), "1s", "./...")
	cmd.Env = append(os.Environ(), "GO="+stub)
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Error("it ends well, though a target has failed")
	}
	for _, want := range []string{"== one FuzzA", "== one FuzzB", "== one FuzzC", "failed:\n  one FuzzB\n  three (does not build)\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}
