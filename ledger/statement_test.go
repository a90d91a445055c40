package ledger

import (
	"bytes"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	vsa "github.com/in-toto/attestation/go/predicates/vsa/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestStatementGolden(t *testing.T) {
	for name, r := range map[string]*Record{"statement.json": sample(), "statement-rollback.json": rollback()} {
		got, err := statementOf(r)
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile("testdata/"+name, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want := read(t, name); string(got) != want {
			t.Errorf("%s: got\n%s\nwant\n%s\n(rewrite with -update)", name, got, want)
		}
	}
}

// events are one valid record of every event.
func events() map[string]*Record {
	all := map[string]*Record{}
	goes := func(e report.Event) *Record { r := sample(); r.Event = e; return r }
	for _, e := range []report.Event{report.EventVerified, report.EventPromoted, report.EventConfirmed, report.EventUndone, report.EventBegun} {
		all[string(e)] = goes(e)
	}
	absent := goes(report.EventBegun)
	absent.Go = &Go{Live: []Live{}}
	all["begun, target absent"] = absent
	stops := func(e report.Event, s *Stop) *Record { r := rollback(); r.Event, r.Stop = e, s; return r }
	all["held"] = stops(report.EventHeld, &Stop{Held: &Hold{By: "ada", At: noon}})
	all["released"] = stops(report.EventReleased, &Stop{Goal: dig("b"), GoalSeq: 9})
	all["begun, stop"] = stops(report.EventBegun, &Stop{})
	all["rolled-back"] = rollback()
	all["rejected, head"] = stops(report.EventRejected, rollback().Stop)
	all["rejected"] = stops(report.EventRejected, nil)
	return all
}

func TestRecordsComeBack(t *testing.T) {
	for name, r := range events() {
		t.Run(name, func(t *testing.T) {
			b, err := statementOf(r)
			if err != nil {
				t.Fatal(err)
			}
			got, err := parseStatement(b)
			if err != nil {
				t.Fatal(err)
			}
			want := *r
			if resultOf(r.Event) == "" { // only a summary has a policy
				want.SuiteHash = ""
			}
			if !reflect.DeepEqual(*got, want) {
				t.Errorf("got\n%+v\nwant\n%+v", *got, want)
			}
		})
	}
}

// TestOnlyAGreenVerifyIsPassed holds that no other event can be read as PASSED by
// tools that know nothing of this gate.
func TestOnlyAGreenVerifyIsPassed(t *testing.T) {
	for name, r := range events() {
		b, err := statementOf(r)
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(b, []byte("PASSED")); got != (r.Event == report.EventVerified) {
			t.Errorf("%s: PASSED is in the statement: %v\n%s", name, got, b)
		}
	}
}

// TestFieldReadsOurs reads a statement with the in-toto project's own types.
func TestFieldReadsOurs(t *testing.T) {
	b, err := statementOf(sample())
	if err != nil {
		t.Fatal(err)
	}
	s := &intoto.Statement{}
	if err := protojson.Unmarshal(b, s); err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
	p, err := s.GetPredicate().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	summary := &vsa.VerificationSummary{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(p, summary); err != nil {
		t.Fatal(err)
	}
	if summary.GetVerificationResult() != "PASSED" || summary.GetPolicy().GetUri() != "urn:canary-verify:suite:canary" {
		t.Errorf("result %q, policy %q", summary.GetVerificationResult(), summary.GetPolicy().GetUri())
	}
}

func TestRecordsThatAreRefused(t *testing.T) {
	many := func(n int, of func(i int) Revoked) []Revoked {
		var all []Revoked
		for i := range n {
			all = append(all, of(i))
		}
		return all
	}
	tests := []struct {
		name   string
		base   func() *Record
		change func(*Record)
		want   string
	}{
		{"unknown event", sample, func(r *Record) { r.Event = "approved" }, "unknown"},
		{"no seq", sample, func(r *Record) { r.Seq = 0 }, "seq"},
		{"seq that JSON readers round", sample, func(r *Record) { r.Seq = maxSeq + 1 }, "seq"},
		{"no time", sample, func(r *Record) { r.Time = time.Time{} }, "no time"},
		{"image", sample, func(r *Record) { r.Image = "a b" }, "image"},
		{"target", sample, func(r *Record) { r.Target = "-x" }, "target"},
		{"decision", sample, func(r *Record) { r.Decision = "7" }, "decision"},
		{"sha", sample, func(r *Record) { r.SHA = "HEAD" }, "sha"},
		{"subject", sample, func(r *Record) { r.Subject = "sha256:00" }, "subject"},
		{"fleet", sample, func(r *Record) { r.Fleet = -1 }, "fleet"},
		{"saw a newer head", sample, func(r *Record) { r.Saw[app] = Seen{Go: Ref{12, dig("x")}} }, "saw"},
		{"saw a head without digest", sample, func(r *Record) { r.Saw[app] = Seen{Go: Ref{Seq: 3}} }, "saw"},
		{"both states", sample, func(r *Record) { r.Stop = &Stop{} }, "does not fit"},
		{"no state", sample, func(r *Record) { r.Event, r.Go = report.EventPromoted, nil }, "does not fit"},
		{"rejection with a go state", sample, func(r *Record) { r.Event = report.EventRejected }, "does not fit"},
		{"live is empty", sample, func(r *Record) { r.Go.Live = nil }, "empty"},
		{"live is long", sample, func(r *Record) { r.Go.Live = make([]Live, 11) }, "more than 10"},
		{"live starts elsewhere", sample, func(r *Record) { r.Go.Live = r.Go.Live[1:] }, "start with its subject"},
		{"live disagrees with images", sample, func(r *Record) { r.Images[app] = dig("d") }, "start with its subject"},
		{"live twice", sample, func(r *Record) { r.Go.Live = append(r.Go.Live, r.Go.Live[1]) }, "twice"},
		{"live of later", sample, func(r *Record) { r.Go.Live[1].Seq = 13 }, "newer"},
		{"from", sample, func(r *Record) { r.Go.From = "latest" }, "from"},
		{"held without hold", rollback, func(r *Record) { r.Event = report.EventHeld; r.Stop.Held = nil }, "disagree"},
		{"released with hold", rollback, func(r *Record) { r.Event = report.EventReleased }, "disagree"},
		{"rollback without goal", rollback, func(r *Record) { r.Stop.Goal, r.Stop.GoalSeq = "", 0 }, "goal"},
		{"goal without seq", rollback, func(r *Record) { r.Stop.GoalSeq = 0 }, "goal"},
		{"goal disagrees with images", rollback, func(r *Record) { r.Images[app] = dig("d") }, "goal"},
		{"replaced but not revoked", rollback, func(r *Record) { r.Stop.Revoked = r.Stop.Revoked[:1] }, "not among the revoked"},
		{"revoked is long", rollback, func(r *Record) {
			r.Stop.Revoked = many(51, func(i int) Revoked {
				return Revoked{dig(string(rune('A' + i))), "", report.EventRejected, 1}
			})
		}, "more than 50"},
		{"revoked twice", rollback, func(r *Record) { r.Stop.Revoked = append(r.Stop.Revoked, r.Stop.Revoked[0]) }, "twice"},
		{"revoked for being good", rollback, func(r *Record) { r.Stop.Revoked[0].Kind = report.EventVerified }, "malformed"},
		{"floor of later", rollback, func(r *Record) { r.Stop.Floor = 14 }, "floor"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := tt.base()
			tt.change(r)
			if _, err := statementOf(r); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestStatementsThatAreRefused(t *testing.T) {
	b, err := statementOf(sample())
	if err != nil {
		t.Fatal(err)
	}
	good := string(b)
	tests := []struct{ name, old, new, want string }{
		{"key twice", `"seq":12`, `"seq":12,"seq":13`, `"seq" appears twice`},
		{"key twice in other letters", `"seq":12`, `"seq":12,"SEQ":13`, `"SEQ" appears twice`},
		{"key twice by a long s", `"seq":12`, `"seq":12,"ſeq":13`, "appears twice"},
		{"subject twice", `"_type"`, `"subject":[],"_type"`, `"subject" appears twice`},
		{"other statement", `in-toto.io/Statement/v1`, `in-toto.io/Statement/v0.1`, "its type"},
		{"other predicate", summaryType, "https://slsa.dev/provenance/v1", "predicate type"},
		{"other verifier", `"id":"` + verifierID, `"id":"https://else.example`, "verifier"},
		{"result changed", `"PASSED"`, `"FAILED"`, "does not fit"},
		{"later version", `"v":2`, `"v":3`, "version 2"},
		{"another image", `"name":"` + app, `"name":"` + other, "another image"},
		{"seq as text", `"seq":12`, `"seq":"12"`, "wrong type"},
		{"saw as object", `"go":[11,`, `"go":[11,12,`, "wrong type"},
		{"two digests", `"digest":{"sha256"`, `"digest":{"sha512":"00","sha256"`, "one digest"},
		{"nesting", `"reason":"`, `"x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `,"reason":"`, "nested"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			changed := strings.Replace(good, tt.old, tt.new, 1)
			if changed == good {
				t.Fatal("nothing was changed")
			}
			if _, err := parseStatement([]byte(changed)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
	for name, raw := range map[string]string{"trailing": good + "{}", "cut": good[:len(good)-1], "array": "[" + good + "]", "empty": "", "not UTF-8": "{\"a\":\"\xff\"}", "long": good + strings.Repeat(" ", maxPayload)} {
		if _, err := parseStatement([]byte(raw)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := parseStatement([]byte(strings.Replace(good, `"seq":12`, `"seq":12,"added later":{"a":1}`, 1))); err != nil {
		t.Errorf("a field of a later version is refused: %v", err)
	}
}

func TestTextsAreSanitised(t *testing.T) {
	r := rollback()
	r.Reason = "::error::boom\n\x1b[31m" + strings.Repeat("x", 2*maxText)
	r.Stop.Held.Reason = "a\u202eb"
	raw, err := statementOf(r)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseStatement(raw)
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(got.Reason, "\n\x1b") || strings.HasPrefix(got.Reason, "::") || len([]rune(got.Reason)) > maxText {
		t.Errorf("reason: %q", got.Reason)
	}
	if got.Stop.Held.Reason != `a\u202eb` {
		t.Errorf("reason of the hold: %q", got.Stop.Held.Reason)
	}
}

// first is a record of the first form, as the gate wrote it before heads existed.
func first(event, result, digest string) string {
	return `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"` + app + `","digest":{"sha256":"` + strings.TrimPrefix(digest, "sha256:") + `"}}],` +
		`"predicateType":"https://slsa.dev/verification_summary/v1","predicate":{"verifier":{"id":"https://git.moleculesai.app/molecule-ai/canary-verify"},` +
		`"timeVerified":"2026-05-02T12:34:56.789Z","resourceUri":"pkg:oci/app@sha256%3Aab","policy":{"uri":"urn:canary-verify:suite:checks%2Fmy%20suite.yml",` +
		`"digest":{"sha256":"` + strings.Repeat("ef", 32) + `"}},"verificationResult":"` + result + `","verifiedLevels":["` + result + `"],` +
		`"canaryverify_record":{"event":"` + event + `","sha":"` + string(sha("c")) + `","target":"latest","replaced":"` + string(dig("b")) + `","tool":"canary-verify 1",` +
		`"runUrl":"https://forge.example/runs/7","actor":"ada","reason":"every check passed"}}}`
}

func TestFirstFormIsRead(t *testing.T) {
	got, err := parseStatement([]byte(first("verified", "PASSED", string(dig("c")))))
	if err != nil {
		t.Fatal(err)
	}
	if got.Seq != 0 || got.Image != app || got.Subject != dig("c") || got.Target != target || got.SHA != sha("c") || got.Suite != "checks/my suite.yml" {
		t.Errorf("%+v", got)
	}
	if got.Replaced != dig("b") || got.SuiteHash != "sha256:"+strings.Repeat("ef", 32) || got.Event != report.EventVerified {
		t.Errorf("%+v", got)
	}
	for name, raw := range map[string]string{
		"event and result disagree": first("rejected", "PASSED", string(dig("c"))),
		"event of later":            first("held", "FAILED", string(dig("c"))),
		"seq of later":              strings.Replace(first("rejected", "FAILED", string(dig("c"))), `"event"`, `"seq":7,"event"`, 1),
		"no digest":                 first("rejected", "FAILED", "00"),
	} {
		if _, err := parseStatement([]byte(raw)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzStatement(f *testing.F) {
	for _, r := range events() {
		b, err := statementOf(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(first("rolled-back", "FAILED", string(dig("c")))))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseStatement(b)
		if err != nil {
			return
		}
		if r.Seq == 0 {
			if r.Go != nil || r.Stop != nil || !r.Event.Positive() && !negative(r.Event) {
				t.Errorf("a record of the first form with state: %+v", r)
			}
			return
		}
		again, err := statementOf(r)
		if err != nil {
			t.Fatalf("read, but can't be written: %v", err)
		}
		second, err := parseStatement(again)
		if err != nil || !reflect.DeepEqual(r.Go, second.Go) || !reflect.DeepEqual(r.Saw, second.Saw) || second.Seq != r.Seq {
			t.Errorf("not stable: %v\n%+v\n%+v", err, r, second)
		}
	})
}
