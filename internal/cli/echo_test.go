package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// echoes are the ways in which a tenant sends a token back.
var echoes = []func(string) string{
	func(s string) string { return s },
	strings.ToLower,
	strings.ToUpper,
	strconv.Quote,
	url.QueryEscape,
	func(s string) string { return strings.ToLower(url.PathEscape(s)) },
	func(s string) string { return eachByte(s, "%%%02x") },
	html.EscapeString,
	func(s string) string { return eachByte(s, "&#%d;") },
	func(s string) string { return eachByte(s, "&#x%X;") },
	func(s string) string { return eachByte(s, `\x%02x`) },
	func(s string) string { return eachByte(s, `\u%04X`) },
	func(s string) string {
		data, _ := json.Marshal(s) // a string always marshals
		return strings.ReplaceAll(string(data), "/", `\/`)
	},
	func(s string) string { return `'` + strings.ReplaceAll(s, `'`, `'\''`) + `'` },
	func(s string) string { return hex.EncodeToString([]byte(s)) },
	func(s string) string { return base64.StdEncoding.EncodeToString([]byte("admin:" + s)) },
	func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte("u:" + s + "\n")) },
	func(s string) string { return html.EscapeString(strconv.Quote(s)) },
}

func eachByte(s, format string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, format, s[i])
	}
	return b.String()
}

// tokenOf makes up a token of the characters that tokens have.
func tokenOf(random *rand.Rand) string {
	const characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/+=_-.~\"'&<|%"
	b := make([]byte, 12+random.IntN(30))
	for i := range b {
		b[i] = characters[random.IntN(len(characters))]
	}
	return string(b)
}

// traces are what must stand nowhere if nobody may read the token: a half of it,
// as it is and in every encoding.
func traces(token string) []string {
	var all []string
	for _, half := range []string{token[:len(token)/2], token[len(token)/2:]} {
		for _, echo := range echoes[:15] {
			if form := strings.Trim(echo(half), `"'`); len(form) >= 6 {
				all = append(all, form)
			}
		}
	}
	for shift := range 3 {
		encoded := base64.StdEncoding.EncodeToString([]byte("..."[:shift] + token))
		all = append(all, encoded[4:12], strings.NewReplacer("+", "-", "/", "_").Replace(encoded[4:12]))
	}
	return all
}

// TestNoEchoOfATokenIsShown sends 300 tokens through every encoding and every
// form of the result. Texts are redacted where they are learned; where that is
// forgotten, the redactor behind the renderers that don't wrap is enough.
func TestNoEchoOfATokenIsShown(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	const batch = 10
	for i := range 300 / batch {
		var tokens, raw, redacted []string
		secrets := []secret.Value{secret.New("another-token")}
		for range batch {
			tokens = append(tokens, tokenOf(random))
			secrets = append(secrets, secret.New(tokens[len(tokens)-1]))
		}
		redact := secret.NewRedactor(secrets...)
		for n, token := range tokens {
			raw = append(raw, fmt.Sprintf("echo %d is %s and more", n, echoes[(i+n)%len(echoes)](token)))
			redacted = append(redacted, untrusted.Line(redact.Redact(raw[n]), 300))
			if !strings.Contains(redacted[n], secret.Mask) {
				t.Errorf("nothing is masked in %q of %q", redacted[n], token)
			}
		}
		for form, text := range everything(t, reportOf(redacted), redact) {
			mustNotShow(t, form, text, tokens, raw)
		}
		if i%3 > 0 {
			continue
		}
		late := everything(t, reportOf(raw), redact)
		for _, form := range []string{"report.json", "report.html", "junit.xml", "log"} {
			mustNotShow(t, form+", not redacted before", late[form], tokens, raw)
		}
	}
}

func mustNotShow(t *testing.T, form, text string, tokens, echoes []string) {
	t.Helper()
	if !strings.Contains(text, secret.Mask) {
		t.Errorf("%s shows none of the texts", form)
	}
	for n, token := range tokens {
		for _, trace := range traces(token) {
			if at := strings.Index(text, trace); at >= 0 {
				t.Errorf("%s: %q of %q, echoed as %q: …%s…", form, trace, token, echoes[n], text[max(0, at-60):min(len(text), at+60)])
			}
		}
	}
}

// reportOf is a report that has the texts in every field.
func reportOf(texts []string) *report.Report {
	r := &report.Report{
		Schema: report.Schema, Mode: report.ModeVerify, Verdict: report.Red, Exit: report.ExitRed, Ran: true,
		Reason: texts[0], Next: texts[1], Forced: texts[2], Warnings: texts, Faults: texts,
		Suite:  &report.Suite{Name: "canary", Checks: 1, Warnings: texts},
		Canary: &report.Canary{Tag: "canary", Detail: texts[3]},
	}
	for i, text := range texts {
		name := fmt.Sprintf("canary-%d", i)
		rollout := &report.Rollout{State: report.Unreachable, Detail: text}
		check := report.CheckResult{
			Name: "liveness", Result: report.Failed, Detail: text, Expected: text, Got: text, Hint: text, Answer: text,
			Reproduce: text, Started: time.Unix(0, 0), Attempts: 1, Rounds: 1,
		}
		r.Tenants = append(r.Tenants, report.Tenant{
			Name: name, URL: "https://" + name + ".example", Rollout: rollout, After: rollout, Checks: []report.CheckResult{check},
		})
		r.Images = append(r.Images, report.Image{Image: "registry.example/" + name, State: report.UnknownState, Target: "latest", Detail: text})
	}
	r.Causes = report.CausesOf(r.Tenants)
	return r
}

// everything is a report in every form that anybody gets to see.
func everything(t *testing.T, r *report.Report, redact *secret.Redactor) map[string]string {
	t.Helper()
	files, err := reportFiles(r, redact)
	if err != nil {
		t.Fatal(err)
	}
	forms := map[string]string{}
	for name, data := range files {
		forms[name] = string(data)
	}
	var out, log bytes.Buffer
	screen := &terminal{command: &Command{Stdout: &out, Stderr: &log}, redact: redact}
	for _, text := range r.Warnings {
		screen.Log(text)
		screen.Warn(text)
	}
	if err := screen.render(&out, r); err != nil {
		t.Fatal(err)
	}
	forms["text"], forms["log"] = out.String(), log.String()
	return forms
}
