package smoke

import (
	"context"
	"encoding/json"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

func TestCleanerNeverShowsPartOfASecret(t *testing.T) {
	const token = "s3cr3t-token-0123456789"
	c := cleaner{secret.NewRedactor(secret.New(token))}
	for limit := range 60 {
		for lead := range 400 {
			text := strings.Repeat("x", lead) + token + token + strings.Repeat("y", 300)
			shown := c.line(text, limit+1)
			if strings.Contains(shown, "s3cr") || strings.Contains(shown, "6789") || utf8.RuneCountInString(shown) > limit+1 {
				t.Fatalf("limit %d, lead %d: %q", limit+1, lead, shown)
			}
		}
	}
	many := strings.Repeat(token, 10_000)
	if shown := c.line(many, 300); strings.Contains(shown, "s3c") || !strings.HasSuffix(shown, "…") {
		t.Errorf("%q", shown)
	}
	if got := (cleaner{}).line("a\nb", 10); got != "a b" {
		t.Errorf("without a redactor: %q", got)
	}
}

// TestCurlIsWhatAShellReads runs the command with a curl that shows its
// arguments: nothing in it may be read as anything but an argument.
func TestCurlIsWhatAShellReads(t *testing.T) {
	dir := t.TempDir()
	hostile := "it's $(touch " + dir + "/pwned) `touch " + dir + "/pwned` \" \\ ; & | \u2028"
	tenant := fleet.Tenant{URL: "https://tenant.example/base", Token: secret.New("s3cr3t-token"), OrgID: "org '1'"}
	request := fleet.Request{
		Method: "POST", Path: "/a?b=$HOME", Header: http.Header{"X-Test": {hostile}}, Body: []byte(hostile),
	}
	command := cleaner{secret.NewRedactor(tenant.Token)}.curl(tenant, request)
	script := `curl() { for a in "$@"; do echo "<$a>"; done; }; TOKEN=from-the-environment; ` + command
	out, err := exec.CommandContext(t.Context(), "sh", "-c", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	shown := strings.ReplaceAll(hostile, "\u2028", `\u2028`)
	want := "<-sS>\n<-i>\n<-X>\n<POST>\n<https://tenant.example/base/a?b=$HOME>\n<-H>\n<Authorization: Bearer from-the-environment>\n" +
		"<-H>\n<X-Molecule-Org-Id: org '1'>\n<-H>\n<X-Test: " + shown + ">\n<--data-raw>\n<" + shown + ">\n"
	if string(out) != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
	if found, _ := exec.Command("ls", dir).Output(); len(found) > 0 {
		t.Errorf("the shell ran a part of it: %s", found)
	}
	for auth, part := range map[fleet.Auth]string{fleet.AuthNone: "", fleet.AuthWrong: "Bearer wrong"} {
		got := cleaner{}.curl(tenant, fleet.Request{Method: "HEAD", Path: "/", Auth: auth})
		if strings.Contains(got, "$TOKEN") || !strings.Contains(got, part) || !strings.Contains(got, "--head") {
			t.Errorf("%s", got)
		}
	}
}

func TestFindingNamesTheBrokenClause(t *testing.T) {
	vars := map[string]any{"id": "abc"}
	for text, want := range map[string]struct{ clause, reason, values string }{
		`status == 200 && json.n == 4 && json.x == 1`: {"json.n == 4", "", "json.n = 3"},
		`status == 201 and json.n == 3`:               {"status == 201", "", ""},
		`len(json.absent) > 0`:                        {"len(json.absent) > 0", "json.absent is null, which has no length", "json.absent = null"},
		`any(json.items, .id == "zzz")`:               {`any(json.items, .id == "zzz")`, "", "json.items = an array of 2 elements"},
		`any(json.items, .id == id && .x)`:            {`any(json.items, .id == id && .x)`, ".x is null, where true or false is needed", `json.items = an array of 2 elements, id = "abc"`},
		`header["x-id"] == id`:                        {`header["x-id"] == id`, "", `header["x-id"] = "a, b", id = "abc"`},
		`json.n == 4 || json.f == 2`:                  {"json.n == 4 || json.f == 2", "", "json.n = 3, json.f = 1.50"},
		`json?.absent?.x == 1`:                        {"json?.absent?.x == 1", "", "json?.absent?.x = null"},
		`status == 200 && elapsed < 3`:                {"elapsed < 3", "", "elapsed = 12"},
		`300 <= status < 400`:                         {"300 <= status", "", ""},
	} {
		root, faults := compile(text, []string{"id"}, true)
		if faults != nil {
			t.Fatal(faults)
		}
		x := &expectation{text: text, root: root, clauses: clauses(root)}
		e := &evaluation{ctx: context.Background(), answer: &answer{response: jsonAnswer(document)}, vars: vars}
		f := x.test(e)
		if f == nil {
			t.Errorf("%s holds", text)
			continue
		}
		got := strings.Join(f.values(e, cleaner{}), ", ")
		if f.clause.String() != want.clause || f.reason != want.reason || got != want.values {
			t.Errorf("%s:\n got %s | %s | %s\nwant %+v", text, f.clause, f.reason, got, want)
		}
	}
}

func TestTemplates(t *testing.T) {
	values := map[string]any{"probe": "p/q r&\"'\n", "sha": "abc", "tenant": "t", "n": json.Number("12345678901234567890.50")}
	for text, want := range map[string]map[place]string{
		"a ${probe} b": {
			inPath: "a p%2Fq%20r&%22%27%0A b", inQuery: "a p%2Fq+r%26%22%27%0A b", inText: "a p/q r&\"'\n b",
			inJSONText: `a p/q r\u0026\"'\n b`,
		},
		"${n}":              {inPath: "12345678901234567890.50", inJSONText: "12345678901234567890.50", inJSON: "12345678901234567890.50", inHeader: "12345678901234567890.50"},
		"$${probe} $ {x} $": {inPath: "${probe} $ {x} $"},
		"${sha}${sha}":      {inQuery: "abcabc"},
		"":                  {inPath: ""},
	} {
		for where, want := range want {
			parsed, err := parseTemplate(text, where)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := parsed.expand(values); got != want || err != nil {
				t.Errorf("%s in %d: %q, %v; want %q", text, where, got, err, want)
			}
		}
	}
	header, _ := parseTemplate("a ${probe}", inHeader)
	if got, err := header.expand(values); err == nil {
		t.Errorf("a line break went into a header: %q", got)
	}
	for _, v := range []any{nil, []any{}, map[string]any{}} {
		if got, err := escape(v, inPath); err == nil {
			t.Errorf("%v went into a path: %q", v, got)
		}
	}
	if got, err := escape("", inPath); err == nil {
		t.Errorf("nothing went into a path: %q", got)
	}
}

func TestProbe(t *testing.T) {
	seen := map[string]bool{}
	letters := map[rune]int{}
	for range 2000 {
		p := newProbe()
		if len(p) != 16 || strings.Trim(p, "abcdefghijklmnopqrstuvwxyz") != "" || seen[p] {
			t.Fatalf("%q", p)
		}
		seen[p] = true
		for _, r := range p {
			letters[r]++
		}
	}
	for r := 'a'; r <= 'z'; r++ {
		if letters[r] < 900 || letters[r] > 1600 { // 1231 expected, nine deviations off
			t.Errorf("%c came %d times of 32000", r, letters[r])
		}
	}
}
