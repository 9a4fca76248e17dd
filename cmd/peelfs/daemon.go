package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/internal/errkind"
)

// A mount in the background is served by this program, started anew in a session
// of its own. The two processes talk over two pipes:
//
//	arguments  parent -> child  the command line, as JSON: credentials may be in it
//	                            that need not be seen in ps for as long as the mount lasts
//	ready      child -> parent  the mountpoint, as JSON, once the mount answers
//
// Until then the child writes its messages to the parent's stderr. If it ends
// without having been ready, it has said why, and the parent ends with its code. If
// the parent ends first, be it killed, the child gives up.

// daemonEnv marks the child.
const daemonEnv = "PEELFS_DAEMON"

// The child's ends of the pipes.
const (
	readyFD     = 3
	argumentsFD = 4
)

func isDaemon(env func(string) string) bool { return env(daemonEnv) != "" }

// readyMessage says that the mount answers.
type readyMessage struct {
	Mountpoint string `json:"mountpoint"`
}

// startDaemon starts the process that serves r and waits until it is ready.
func startDaemon(ctx context.Context, a *app, r mountRequest) (*readyMessage, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, errkind.New(errkind.Internal, "find this program: %w", err)
	}
	ready, readyChild, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ready.Close()
	argumentsChild, arguments, err := os.Pipe()
	if err != nil {
		readyChild.Close()
		return nil, err
	}
	cmd := exec.Command(self) // not bound to ctx: it outlives this process
	cmd.Args = []string{"peelfs", "mount", r.ref, r.dir}
	cmd.Env = append(os.Environ(), daemonEnv+"=1")
	cmd.Stderr = a.console.Err
	cmd.ExtraFiles = []*os.File{readyChild, argumentsChild}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// What the caller's shell left open here, the pipe of its pipeline perhaps, is
	// not for the mount to keep. An old kernel without the call keeps it.
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	err = cmd.Start()
	readyChild.Close()
	argumentsChild.Close()
	if err != nil {
		arguments.Close()
		return nil, errkind.New(errkind.Internal, "start the mount's process: %w", err)
	}
	// Ctrl-C does not reach a process in a session of its own: hand it on.
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(os.Interrupt) })
	defer stop()
	err = errors.Join(json.NewEncoder(arguments).Encode(a.args), arguments.Close())
	msg := &readyMessage{}
	if err != nil || json.NewDecoder(ready).Decode(msg) != nil {
		return nil, ended(ctx, cmd.Wait())
	}
	return msg, cmd.Process.Release()
}

// ended is the error of a child that was never ready. One that a signal to stop ended
// before it listened was interrupted.
func ended(ctx context.Context, err error) error {
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.Exited():
		return &exitError{exit.ExitCode()}
	case ctx.Err() != nil:
		return errkind.New(errkind.Canceled, "interrupted")
	}
	return errkind.New(errkind.Internal, "the mount's process ended: %v", err)
}

// daemon is the child's side.
type daemon struct {
	ready    *os.File
	log      string      // where stderr goes once the parent is gone
	detached atomic.Bool // the parent may go
}

// watchParent ends this process, as a signal does, if nobody waits for it to be
// ready any more.
func (d *daemon) watchParent() error {
	pipe, err := unix.FcntlInt(d.ready.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	go func() {
		defer unix.Close(pipe)
		end := []unix.PollFd{{Fd: int32(pipe)}} // an error when the other end is closed
		for {
			if n, err := unix.Poll(end, -1); n > 0 || err != unix.EINTR {
				break
			}
		}
		if !d.detached.Load() {
			_ = unix.Kill(os.Getpid(), unix.SIGTERM)
		}
	}()
	return nil
}

// daemonMain is what the child runs instead of its own command line.
func daemonMain(a *app) int {
	os.Unsetenv(daemonEnv)
	unix.CloseOnExec(readyFD)
	unix.CloseOnExec(argumentsFD)
	a.daemon = &daemon{ready: os.NewFile(readyFD, "ready")}
	if err := a.daemon.watchParent(); err != nil {
		fmt.Fprintf(a.console.Err, "peelfs: the command that waits for the mount is not watched: %v\n", err)
	}
	pipe := os.NewFile(argumentsFD, "arguments")
	var args []string
	err := json.NewDecoder(pipe).Decode(&args)
	pipe.Close()
	if err != nil {
		fmt.Fprintf(a.console.Err, "peelfs: %s is for the program's own use: %v\n", daemonEnv, err)
		return errkind.Invalid.ExitCode()
	}
	return a.run(args)
}

// detach tells the parent that the mount answers and lets go of everything that
// was its: the streams and the working directory. Messages go to the log file
// from here on, those of a crash too.
func (d *daemon) detach(mountpoint string) error {
	log, err := os.OpenFile(d.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return errkind.New(errkind.LocalFull, "log of the mount: %w", err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	d.detached.Store(true)
	err = json.NewEncoder(d.ready).Encode(readyMessage{mountpoint})
	err = errors.Join(err, d.ready.Close(), os.Chdir("/"),
		unix.Dup3(int(null.Fd()), 0, 0), unix.Dup3(int(null.Fd()), 1, 0), unix.Dup3(int(log.Fd()), 2, 0))
	return errors.Join(err, null.Close(), log.Close())
}
