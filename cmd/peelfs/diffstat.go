package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/peelfs/peelfs/layers/query"
)

// diffStats adds changes up by the directory below the one that is compared.
type diffStats struct {
	rows map[string]*diffStat
}

// diffStat has the keys of `peelfs diff --stat --format json`.
type diffStat struct {
	Directory string `json:"directory"`
	Added     int    `json:"added"`
	Removed   int    `json:"removed"`
	Changed   int    `json:"changed"`
	Bytes     int64  `json:"bytes"` // that files have more in the second image
}

// count takes one change into account.
func (p *printer) count(_ context.Context, c query.Change) error {
	rest := strings.TrimPrefix(strings.TrimPrefix(c.Path(), strings.TrimSuffix(p.root, "/")), "/")
	name, _, inside := strings.Cut(rest, "/")
	dir := strings.TrimSuffix(p.root, "/") + "/" + name
	isDir := c.Old != nil && c.Old.IsDir() || c.New != nil && c.New.IsDir()
	if !inside && !isDir || name == "" {
		dir = p.root // files of the directory itself go together
	}
	if p.stats.rows == nil {
		p.stats.rows = map[string]*diffStat{}
	}
	row := p.stats.rows[dir]
	if row == nil {
		row = &diffStat{Directory: dir}
		p.stats.rows[dir] = row
	}
	switch {
	case c.Old == nil:
		row.Added++
	case c.New == nil:
		row.Removed++
	default:
		row.Changed++
	}
	row.Bytes += bytesOf(c.New) - bytesOf(c.Old)
	return nil
}

// statistics writes the sums.
func (p *printer) statistics(inJSON bool) error {
	all := []diffStat{}
	total := diffStat{Directory: "all"}
	for _, dir := range sortedKeys(p.stats.rows) {
		row := *p.stats.rows[dir]
		all = append(all, row)
		total.Added += row.Added
		total.Removed += row.Removed
		total.Changed += row.Changed
		total.Bytes += row.Bytes
	}
	if inJSON {
		return p.JSON(all)
	}
	if len(all) == 0 {
		return nil
	}
	rows := [][]string{{"DIRECTORY", "ADDED", "REMOVED", "CHANGED", "BYTES"}}
	for _, r := range slices.Concat(all, []diffStat{total}) {
		rows = append(rows, []string{r.Directory, fmt.Sprint(r.Added), fmt.Sprint(r.Removed), fmt.Sprint(r.Changed), plusSize(r.Bytes)})
	}
	p.Table(rows, 1, 2, 3, 4)
	return nil
}

// plusSize is a difference of sizes.
func plusSize(n int64) string {
	switch {
	case n > 0:
		return "+" + sizes(true)(n)
	case n < 0:
		return "-" + sizes(true)(-n)
	}
	return "0"
}
