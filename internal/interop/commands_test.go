//go:build interop

package interop

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// useEveryCommand does to a mounted Debian what people do to a directory, and
// holds the copies against the mount.
func useEveryCommand(t *testing.T, mnt string) {
	ours, _ := dump(t, mnt)
	for _, c := range []struct {
		name string
		args []string
	}{
		{"cp", []string{"-a", mnt + "/.", "COPY"}},
		{"rsync", []string{"-aHAX", "--numeric-ids", mnt + "/", "COPY/"}},
		{"sh", []string{"-c", `tar --xattrs --xattrs-include='*' --numeric-owner -C "$0" -cf - . | tar --xattrs --xattrs-include='*' --numeric-owner -C "$1" -xpf -`, mnt, "COPY"}},
	} {
		t.Run(strings.Join(append([]string{c.name}, c.args[0]), " "), func(t *testing.T) {
			copied := filepath.Join(t.TempDir(), "copy")
			if err := os.Mkdir(copied, 0o755); err != nil {
				t.Fatal(err)
			}
			args := make([]string, len(c.args))
			for i, a := range c.args {
				args[i] = strings.Replace(a, "COPY", copied, 1)
			}
			must(t, c.name, args...)
			theirs, _ := dump(t, copied)
			compare(t, "the copy", ours, theirs, nil)
			must(t, "diff", "-r", "--no-dereference", mnt+"/etc", copied+"/etc")
		})
	}
	t.Run("grep -r", func(t *testing.T) {
		got := must(t, "grep", "-rl", "^root:x:0:0:", mnt+"/etc")
		if !strings.Contains(got, mnt+"/etc/passwd\n") {
			t.Errorf("grep found %q", got)
		}
	})
	t.Run("find", func(t *testing.T) {
		if n := strings.Count(must(t, "find", mnt), "\n"); n < len(ours) {
			t.Errorf("find printed %d lines for %d objects", n, len(ours))
		}
	})
	t.Run("tar", func(t *testing.T) { tarIsWhole(t, mnt) })
	t.Run("mmap", func(t *testing.T) { mmapIsRead(t, filepath.Join(mnt, "usr/bin/perl")) })
	t.Run("exec", func(t *testing.T) {
		loader := must(t, "sh", "-c", "ls "+mnt+"/lib64/ld-linux-*.so.* "+mnt+"/lib/ld-linux-*.so.* 2>/dev/null | head -1")
		out := must(t, strings.TrimSpace(loader), "--library-path", mnt+"/usr/lib/x86_64-linux-gnu:"+mnt+"/usr/lib/aarch64-linux-gnu",
			mnt+"/usr/bin/echo", "from the mount")
		if out != "from the mount\n" {
			t.Errorf("echo said %q", out)
		}
	})
	t.Run("writes", func(t *testing.T) { refusesWrites(t, mnt) })
}

// tarIsWhole reads what tar(1) makes of the mount with another reader of tars.
func tarIsWhole(t *testing.T, mnt string) {
	cmd := exec.CommandContext(t.Context(), "tar", "-C", mnt, "-cf", "-", "usr")
	var diag bytes.Buffer
	cmd.Stderr = &diag
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(pipe); ; {
		_, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	_, _ = io.Copy(io.Discard, pipe) // the padding behind the end
	if err := cmd.Wait(); err != nil || diag.Len() > 0 {
		t.Errorf("tar: %v %s", err, diag.String())
	}
}

// mmapIsRead compares a mapping of a program with its content as read(2) gives it.
func mmapIsRead(t *testing.T, path string) {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	content, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	mapped, err := unix.Mmap(int(f.Fd()), 0, len(content), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mapped)
	if !bytes.Equal(mapped, content) {
		t.Error("mmap and read differ")
	}
}

func refusesWrites(t *testing.T, mnt string) {
	for what, err := range map[string]error{
		"create": os.WriteFile(mnt+"/new", nil, 0o644),
		"append": appendTo(mnt + "/etc/passwd"),
		"mkdir":  os.Mkdir(mnt+"/newdir", 0o755),
		"remove": os.Remove(mnt + "/etc/passwd"),
		"chmod":  os.Chmod(mnt+"/etc/passwd", 0o600),
	} {
		if !errors.Is(err, unix.EROFS) {
			t.Errorf("%s: %v, want %v", what, err, unix.EROFS)
		}
	}
}

func appendTo(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	return f.Close()
}
