// Package peers drives the programs of other people that peelfs is tested and
// measured beside: Debian's docker-registry, podman with its own storage on the
// kernel's overlayfs, and buildah and mmdebstrap, which make images.
//
// It is for tests and benches, on a machine whose root they may be. Everything
// it starts has an owner whose Close ends it and removes what it left.
package peers

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Run runs a command and returns its stdout. The error of a command that fails
// holds what it wrote to stderr. env nil means this process's environment.
func Run(ctx context.Context, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = env
	return Finish(cmd)
}

// Finish runs a command that is ready to start, as Run does.
func Finish(cmd *exec.Cmd) (string, error) {
	var out, diag bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diag
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(diag.String()))
	}
	return out.String(), nil
}

// ShareFUSE gives /dev/fuse to all users, as udev does everywhere, where a bare
// machine has it for root alone. restore undoes it; it may be called once.
func ShareFUSE() (restore func() error, err error) {
	const device, everybody = "/dev/fuse", 0o666
	info, err := os.Stat(device)
	if err != nil {
		return nil, err
	}
	was := info.Mode().Perm()
	if was&everybody == everybody {
		return func() error { return nil }, nil
	}
	return func() error { return os.Chmod(device, was) }, os.Chmod(device, everybody)
}

// freePort is an address of loopback on which nobody listened a moment ago.
func freePort() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}
