package summary

import (
	"cmp"
	"fmt"
	"strings"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// How many failures and errors are shown, and tenants of each.
const (
	maxBlocks = 100
	maxNames  = 20
)

// A block is one cause of failed or errored checks, with all that is known of
// it. Tenants that gave the same answer share one.
type block struct {
	mark, word string // "❌" and "failed", or "⚠️" and "error"
	shade      shade
	where      phrase // tenant or number of tenants, and check
	lines      []blockLine
	reproduce  string // command line
}

type blockLine struct{ label, text string }

// causes are what failed first, then what ended in an error, at most maxBlocks of
// them, and how many there are besides. Tenants that were not at the commit have
// a table of their own.
func causes(r *report.Report) (list []*report.Cause, left int) {
	for i := range r.Causes {
		switch c := &r.Causes[i]; {
		case c.Check == "" || len(c.Tenants) == 0:
		case len(list) == maxBlocks:
			left++
		default:
			list = append(list, c)
		}
	}
	return list, left
}

func newBlock(r *report.Report, c *report.Cause) block {
	b := block{mark: "❌", word: "failed", shade: shadeBad, reproduce: clean(c.Reproduce, maxValue)}
	if c.Result != report.Failed {
		b.mark, b.word, b.shade = "⚠️", "error", shadeDoubt
	}
	add := func(label, text string) {
		if text != "" {
			b.lines = append(b.lines, blockLine{label, clean(text, maxValue)})
		}
	}
	if n := len(c.Tenants); n > 1 {
		b.where = phrase{ours("%s: ", report.Count(n, "tenant")), name(c.Check)}
		names := strings.Join(c.Tenants[:min(n, maxNames)], ", ")
		if n > maxNames {
			names += fmt.Sprintf(" and %s more", report.Thousands(n-maxNames))
		}
		add("what", c.What)
		add("tenants", names)
		add("example", c.Tenants[0])
	} else {
		b.where = phrase{name(c.Tenants[0]), ours(": "), name(c.Check)}
	}
	example := exampleOf(r, c)
	add("why", cmp.Or(c.Detail, c.What))
	add("expected", example.Expected)
	add("got", example.Got)
	add("hint", c.Hint)
	if example.Attempts > 0 {
		add("attempts", fmt.Sprintf("%d, %s", example.Attempts, example.Duration))
	}
	return b
}

// exampleOf is the check on the first of the cause's tenants; empty: the report
// has no such check.
func exampleOf(r *report.Report, c *report.Cause) report.CheckResult {
	for i := range r.Tenants {
		if t := &r.Tenants[i]; t.Name == c.Tenants[0] {
			if found := find(t, c.Check); found != nil && found.Result == c.Result {
				return *found
			}
		}
	}
	return report.CheckResult{}
}
