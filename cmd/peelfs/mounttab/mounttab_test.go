package mounttab

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/userns"
)

// The test binary is also a process that holds a record.
func TestMain(m *testing.M) {
	if dir := os.Getenv("MOUNTTAB_TEST_DIR"); dir != "" {
		hold(dir)
		return
	}
	os.Exit(m.Run())
}

func hold(dir string) {
	t, err := Open(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := t.Add(record("/mnt/child", os.Getpid())); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("held")
	bufio.NewReader(os.Stdin).ReadString('\n')
}

func record(dir string, pid int) Mount {
	return Mount{Mountpoint: dir, Reference: "r/a:1", Digest: "sha256:x", PID: pid, Since: time.Unix(int64(pid), 0).UTC()}
}

func open(t *testing.T) *Table {
	t.Helper()
	table, err := Open(filepath.Join(t.TempDir(), "run"))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func list(t *testing.T, table *Table) []Entry {
	t.Helper()
	entries, err := table.List()
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func TestRecordLivesWithItsLease(t *testing.T) {
	table := open(t)
	b, err := table.Add(record("/mnt/b", 2))
	if err != nil {
		t.Fatal(err)
	}
	a, err := table.Add(record("/mnt/a", 3))
	if err != nil {
		t.Fatal(err)
	}
	got := list(t, table)
	if len(got) != 2 || got[0].Mountpoint != "/mnt/a" || !got[0].Alive || !got[1].Alive {
		t.Fatalf("%+v", got)
	}
	if err := table.Forget(got[0]); err != nil {
		t.Fatal(err)
	}
	if got := list(t, table); len(got) != 2 {
		t.Fatal("a living record was forgotten")
	}
	if err := a.Release(); err != nil {
		t.Fatal(err)
	}
	if err := table.WaitGone(t.Context(), got[0]); err != nil {
		t.Error(err)
	}
	if got := list(t, table); len(got) != 1 || got[0].Mountpoint != "/mnt/b" {
		t.Errorf("%+v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := table.WaitGone(ctx, got[1]); !errkind.Is(err, errkind.Canceled) {
		t.Errorf("%v", err)
	}
	b.Release()
}

func TestKilledProcessLeavesADeadRecord(t *testing.T) {
	table := open(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "MOUNTTAB_TEST_DIR="+table.dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.StdinPipe(); err != nil { // held open: the child waits
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("child said %q", line)
	}
	if e, ok, err := table.At("/mnt/child"); err != nil || !ok || !e.Alive || e.PID != cmd.Process.Pid {
		t.Errorf("%+v, %v, %v", e, ok, err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	e, ok, err := table.At("/mnt/child")
	if err != nil || !ok || e.Alive {
		t.Fatalf("%+v, %v, %v", e, ok, err)
	}
	if err := table.Forget(e); err != nil {
		t.Fatal(err)
	}
	if got := list(t, table); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

// A process number that came around again has a record of its own.
func TestForgetLeavesTheSuccessor(t *testing.T) {
	table := open(t)
	dead, err := table.Add(record("/mnt/a", 7))
	if err != nil {
		t.Fatal(err)
	}
	dead.f.Close() // as if killed
	old := list(t, table)[0]
	next, err := table.Add(record("/mnt/b", 7))
	if err != nil {
		t.Fatal(err)
	}
	defer next.Release()
	if err := table.Forget(old); err != nil {
		t.Fatal(err)
	}
	if got := list(t, table); len(got) != 1 || got[0].Mountpoint != "/mnt/b" {
		t.Errorf("%+v", got)
	}
}

func TestDamagedRecordsAreLeftOut(t *testing.T) {
	table := open(t)
	for name, text := range map[string]string{"1.json": "{", "2.json": "", ".new-3": "{}", "4.log": "{}"} {
		if err := os.WriteFile(filepath.Join(table.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := list(t, table); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestForeignDirectoryIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); !errkind.Is(err, errkind.LocalFull) {
		t.Errorf("%v", err)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can give a directory away")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); !errkind.Is(err, errkind.LocalFull) {
		t.Errorf("%v", err)
	}
}

func TestDirs(t *testing.T) {
	tmp, mine := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", tmp)
	user := strconv.Itoa(userns.Outside(os.Geteuid()))
	temporary, elsewhere := filepath.Join(tmp, "peelfs-"+user), filepath.Join("/run/user", user, "peelfs")
	system := []string{}
	if userns.OwnsSystem(systemDir) {
		system = append(system, systemDir)
	}
	for _, c := range []struct {
		env  map[string]string
		want []string
	}{
		{map[string]string{"PEELFS_RUNTIME": "/x", "XDG_RUNTIME_DIR": mine}, []string{"/x"}},
		{map[string]string{"XDG_RUNTIME_DIR": mine}, append(system, filepath.Join(mine, "peelfs"), temporary, elsewhere)},
		{map[string]string{"XDG_RUNTIME_DIR": "/no/such"}, append(system, temporary, elsewhere)},
		{map[string]string{"XDG_RUNTIME_DIR": "relative"}, append(system, temporary, elsewhere)},
		{nil, append(system, temporary, elsewhere)},
	} {
		if got := Dirs(func(k string) string { return c.env[k] }); !slices.Equal(got, c.want) {
			t.Errorf("%+v: %q, want %q", c.env, got, c.want)
		}
	}
}

// A record of one session is found by another one that prefers another directory; and
// a directory that cannot be used does not keep one from the next.
func TestRecordsOfAnotherSession(t *testing.T) {
	file, a, b := filepath.Join(t.TempDir(), "file"), filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	one, err := OpenFirst([]string{file, a, b})
	if err != nil {
		t.Fatal(err)
	}
	lease, err := one.Add(Mount{Mountpoint: "/m", PID: os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	two, err := OpenFirst([]string{b, a})
	if err != nil {
		t.Fatal(err)
	}
	for name, table := range map[string]*Table{"opened": two, "looked into": Look([]string{b, file, "/no/such", a})} {
		if got := list(t, table); len(got) != 1 || got[0].Mountpoint != "/m" || !got[0].Alive {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if err := lease.Release(); err != nil {
		t.Fatal(err)
	}
	if got := list(t, two); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	if _, err := OpenFirst([]string{file}); !errkind.Is(err, errkind.LocalFull) {
		t.Errorf("%v", err)
	}
}
