package smoke

import (
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/expr"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

func TestCleanerNeverShowsPartOfASecret(t *testing.T) {
	const token = "s3cr3t-token-0123456789"
	c := cleaner{secret.NewRedactor(secret.New(token))}
	for limit := 0; limit < 60; limit += 3 {
		for lead := range 4*limit + 60 {
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

// TestRenderingHidesNoSecretFromTheRedactor has a token with characters that our
// own rendering changes, at every place where an answer is shown.
func TestRenderingHidesNoSecretFromTheRedactor(t *testing.T) {
	const token = `Se"cr3t\'T0ken`
	redactor := secret.NewRedactor(secret.New(token))
	c := cleaner{redactor}
	response := jsonResponse(`{"t":` + strconv.Quote(token) + `}`)
	a := &answer{response: response, redact: redactor, values: map[string]any{"id": token}}
	clause, errs := expr.CompileCondition("json.t > 1 && id == nil", "id")
	if errs != nil {
		t.Fatal(errs)
	}
	_, err := expr.NewEvaluation(a).Showing(redactor.Redact).True(clause)
	texts := append(c.values(clause, a), err.Error(),
		c.curl(fleet.Tenant{URL: "https://tenant.example"}, fleet.Request{Method: "PUT", Path: "/", Body: []byte(token), Header: http.Header{"X": {token}}}))
	response.Header.Set("Content-Type", "Se-cr3t-Token/json")
	a.redact = secret.NewRedactor(secret.New("Se-cr3t-Token"))
	texts = append(texts, a.contentType(), a.summary())
	for _, text := range texts {
		if strings.Contains(strings.ToLower(text), "cr3t") {
			t.Errorf("the token is in %s", text)
		}
	}
	if len(texts) < 6 {
		t.Errorf("only %q", texts)
	}
}
