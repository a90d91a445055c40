package smoke

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
)

// answers are what expectations are judged on: a small one, and one that is as
// large as answers may be.
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

// BenchmarkExpression is the judging of one answer: its JSON is parsed and the
// expectation evaluated.
func BenchmarkExpression(b *testing.B) {
	for _, a := range hotAnswers {
		if len(a.body) > fleet.MaxBody {
			b.Fatalf("%s: %d bytes", a.name, len(a.body))
		}
		b.Run(a.name, func(b *testing.B) {
			suite, err := Load("hot", []byte("checks:\n  - {name: hot, get: /, expect: '"+a.expect+"'}\n"))
			if err != nil {
				b.Fatal(err)
			}
			expect := suite.checks[0].steps[0].expect
			response := &fleet.Response{
				Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}},
				Body: []byte(a.body), Complete: true, Elapsed: time.Millisecond, Attempts: 1,
			}
			b.SetBytes(int64(len(a.body)))
			b.ReportAllocs()
			for b.Loop() {
				e := &evaluation{ctx: context.Background(), answer: &answer{response: response}}
				if f := expect.test(e); f != nil {
					b.Fatal(f.reason)
				}
			}
		})
	}
}
