package fleet

import (
	"slices"
	"strings"
	"testing"

	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

func TestParseTenants(t *testing.T) {
	want := []Tenant{
		{Name: "pm", URL: "https://a.example.com", Token: secret.New("token-one"), OrgID: "org_1"},
		{Name: "b.example.com:8443", URL: "https://b.example.com:8443", Token: secret.New("0123456789")},
	}
	docs := map[string]string{
		"yaml": "# canaries\n- name: pm\n  url: https://a.example.com/\n  token: token-one\n  org-id: org_1\n" +
			"- url: https://b.example.com:8443\n  token: 0123456789\n",
		"marked": "\ufeff---\n- {name: pm, url: 'https://a.example.com', token: token-one, org-id: org_1}\n- {url: 'https://b.example.com:8443', token: 0123456789, org-id: }\n...\n",
		"json": "[\n\t{\"name\": \"pm\", \"url\": \"https:\\/\\/a.example.com\", \"token\": \"token-\\u006fne\", \"org-id\": \"org_1\"},\r\n" +
			"\t{\"name\": null, \"url\": \"https://b.example.com:8443\", \"token\": \"0123456789\", \"org-id\": \"\"}\n]",
	}
	for name, doc := range docs {
		t.Run(name, func(t *testing.T) {
			got, err := ParseTenants([]byte(doc), false)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// What encoders of other languages write, and the YAML parser can't read.
func TestParseTenantsOfOtherEncoders(t *testing.T) {
	for text, want := range map[string]string{
		`\/\\/`: `/\/`, `\ud83d\ude00 \uD83D\uDE00`: "😀 😀", `\\ud83d`: `\ud83d`, `\ud83d`: "\ufffd", `\u0041\"`: `A"`, "😀": "😀",
	} {
		doc := " \n\t[{\"name\":\"" + text + "\",\"url\":\"https://a.example.com\",\"token\":12345678.90}]"
		got, err := ParseTenants([]byte(doc), false)
		if err != nil || len(got) != 1 || got[0].Name != want || got[0].Token.Reveal() != "12345678.90" {
			t.Errorf("%s: %+v, %v; want the name %q", text, got, err, want)
		}
	}
}

func TestParseTenantsOfNothing(t *testing.T) {
	for _, doc := range []string{"", "\n", "# none\n", "[]", "null", "---\n", "~"} {
		if got, err := ParseTenants([]byte(doc), false); len(got) != 0 || err != nil {
			t.Errorf("%q: %v, %v; an empty fleet is for the caller to judge", doc, got, err)
		}
	}
}

func TestParseTenantsRefuses(t *testing.T) {
	tests := []struct {
		name, doc string
		want      []string
	}{
		{"not a list", "url: https://a.example.com", []string{"Tenants: line 1, column 1: is not a list"}},
		{"text", "https://a.example.com", []string{"Tenants: line 1, column 1: is not a list"}},
		{"malformed", "- {url: 'https://a'}\n- [", []string{"Tenants: line 2: is not well-formed"}},
		{"malformed JSON", `[{"url": "https://a.example.com"`, []string{"Tenants: line 1: is not well-formed"}},
		{"JSON, with positions", "[{\"name\": \"\u00e4\",\n\t\"url\": \"https://a.example.com\", \"token\": 1, \"\": {\"x\": []}}]", []string{
			"Tenants: entry 1, line 2, column 43: token: shorter", "Tenants: entry 1, line 2, column 46: unknown key",
		}},
		{"JSON of PHP", "[{\"name\": \"\u00e4\",\n\t\"url\": \"https:\\/\\/a.example.com\", \"token\": 1}]", []string{"Tenants: entry 1, line 2: token: shorter"}},
		{"JSON key given twice", `[{"url": "https://a.example.com", "token": "long-enough", "token": "long-enough"}]`, []string{"Tenants: entry 1, line 1, column 59: token: given twice"}},
		{"second document", "[]\n---\n[]", []string{"Tenants: has a second document"}},
		{"entry of another kind", "- https://a.example.com\n", []string{"Tenants: entry 1, line 1, column 3: is not a plain mapping"}},
		{"unknown key", "- {url: 'https://a.example.com', token: long-enough, org_id: x}", []string{"Tenants: entry 1, line 1, column 54: unknown key"}},
		{"keys have a case", "- {URL: 'https://a.example.com', token: long-enough}", []string{"Tenants: entry 1, line 1, column 4: unknown key", "Tenants: entry 1, line 1, column 3: url: missing"}},
		{"duplicate key", "- url: https://a.example.com\n  token: long-enough\n  token: long-enough\n", []string{"Tenants: entry 1, line 3, column 3: token: given twice"}},
		{"missing", "- {name: a}\n- {}", []string{
			"Tenants: entry 1, line 1, column 3: url: missing", "Tenants: entry 1, line 1, column 3: token: missing",
			"Tenants: entry 2, line 2, column 3: url: missing", "Tenants: entry 2, line 2, column 3: token: missing",
		}},
		{"list as a value", "- {url: ['https://a.example.com'], token: long-enough}", []string{"Tenants: entry 1, line 1, column 9: url: is not plain text"}},
		{"alias", "- {url: &u https://a.example.com, token: long-enough}\n- {url: *u, token: long-enough}", []string{
			"Tenants: entry 1, line 1, column 9: url: is not plain text", "Tenants: entry 2, line 2, column 9: url: is not plain text",
		}},
		{"merge", "- &t {url: 'https://a.example.com', token: long-enough}\n- {<<: *t, name: b}", []string{
			"Tenants: entry 1, line 1, column 3: is not a plain mapping", "Tenants: entry 2, line 2, column 4: unknown key",
			"Tenants: entry 2, line 2, column 3: url: missing", "Tenants: entry 2, line 2, column 3: token: missing",
		}},
		{"alias bomb", "- &a [x,x,x,x,x,x,x,x,x]\n- &b [*a,*a,*a,*a,*a]\n- [*b,*b,*b,*b]", []string{
			"Tenants: entry 1, line 1, column 3: is not a plain", "Tenants: entry 2, line 2, column 3: is not a plain", "Tenants: entry 3, line 3, column 3: is not a plain",
		}},
		{"tag", "- {url: 'https://a.example.com', token: !!binary bG9uZy1lbm91Z2g=}", []string{"Tenants: entry 1, line 1, column 41: token: is not plain text"}},
		{"short token", "- {url: 'https://a.example.com', token: yes}", []string{"Tenants: entry 1, line 1, column 41: token: shorter than 8"}},
		{"same name", "- {name: a, url: 'https://a.example.com', token: long-enough}\n- {name: \" a\", url: 'https://b.example.com', token: long-enough}", []string{"Tenants: entry 2, line 2, column 10: name: the same name as entry 1"}},
		{"same URL", "- {name: a, url: 'https://a.example.com', token: long-enough}\n- {name: b, url: 'https://a.example.com/', token: long-enough}", []string{"Tenants: entry 2, line 2, column 18: url: the same URL as entry 1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseTenants([]byte(tt.doc), false)
			wantInvalid(t, got, err, tt.want)
		})
	}
}

// Anything in these documents may be a token in the wrong place.
func TestDocumentErrorsQuoteNoValue(t *testing.T) {
	const leak = "LEAK3d"
	docs := []string{
		leak, leak + ": x", "- " + leak, "- *" + leak, "- &" + leak + " {}", "- {" + leak + "}", "- {" + leak + ": " + leak + "}",
		"- {token: !" + leak + " x}", "- {token: " + leak + "}", "- {url: " + leak + "}", "- {url: 'https://" + leak + ":" + leak + "@h'}",
		"- {token: [" + leak + "]}", "- \"\\" + leak + "\"", "%" + leak + " 1\n---\n[]", "- !<" + leak + "\n", "- '" + leak, "@" + leak, "[`" + leak + "`]",
		"- {token: 'a\x01" + leak + "'}", "- {token: \"\xff" + leak + "\"}", "%TAG ! " + leak + "\n--- [!x y]",
	}
	for _, doc := range docs {
		if _, err := ParseTenants([]byte(doc), false); err == nil || strings.Contains(err.Error(), leak) {
			t.Errorf("%q: %v", doc, err)
		}
	}
}

func TestNamesAreSanitised(t *testing.T) {
	got, err := ParseTenants([]byte(`[{"name": "::error::\u001b[31mx", "url": "https://a.example.com", "token": "long-enough"}]`), false)
	if err != nil {
		t.Fatal(err)
	}
	if want := `: :error::\x1b[31mx`; got[0].Name != want {
		t.Errorf("name %q, want %q", got[0].Name, want)
	}
}

func FuzzParseTenants(f *testing.F) {
	f.Add([]byte("- {name: a, url: 'https://a.example.com', token: long-enough, org-id: o}"))
	f.Add([]byte(`[{"url":"http://localhost","token":"12345678"}]`))
	f.Add([]byte("- &a {<<: *a}\n--- \n"))
	f.Add([]byte("- {name: \"\\x01\", url: ! x, token: !!binary eA==}"))
	f.Add([]byte(strings.Repeat("[", 10001)))
	f.Fuzz(func(t *testing.T, doc []byte) {
		tenants, err := ParseTenants(doc, false)
		if err != nil {
			if tenants != nil {
				t.Error("tenants along with an error")
			}
			return
		}
		mustBeUsable(t, tenants)
	})
}
