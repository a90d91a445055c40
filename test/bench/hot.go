package main

import (
	"context"
	_ "embed"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// profiles is what profiles showed and what was changed, in words.
//
//go:embed profiles.md
var profiles string

// A hotPath is a Go benchmark, measured several times.
type hotPath struct {
	name   string
	times  samples
	bytes  int
	allocs int
}

// hotPackages are the packages whose benchmarks are shown, with what of them.
var hotPackages = []struct{ pkg, bench string }{
	{"./smoke", "^BenchmarkExpression$"},
	{"./fleet", "^BenchmarkDo$/^overhead$"},
	{"./test/bench", "."},
}

// measureHot is the sixth part: the benchmarks of hot paths.
func measureHot(ctx context.Context, b *bench) (*result, error) {
	count, benchtime := 5, "100ms"
	if b.short {
		count, benchtime = 1, "1x"
	}
	rows := [][]string{{"benchmark", "time", "memory", "allocations"}}
	for _, p := range hotPackages {
		b.log("benchmarks of %s", p.pkg)
		cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", p.bench, "-benchmem", "-benchtime", benchtime, "-count", strconv.Itoa(count), p.pkg)
		cmd.Dir = b.root
		text, err := cmd.CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("go test -bench %s %s: %w\n%s", p.bench, p.pkg, err, text)
		}
		for _, h := range parseBenchmarks(string(text)) {
			rows = append(rows, []string{"`" + h.name + "`", h.times.String(), thousands(h.bytes) + " B", thousands(h.allocs)})
		}
	}
	r := &result{}
	r.say("`go test -run '^$' -bench . -benchmem ./smoke ./fleet ./test/bench`, medians of %d.", count)
	r.table(rows)
	r.say("%s", profiles)
	return r, nil
}

// parseBenchmarks reads the lines of `go test -bench -benchmem`.
func parseBenchmarks(text string) []*hotPath {
	var paths []*hotPath
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			name = name[:i] // the number of processors
		}
		i := slices.IndexFunc(paths, func(h *hotPath) bool { return h.name == name })
		if i < 0 {
			i, paths = len(paths), append(paths, &hotPath{name: name})
		}
		for k := 2; k+1 < len(fields); k += 2 {
			v, err := strconv.ParseFloat(fields[k], 64)
			if err != nil {
				continue
			}
			switch fields[k+1] {
			case "ns/op":
				paths[i].times = append(paths[i].times, time.Duration(v))
			case "B/op":
				paths[i].bytes = int(v)
			case "allocs/op":
				paths[i].allocs = int(v)
			}
		}
	}
	return paths
}
