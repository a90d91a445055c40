package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// A result is what one part found.
type result struct {
	Measured string `json:"measured"` // when, on what
	Bars     []bar  `json:"bars"`
	Body     string `json:"body"` // Markdown
}

// A bar is a figure to hold.
type bar struct {
	What     string `json:"what"`
	Bar      string `json:"bar"`
	Measured string `json:"measured"`
	Holds    bool   `json:"holds"`
}

// hold adds a bar.
func (r *result) hold(what, limit, measured string, holds bool) {
	r.Bars = append(r.Bars, bar{what, limit, measured, holds})
}

// say adds a paragraph.
func (r *result) say(format string, args ...any) {
	r.Body += strings.TrimSpace(fmt.Sprintf(format, args...)) + "\n\n"
}

// table adds a table; the first row is its head.
func (r *result) table(rows [][]string) {
	for i, row := range rows {
		r.Body += "| " + strings.Join(row, " | ") + " |\n"
		if i == 0 {
			r.Body += strings.Repeat("|---", len(row)) + "|\n"
		}
	}
	r.Body += "\n"
}

// text is the result on a terminal.
func (r *result) text() string {
	var b strings.Builder
	for _, bar := range r.Bars {
		fmt.Fprintf(&b, "%-5s %s: %s (bar: %s)\n", yes(bar.Holds), bar.What, bar.Measured, bar.Bar)
	}
	return b.String() + "\n" + r.Body
}

func yes(holds bool) string {
	if holds {
		return "yes"
	}
	return "no"
}

// keep stores a part's result and renders the document of all that are stored.
func (b *bench) keep(p part, r *result) error {
	r.Measured = fmt.Sprintf("%s on %s", time.Now().UTC().Format("2006-01-02"), machine())
	store := filepath.Join(b.root, "test", "bench", "results.json")
	all := map[string]*result{}
	if data, err := os.ReadFile(store); err == nil {
		if err := json.Unmarshal(data, &all); err != nil {
			return fmt.Errorf("%s: %w; delete it and measure all parts", store, err)
		}
	}
	all[p.name] = r
	data, err := json.MarshalIndent(all, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(store, append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.root, "docs", "performance.md"), []byte(document(all)), 0o644)
}

// document is docs/performance.md.
func document(all map[string]*result) string {
	var b strings.Builder
	b.WriteString(preface)
	b.WriteString("| what | bar | measured | met |\n|---|---|---|---|\n")
	for _, p := range parts {
		if r := all[p.name]; r != nil {
			for _, x := range r.Bars {
				fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", x.What, x.Bar, x.Measured, yes(x.Holds))
			}
		}
	}
	for _, p := range parts {
		if r := all[p.name]; r != nil {
			fmt.Fprintf(&b, "\n## %s\n\nMeasured %s.\n\n%s\n", p.title, r.Measured, strings.TrimSpace(r.Body))
		}
	}
	return b.String()
}

const preface = `# Performance

Written by ` + "`go run ./test/bench`" + `, which anyone can run; ` + "`-parts`" + ` measures some parts anew, ` + "`-short`" + ` runs each once and writes nothing. Everything is measured against simulated tenants and registries on loopback, in a process of their own, that answer after a given time. That time is all the distance there is: setting up a connection costs no round trip here, which favours the incumbent, who sets up one for each request.

Contenders run in turn, and the medians of all rounds are compared; ranges in parentheses are from the least to the greatest. Absolute times are for orientation.

`

// machine describes where this runs.
func machine() string {
	cpu := runtime.GOARCH
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, after, found := strings.Cut(string(data), "model name\t: "); found {
			cpu, _, _ = strings.Cut(after, "\n")
		}
	}
	memory := ""
	if data, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kib int64
		if _, err := fmt.Sscanf(string(data), "MemTotal: %d", &kib); err == nil {
			memory = fmt.Sprintf(", %d GiB", (kib+1<<19)>>20)
		}
	}
	kernel := runtime.GOOS
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		number, _, _ := strings.Cut(strings.TrimSpace(string(release)), "-")
		kernel += " " + number
	}
	return fmt.Sprintf("%d × %s%s, %s, %s", runtime.NumCPU(), strings.TrimSpace(cpu), memory, kernel, runtime.Version())
}

// version returns the first line that a program prints about itself.
func version(ctx context.Context, name string, args ...string) string {
	text, err := output(ctx, name, args...)
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(text, "\n")
	return line
}
