package smoke

import (
	"fmt"
	"strings"
	"testing"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/expr"
)

// hotAnswers are a small one, and one that is as large as answers may be.
var hotAnswers = []struct{ name, expect, body string }{
	{"map", "status == 200 && is_map(json.subsystems) && len(json.subsystems) > 0", `{"subsystems":{"scheduler":{"last_tick_at":"2026-04-01T12:00:00Z","seconds_ago":3}}}`},
	{"array_1MiB", `status == 200 && is_array(json) && any(json, .id == "mem-9000")`, hotArray(9001)},
}

// hotArray is an array of n memories, of about 115 bytes each.
func hotArray(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `%c{"id":"mem-%d","scope":"LOCAL","namespace":"canary-smoke","content":"canary smoke abcdefghijklmnop","rank":%d}`, "[,"[min(i, 1)], i, i)
	}
	return b.String() + "]"
}

// BenchmarkAnswer is what one answer costs: its JSON is parsed and the
// expectation evaluated.
func BenchmarkAnswer(b *testing.B) {
	for _, h := range hotAnswers {
		b.Run(h.name, func(b *testing.B) {
			x, errs := expr.CompileCondition(h.expect)
			if len(errs) > 0 {
				b.Fatal(errs)
			}
			response := jsonResponse(h.body)
			b.SetBytes(int64(len(h.body)))
			for b.Loop() {
				if clause, err := expr.NewEvaluation(&answer{response: response}).Within(b.Context()).Unmet(x); clause != nil {
					b.Fatal(clause, err)
				}
			}
		})
	}
}
