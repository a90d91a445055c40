package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
	"git.moleculesai.app/molecule-ai/canary-verify/smoke"
	"git.moleculesai.app/molecule-ai/canary-verify/summary"
)

// bodies are foreign texts of the two lengths that matter: what a report shows
// of an answer, and the most that is read of one.
var bodies = []struct {
	name string
	text string
}{
	{"300B", foreign(300)},
	{"1MiB", foreign(1 << 20)},
}

// foreign is a page of the given length that echoes a token and hides a command.
func foreign(length int) string {
	const page = "<!DOCTYPE html><p class=\"status\">upstream “unavailable”\x1b[31m</p>\r\n::error::token-of-tenant-00001 {\"json\": [1, 2, 3]}\n"
	return strings.Repeat(page, length/len(page)+1)[:length]
}

// redactor hides the tokens of n tenants.
func redactor(n int) *secret.Redactor {
	var tokens []secret.Value
	for _, t := range manyTenants(n) {
		tokens = append(tokens, t.Token)
	}
	return secret.NewRedactor(tokens...)
}

func BenchmarkRedact(b *testing.B) {
	for _, tenants := range []int{1, 1000} {
		r := redactor(tenants)
		for _, body := range bodies {
			b.Run(fmt.Sprintf("%s/%d_secrets", body.name, tenants), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(body.text)))
				for b.Loop() {
					_ = r.Redact(body.text)
				}
			})
		}
	}
}

func BenchmarkNewRedactor(b *testing.B) {
	for _, tenants := range []int{1, 1000, 10000} {
		b.Run(fmt.Sprintf("%d_secrets", tenants), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = redactor(tenants).Redact("text")
			}
		})
	}
}

func BenchmarkSanitise(b *testing.B) {
	for _, body := range bodies {
		b.Run(body.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body.text)))
			for b.Loop() {
				_ = untrusted.Text(body.text, 0)
			}
		})
	}
	b.Run("1MiB_cut_to_300", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = untrusted.Line(bodies[1].text, 300)
		}
	})
}

// renderings are all forms of a report.
var renderings = []struct {
	name   string
	render func(*report.Report) error
}{
	{"markdown", func(r *report.Report) error { _ = summary.Markdown(r); return nil }},
	{"text", func(r *report.Report) error { _ = summary.Text(r, true, 120); return nil }},
	{"html", func(r *report.Report) error { return summary.HTML(io.Discard, r) }},
	{"junit", func(r *report.Report) error { return summary.JUnit(io.Discard, r) }},
	{"json", func(r *report.Report) error { return summary.JSON(io.Discard, r) }},
}

func BenchmarkReport(b *testing.B) {
	for _, tenants := range []int{3, 1000} {
		r := aReport(tenants)
		for _, form := range renderings {
			b.Run(fmt.Sprintf("%s/%d_tenants", form.name, tenants), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := form.render(r); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// lists are the three inputs of n tenants.
func lists(n int) (urls, tokens, orgs string) {
	var u, t, o strings.Builder
	for _, tenant := range manyTenants(n) {
		fmt.Fprintln(&u, tenant.URL)
		fmt.Fprintln(&t, tenant.Token.Reveal())
		fmt.Fprintln(&o, tenant.OrgID)
	}
	return u.String(), t.String(), o.String()
}

func BenchmarkParseLists(b *testing.B) {
	for _, tenants := range []int{3, 1000} {
		urls, tokens, orgs := lists(tenants)
		b.Run(fmt.Sprintf("%d_tenants", tenants), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if got, err := fleet.ParseLists(urls, tokens, orgs, false); err != nil || len(got) != tenants {
					b.Fatal(len(got), err)
				}
			}
		})
	}
}

func BenchmarkLoadSuite(b *testing.B) {
	for _, name := range smoke.BuiltinNames() {
		src, _ := smoke.Builtin(name)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := smoke.Load(name, src); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSuite is one tenant's six requests without a network: all that the
// gate itself does for them.
func BenchmarkSuite(b *testing.B) {
	f, suite := newFleet(b, 1, fleet.Config{Transport: wire(healthy)}), sixChecks(b)
	b.ReportAllocs()
	for b.Loop() {
		passed(b, suite.Run(context.Background(), f.Sessions(), smoke.RunOptions{}))
	}
}
