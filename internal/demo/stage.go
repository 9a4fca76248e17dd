package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"
)

// stage is where the demo plays: a temporary folder that holds the cache and
// the mountpoints, and the commands shown as they would be typed there.
type stage struct {
	dir    string
	env    []string
	reg    *registry
	out    io.Writer
	bright bool
	seen   int // lines of the registry's log already told
	failed error
}

// newStage makes the folder and an environment in which peelfs is the one given
// and its cache a new one.
func newStage(peelfs string, reg *registry, out *os.File) (*stage, error) {
	peelfs, err := filepath.Abs(peelfs)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "peelfs-demo-")
	if err != nil {
		return nil, err
	}
	s := &stage{dir: dir, reg: reg, out: out}
	s.bright = term.IsTerminal(int(out.Fd())) && os.Getenv("NO_COLOR") == ""
	s.env = append(os.Environ(),
		"PATH="+filepath.Dir(peelfs)+":"+os.Getenv("PATH"),
		"PEELFS_CACHE="+filepath.Join(dir, "cache"),
		"PEELFS_RUNTIME="+filepath.Join(dir, "run"), // or `peelfs mounts` lists others as well
		"PWD="+dir)
	return s, nil
}

// say prints narration.
func (s *stage) say(format string, args ...any) {
	fmt.Fprintf(s.out, "\n"+format+"\n", args...)
}

// run shows command as typed, lets the shell run it, and tells what it cost.
// After a failure nothing more runs: a demo that goes on is a riddle.
func (s *stage) run(ctx context.Context, command string) {
	if s.failed != nil {
		return
	}
	fmt.Fprintln(s.out, s.style("1", "$ "+command))
	started := time.Now()
	cmd := s.command(ctx, command)
	cmd.Stdout, cmd.Stderr = s.out, s.out
	err := cmd.Run()
	fmt.Fprintln(s.out, s.style("2", "# "+duration(time.Since(started))+"; "+s.cost()))
	if err != nil {
		s.failed = fmt.Errorf("%s: %w", command, err)
	}
}

func (s *stage) command(ctx context.Context, command string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Dir, cmd.Env = s.dir, s.env
	cmd.WaitDelay = time.Second
	return cmd
}

// cost says what the registry was asked for since the last call.
func (s *stage) cost() string {
	answers, mark := s.reg.since(s.seen)
	s.seen = mark
	if len(answers) == 0 {
		return "the registry was asked for nothing"
	}
	const most = 4
	sums := summarize(answers)
	var words []string
	for _, a := range sums[:min(most, len(sums))] {
		words = append(words, a.String())
	}
	if len(sums) > most {
		words = append(words, fmt.Sprintf("and %d more", len(sums)-most))
	}
	return "the registry saw: " + strings.Join(words, "; ")
}

// summarize puts the answers for one thing together: a large layer comes in
// several pieces at once.
func summarize(answers []answer) []answer {
	var sums []answer
	for _, a := range answers {
		i := slices.IndexFunc(sums, func(s answer) bool { return s.method == a.method && s.label == a.label })
		if i < 0 {
			a.pieces = 1
			sums = append(sums, a)
			continue
		}
		sums[i].bytes += a.bytes
		sums[i].pieces++
	}
	return sums
}

// fetched is how many bytes the registry has sent so far.
func (s *stage) fetched() (total int64) {
	answers, _ := s.reg.since(0)
	for _, a := range answers {
		total += a.bytes
	}
	return total
}

func (s *stage) style(code, text string) string {
	if !s.bright {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// leave unmounts what is still mounted and removes the folder.
func (s *stage) leave(ctx context.Context, mountpoints ...string) error {
	for _, m := range mountpoints {
		if mounted(filepath.Join(s.dir, m)) {
			_ = s.command(ctx, "peelfs umount "+m).Run()
		}
		if mounted(filepath.Join(s.dir, m)) {
			return fmt.Errorf("%s is still mounted; unmount it, then remove %s", m, s.dir)
		}
	}
	return os.RemoveAll(s.dir)
}

// mounted looks dir up among this process's mounts.
func mounted(dir string) bool {
	table, err := os.ReadFile("/proc/self/mounts")
	return err == nil && strings.Contains(string(table), " "+dir+" ")
}

func duration(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
