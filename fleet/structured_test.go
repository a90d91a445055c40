package fleet

import (
	"fmt"
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
			got, err := ParseTenants("tenants", []byte(doc), false)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestParseTenantsOfNothing(t *testing.T) {
	for _, doc := range []string{"", "\n", "# none\n", "[]", "null", "---\n", "~"} {
		if got, err := ParseTenants("tenants", []byte(doc), false); len(got) != 0 || err != nil {
			t.Errorf("%q: %v, %v; an empty fleet is for the caller to judge", doc, got, err)
		}
	}
}

func TestParseTenantsFaults(t *testing.T) {
	tests := []struct {
		name, doc string
		want      []string
	}{
		{"not a list", "url: https://a.example.com", []string{"tenants: line 1, column 1: is not a list"}},
		{"text", "https://a.example.com", []string{"tenants: line 1, column 1: is not a list"}},
		{"malformed", "- {url: 'https://a'}\n- [", []string{"tenants: line 2: is not well-formed"}},
		{"malformed JSON", `[{"url": "https://a.example.com"`, []string{"tenants: line 1: is not well-formed"}},
		{"JSON, with positions", "[{\"name\": \"\u00e4\",\n\t\"url\": \"https:\\/\\/a.example.com\", \"token\": 1, \"\": {\"x\": []}}]", []string{
			"tenants: entry 1, line 2, column 45: token: shorter", "tenants: entry 1, line 2, column 48: unknown key",
		}},
		{"JSON key given twice", `[{"url": "https://a.example.com", "token": "long-enough", "token": "long-enough"}]`, []string{"tenants: entry 1, line 1, column 59: token: given twice"}},
		{"second document", "[]\n---\n[]", []string{"tenants: has a second document"}},
		{"entry of another kind", "- https://a.example.com\n", []string{"tenants: entry 1, line 1, column 3: is not a plain mapping"}},
		{"unknown key", "- {url: 'https://a.example.com', token: long-enough, org_id: x}", []string{"tenants: entry 1, line 1, column 54: unknown key"}},
		{"keys have a case", "- {URL: 'https://a.example.com', token: long-enough}", []string{"tenants: entry 1, line 1, column 4: unknown key", "tenants: entry 1, line 1, column 3: url: missing"}},
		{"duplicate key", "- url: https://a.example.com\n  token: long-enough\n  token: long-enough\n", []string{"tenants: entry 1, line 3, column 3: token: given twice"}},
		{"missing", "- {name: a}\n- {}", []string{
			"tenants: entry 1, line 1, column 3: url: missing", "tenants: entry 1, line 1, column 3: token: missing",
			"tenants: entry 2, line 2, column 3: url: missing", "tenants: entry 2, line 2, column 3: token: missing",
		}},
		{"list as a value", "- {url: ['https://a.example.com'], token: long-enough}", []string{"tenants: entry 1, line 1, column 9: url: is not plain text"}},
		{"alias", "- {url: &u https://a.example.com, token: long-enough}\n- {url: *u, token: long-enough}", []string{
			"tenants: entry 1, line 1, column 9: url: is not plain text", "tenants: entry 2, line 2, column 9: url: is not plain text",
		}},
		{"merge", "- &t {url: 'https://a.example.com', token: long-enough}\n- {<<: *t, name: b}", []string{
			"tenants: entry 1, line 1, column 3: is not a plain mapping", "tenants: entry 2, line 2, column 4: unknown key",
			"tenants: entry 2, line 2, column 3: url: missing", "tenants: entry 2, line 2, column 3: token: missing",
		}},
		{"alias bomb", "- &a [x,x,x,x,x,x,x,x,x]\n- &b [*a,*a,*a,*a,*a]\n- [*b,*b,*b,*b]", []string{
			"tenants: entry 1, line 1, column 3: is not a plain", "tenants: entry 2, line 2, column 3: is not a plain", "tenants: entry 3, line 3, column 3: is not a plain",
		}},
		{"tag", "- {url: 'https://a.example.com', token: !!binary bG9uZy1lbm91Z2g=}", []string{"tenants: entry 1, line 1, column 41: token: is not plain text"}},
		{"short token", "- {url: 'https://a.example.com', token: yes}", []string{"tenants: entry 1, line 1, column 41: token: shorter than 8"}},
		{"same name", "- {name: a, url: 'https://a.example.com', token: long-enough}\n- {name: \" a\", url: 'https://b.example.com', token: long-enough}", []string{"tenants: entry 2, line 2, column 10: name: the same name as entry 1"}},
		{"same URL", "- {name: a, url: 'https://a.example.com', token: long-enough}\n- {name: b, url: 'https://a.example.com/', token: long-enough}", []string{"tenants: entry 2, line 2, column 18: url: the same URL as entry 1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseTenants("tenants", []byte(tt.doc), false)
			if got != nil {
				t.Errorf("tenants along with faults: %v", got)
			}
			wantFaults(t, err, tt.want)
		})
	}
}

// Anything in these documents may be a token in the wrong place.
func TestStructuredFaultsHoldNoValue(t *testing.T) {
	const leak = "LEAK3d"
	docs := []string{
		leak, leak + ": x", "- " + leak, "- *" + leak, "- &" + leak + " {}", "- {" + leak + "}", "- {" + leak + ": " + leak + "}",
		"- {token: !" + leak + " x}", "- {token: " + leak + "}", "- {url: " + leak + "}", "- {url: 'https://" + leak + ":" + leak + "@h'}",
		"- {token: [" + leak + "]}", "- \"\\" + leak + "\"", "%" + leak + " 1\n---\n[]", "- !<" + leak + "\n", "- '" + leak, "@" + leak, "[`" + leak + "`]",
		"- {token: 'a\x01" + leak + "'}", "- {token: \"\xff" + leak + "\"}", "%TAG ! " + leak + "\n--- [!x y]",
	}
	for _, doc := range docs {
		if _, err := ParseTenants("tenants", []byte(doc), false); err == nil || strings.Contains(err.Error(), leak) {
			t.Errorf("%q: %v", doc, err)
		}
	}
}

func TestNamesAreSanitised(t *testing.T) {
	got, err := ParseTenants("tenants", []byte(`[{"name": "::error::\u001b[31mx", "url": "https://a.example.com", "token": "long-enough"}]`), false)
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
		tenants, err := ParseTenants("tenants", doc, false)
		if err != nil {
			if tenants != nil {
				t.Error("tenants along with faults")
			}
			return
		}
		mustBeUsable(t, tenants)
	})
}

// document returns a tenants file of n tenants.
func document(n int) []byte {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "- {name: tenant-%d, url: \"https://tenant-%d.canary.example.com\", token: token-of-tenant-%d, org-id: org_%d}\n", i, i, i, i)
	}
	return []byte(b.String())
}

func BenchmarkParseTenants(b *testing.B) {
	doc := document(10_000)
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseTenants("tenants-file", doc, false); err != nil {
			b.Fatal(err)
		}
	}
}
