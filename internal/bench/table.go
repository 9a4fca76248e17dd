package main

import (
	"fmt"
	"io"
	"time"
)

// A row is one line of the result.
type row struct {
	work   string
	ours   string
	peer   string // name and figure of what it is compared with; may be empty
	ratio  string
	target string // what docs/performance.md asks for; may be empty
	met    verdict
}

type verdict string

const (
	open   verdict = ""
	met    verdict = "yes"
	missed verdict = "NO"
)

func judge(ok bool) verdict {
	if ok {
		return met
	}
	return missed
}

type table struct {
	rows []row
	out  io.Writer // each row as it comes, for who waits
}

func (t *table) add(r row) {
	t.rows = append(t.rows, r)
	fmt.Fprintf(t.out, "  %s: %s; %s %s; target %s %s\n", r.work, r.ours, r.peer, r.ratio, r.target, r.met)
}

// compare adds durations side by side. limit is the highest good ratio.
func (t *table) compare(work string, ours time.Duration, peer string, theirs time.Duration, limit float64) {
	ratio := float64(ours) / float64(theirs)
	r := row{
		work:  work,
		ours:  seconds(ours),
		peer:  peer + " " + seconds(theirs),
		ratio: fmt.Sprintf("%.2f", ratio),
	}
	if limit > 0 {
		r.target, r.met = fmt.Sprintf("<= %.2f x", limit), judge(ratio <= limit)
	}
	t.add(r)
}

// within adds a duration that has a limit of its own.
func (t *table) within(work string, ours, limit time.Duration) {
	t.add(row{work: work, ours: seconds(ours), target: "<= " + seconds(limit), met: judge(ours <= limit)})
}

// note adds a figure without a judgement.
func (t *table) note(work, figure string) { t.add(row{work: work, ours: figure}) }

// print writes all rows as one Markdown table.
func (t *table) print(w io.Writer) error {
	header := row{"work", "peelfs", "beside", "ratio", "to reach", "reached"}
	lines := append([]row{header}, t.rows...)
	var width [6]int
	for _, r := range lines {
		for i, cell := range r.cells() {
			width[i] = max(width[i], len(cell))
		}
	}
	for n, r := range lines {
		for i, cell := range r.cells() {
			fmt.Fprintf(w, "| %-*s ", width[i], cell)
		}
		fmt.Fprintln(w, "|")
		if n > 0 {
			continue
		}
		for i := range width {
			fmt.Fprintf(w, "|%s", dashes(width[i]+2))
		}
		fmt.Fprintln(w, "|")
	}
	return nil
}

func (r row) cells() [6]string {
	return [6]string{r.work, r.ours, r.peer, r.ratio, r.target, string(r.met)}
}

func dashes(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = '-'
	}
	return string(b)
}

func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

func speed(n int64, d time.Duration) string {
	return fmt.Sprintf("%.2f GB/s", float64(n)/d.Seconds()/1e9)
}
