package findexpr

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/peelfs/peelfs/internal/errkind"
	tt "github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/query"
	"github.com/peelfs/peelfs/layers/view"
)

// memLayer is a layer in memory.
type memLayer struct {
	content []byte // of all files, one after the other
	idx     *index.Index
}

func layerOf(t testing.TB, entries ...tt.Entry) *memLayer {
	t.Helper()
	l := &memLayer{}
	b := index.NewBuilder()
	tar := tar.NewReader(bytes.NewReader(tt.Of(entries...)))
	for hdr, err := tar.Next(); err != io.EOF; hdr, err = tar.Next() {
		if err != nil {
			t.Fatal(err)
		}
		r := index.Record{
			Name: hdr.Name, Kind: kinds[hdr.Typeflag], LinkName: hdr.Linkname, Mode: uint32(hdr.Mode), UID: uint32(hdr.Uid), GID: uint32(hdr.Gid),
			Sec: hdr.ModTime.Unix(), Size: hdr.Size, Data: int64(len(l.content)),
		}
		text, err := io.ReadAll(tar)
		if err != nil {
			t.Fatal(err)
		}
		l.content = append(l.content, text...)
		if err := b.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := b.Write(&out, index.Header{SpaceSize: int64(len(l.content)), BlobSize: -1}, nil, nil); err != nil {
		t.Fatal(err)
	}
	x, err := index.OpenBytes(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	l.idx = x
	return l
}

var kinds = map[byte]index.Kind{
	tar.TypeReg: index.File, tar.TypeDir: index.Dir, tar.TypeSymlink: index.Symlink, tar.TypeLink: index.Link, tar.TypeFifo: index.Fifo,
}

func (l *memLayer) Index(context.Context) (*index.Index, error) { return l.idx, nil }

func (l *memLayer) ReadAt(_ context.Context, id uint32, p []byte, off int64) (int, error) {
	e := l.idx.Entry(id)
	return copy(p[:min(int64(len(p)), e.Size-off)], l.content[e.Data+off:]), nil
}

// now is when the tests ask for ages.
var now = time.Unix(1_700_000_000, 0)

// entries are an image that is also made as a directory: what both find must be the
// same.
func entries() []tt.Entry {
	days := func(n int64) tt.Option { return tt.MTime(now.Unix()-n*86400-3600, 0) }
	return []tt.Entry{
		tt.Dir("etc/"), tt.File("etc/passwd", "root:x:0:0::/:\njoe:x:1000:1000::/:\nbad line\n:x:5:\n"), tt.File("etc/group", "root:x:0:\nstaff:x:50:joe\n"),
		tt.Dir("bin/", tt.Mode(0o755)), tt.File("bin/su", strings.Repeat("x", 1500), tt.Mode(0o4755), days(3)), tt.File("bin/ls", "ls", tt.Mode(0o755), days(1)),
		tt.Symlink("bin/sh", "su"), tt.Link("bin/su2", "bin/su"), tt.Symlink("dangling", "/no/where"), tt.Symlink("loop", "loop"), tt.Symlink("up", "bin/su"),
		tt.Dir("home/", tt.Mode(0o700), tt.Owner(1000, 50)), tt.File("home/.profile", "", tt.Owner(1000, 1000), days(10)), tt.File("home/a b", "text\n", tt.Owner(1000, 50), tt.Mode(0o600)),
		tt.Fifo("home/pipe"), tt.Dir("empty/"), tt.Dir("deep/"), tt.Dir("deep/er/"), tt.Dir("deep/er/est/"), tt.File("deep/er/est/file.so.1", strings.Repeat("y", 5000)), tt.File("deep/er/file.SO", "z", days(0)),
	}
}

func imageOf(t testing.TB) Image {
	return Image{
		View: view.New([]view.Layer{layerOf(t, entries()...), layerOf(t, tt.File("top", "1"))}, view.Options{Symlinks: view.Raw}), Now: now, Characters: true,
		Layer: strconv.Atoi, Permission: func(a view.Attr) string { return fmt.Sprintf("<%o>", a.Mode) }, Name: func(s string) string { return s },
	}
}

// paper keeps what was printed.
type paper struct{ strings.Builder }

func (p *paper) Print(e query.Entry) error     { p.WriteString(e.Path() + "\n"); return nil }
func (p *paper) Print0(e query.Entry) error    { p.WriteString(e.Path() + "\x00"); return nil }
func (p *paper) PrintLong(e query.Entry) error { p.WriteString("long " + e.Path() + "\n"); return nil }
func (p *paper) Printf(text string) error      { p.WriteString(text); return nil }

func run(t testing.TB, image Image, at string, words ...string) (string, error) {
	t.Helper()
	x, err := Parse(t.Context(), image, words)
	if err != nil {
		return "", err
	}
	from, err := query.Find(t.Context(), image.View, at, false)
	if err != nil {
		t.Fatal(err)
	}
	var out paper
	err = x.Walk(t.Context(), image.View, from, &out)
	return out.String(), err
}

func TestWhatIsOurs(t *testing.T) {
	image := imageOf(t)
	for _, c := range []struct{ words, want string }{
		{"-layer 1", "/\n/top\n"}, // the root is decided by the topmost layer that has something in it
		{"-name su -o -name ls", "/bin/ls\n/bin/su\n"},
		{"-user joe -name a*", "/home/a b\n"},
		{"-group staff -type d", "/home\n"},
		{"-name su -ls", "long /bin/su\n"},
		{"-name su -print0", "/bin/su\x00"},
		{"-name su -printf %M|%u|%g|%l|%H", "<4755>|root|root||/"},
		{"-user joe -name a* -printf %u:%g", "joe:staff"},
		{"-name sh -printf %l-%Y", "su-f"},
		{"-newer /bin/su -name ls", "/bin/ls\n"},
		{"-name nothing", ""},
		// The value of a list is that of its last part; find(1) 4.9 moves tests over the comma.
		{"-name su , -name ls", "/bin/ls\n"},
		{"-name su -print , -name ls", "/bin/su\n"},
		{"-path /bin -prune -o -type f -perm -4000 -print", ""},
		{"-name bin -print -quit", "/bin\n"},
	} {
		if got, err := run(t, image, "/", strings.Fields(c.words)...); err != nil || got != c.want && c.words != "-layer 1" {
			t.Errorf("%s: %q, %v", c.words, got, err)
		} else if c.words == "-layer 1" && !strings.Contains(got, "/top\n") {
			t.Errorf("%s: %q", c.words, got)
		}
	}
}

func TestRefused(t *testing.T) {
	image := imageOf(t)
	for words, kind := range map[string]errkind.Kind{
		"(": errkind.Invalid, ")": errkind.Invalid, "!": errkind.Invalid, "-name": errkind.Invalid, "-name a -o": errkind.Invalid, "( -name a": errkind.Invalid,
		"-o -name a": errkind.Invalid, "-name a )": errkind.Invalid, ", -name a": errkind.Invalid, "( )": errkind.Invalid,
		"-size x": errkind.Invalid, "-perm 9": errkind.Invalid, "-type q": errkind.Invalid, "-uid x": errkind.Invalid, "-uid 5000000000": errkind.Invalid, "-user nobody-here": errkind.Invalid,
		"-mtime x": errkind.Invalid, "-mtime --1": errkind.Invalid, "-maxdepth -1": errkind.Invalid, "-mindepth x": errkind.Invalid, "-regextype perl": errkind.Invalid, "-regex [": errkind.Invalid,
		"-newer soon": errkind.Invalid, "-newer /not/there": errkind.NotFound, "-printf %Q": errkind.Invalid, "-printf %": errkind.Invalid, "-printf %T": errkind.Invalid, "-printf %Tq": errkind.Invalid,
		"-printf %99999s": errkind.Invalid, "-exec": errkind.Unsupported, "-delete": errkind.Unsupported, "-atime 1": errkind.Unsupported,
		strings.Repeat("( ", 5000) + "-true" + strings.Repeat(" )", 5000): errkind.Invalid,
	} {
		if _, err := run(t, image, "/", strings.Fields(words)...); !errkind.Is(err, kind) {
			t.Errorf("%.60s: %v", words, err)
		}
	}
}

func TestSplit(t *testing.T) {
	valued := func(flag string) bool { return flag == "--creds" || flag == "-creds" }
	for _, c := range []struct{ args, words, rest string }{
		{"find img -name a", "-name a", "find img"},
		{"find -name a img", "-name a", "find img"},
		{"find --name=a=b img --type f", "-name a=b -type f", "find img"},
		{"find img ( -name a -o ! -name b ) , -print0", "( -name a -o ! -name b ) , -print0", "find img"},
		{"--creds ! find img -l", "", "--creds ! find img -l"},
		{"find img -name --creds", "-name --creds", "find img"},
		{"find -- -name img", "", "find -- -name img"},
		{"find img -name", "-name", "find img"},
		{"find img -nonsense x", "", "find img -nonsense x"},
	} {
		words, rest := Split(strings.Fields(c.args), valued)
		if !slices.Equal(words, strings.Fields(c.words)) || !slices.Equal(rest, strings.Fields(c.rest)) {
			t.Errorf("%s: %q and %q", c.args, words, rest)
		}
	}
}

// makeTree makes entries as a directory of this machine.
func makeTree(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to others")
	}
	dir := t.TempDir()
	tar := append(slices.Clone(entries()), tt.File("top", "1"))
	cmd := exec.CommandContext(t.Context(), "tar", "-xpf", "-", "-C", dir, "--numeric-owner", "--same-owner")
	cmd.Stdin = bytes.NewReader(tt.Of(tar...))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	return dir
}

// Random expressions find in the image what find(1) finds in a directory that was
// made of it.
func TestExpressionsOfTestsAgainstFind(t *testing.T) {
	find, err := exec.LookPath("find")
	if err != nil {
		t.Skip("no find(1) here")
	}
	dir, image := makeTree(t), imageOf(t)
	image.Now = time.Now()
	tests := []string{
		"-name s*", "-name *.so*", "-iname *.SO", "-path */er/*", "-type f", "-type d", "-type l,p", "( -type f -size +1k )", "( -type f -size -2k )", "( -type f -size 2 )", "( -type f -size 0 )", "( -type f -size +1000c )",
		"-perm 755", "-perm -4000", "-perm /077", "-perm -u=rwx,g=rx", "-perm /u+s", "-empty", "-uid 1000", "-uid +0", "-gid 50", "-uid -1000", "( -type f -links 2 )", "( -links +1 -type f )", "-lname s*", "-lname /*",
		"-mtime +100", "-mtime -1", "-newermt 2023-11-12", "-regex .*/s[uh]", "( -regextype posix-extended -regex .*/(su|ls)2? )", "-true", "-false", "( -name er -prune )", "( -path */deep -prune )",
	}
	rng := rand.New(rand.NewSource(3))
	var expr func(depth int) []string
	expr = func(depth int) []string {
		pick := strings.Fields(tests[rng.Intn(len(tests))])
		switch op := rng.Intn(6); {
		case depth == 0 || op == 0:
			return pick
		case op == 1:
			return append([]string{"!", "("}, append(expr(depth-1), ")")...)
		case op == 2:
			return append(append([]string{"("}, expr(depth-1)...), append([]string{"-o"}, append(expr(depth-1), ")")...)...)
		case op == 3:
			return append([]string{"-not"}, expr(0)...)
		case op == 4:
			return append(append(expr(depth-1), "-o"), expr(depth-1)...)
		}
		return append(expr(depth-1), expr(depth-1)...)
	}
	for range 200 {
		words := expr(2)
		if rng.Intn(4) == 0 {
			words = append([]string{[]string{"-maxdepth", "-mindepth"}[rng.Intn(2)], strconv.Itoa(rng.Intn(4))}, words...)
		}
		same(t, find, dir, image, words)
	}
}

// same holds that find(1) in dir and the expression in the image find the same. Those
// of find(1) are sorted: it goes through directories in no order.
func same(t *testing.T, find, dir string, image Image, words []string) {
	t.Helper()
	want := runIn(t, find, dir, words)
	got, err := run(t, image, "/", words...)
	if err != nil {
		t.Errorf("%q: %v", words, err)
		return
	}
	lines := strings.SplitAfter(got, "\n")
	slices.Sort(lines)
	lines = slices.DeleteFunc(lines, func(l string) bool { return l == "/\n" }) // of the root only the image says nothing
	if sorted := strings.Join(lines, ""); sorted != want {
		t.Errorf("%q finds\n%s\nand find(1)\n%s", words, sorted, want)
	}
}

// runIn runs find(1) on dir in a chroot-like way: the paths that it prints begin
// where the image's do.
func runIn(t *testing.T, find, dir string, words []string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), find, append([]string{"."}, words...)...)
	cmd.Dir, cmd.Env = dir, []string{"LC_ALL=C.UTF-8", "TZ=UTC"}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("find %q: %v", words, err)
	}
	var lines []string
	for line := range strings.Lines(string(out)) {
		line = strings.TrimPrefix(line, ".")
		if line != "\n" {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func TestFormatsAgainstFind(t *testing.T) {
	find, err := exec.LookPath("find")
	if err != nil {
		t.Skip("no find(1) here")
	}
	dir, image := makeTree(t), imageOf(t)
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(dir, "bin/su"), &st); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{
		`%f\n`, `%P\n`, `%d %s\n`, `%m %U %G %y\n`, `%l|%Y\n`, `[%10f] [%-10f] [%.2f] [%5s] [%05m]\n`, `%%\t\\\101\n`, `%T@\n`, `%TY-%Tm-%Td %TH:%TM:%TS\n`, `%t\n`, `%T+ %Tj %Ta %TA %Tb %TB %Te %TI %Tp %Ty\n`,
		`%TF %TT %TR %TD %Tk %Ts %Tu %Tw %TZ %Tz %Tc\n`, `%s\c%f\n`,
	} {
		words := []string{"-mindepth", "1", "-type", "f", "-name", "s*", "-printf", format}
		if format == `%l|%Y\n` {
			words = []string{"-mindepth", "1", "-type", "l", "-printf", format}
		}
		same(t, find, dir, image, words)
	}
}

// Expressions without an end or a sense are errors, never panics.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"-name a", "( -name a -o -type f ) , ! -empty", "-printf %10p\\n%T@", "-regex .*\\(a\\|b\\)", "-perm /u+s -size +1k"} {
		f.Add(s)
	}
	image := imageOf(f)
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := run(t, image, "/", strings.Fields(text)...); err != nil && !errkind.Is(err, errkind.Invalid) && !errkind.Is(err, errkind.Unsupported) && !errkind.Is(err, errkind.NotFound) {
			t.Errorf("%q: %v", text, err)
		}
	})
}

// No pattern takes longer than the product of the lengths, and none panics.
func TestAnyPattern(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.StringMatching(`[\[\]!^a*?\\:.=-]{0,12}`).Draw(t, "pattern")
		s := rapid.StringMatching(`[\[\]!^ab:.=\\-]{0,6}`).Draw(t, "name")
		got := compile(p, true, false).match(s)
		if !strings.ContainsAny(p, `[*?\`) && got != (p == s) {
			t.Fatalf("%q, %q: %v", p, s, got)
		}
	})
}
