package fleet

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

func TestSplitList(t *testing.T) {
	tests := []struct {
		name, in string
		want     []string
	}{
		{"nothing", "", nil},
		{"separators alone", " ,\n,\t\r\n ", nil},
		{"one", "a", []string{"a"}},
		{"every separator", "a,b c\td\ne\r\nf, g\u00a0h", []string{"a", "b", "c", "d", "e", "f", "g", "h"}},
		{"comment", "a\n# b c\nd", []string{"a", "d"}},
		{"indented comment", "  a\n  # b\n  d", []string{"a", "d"}},
		{"empty comment", "a\n#\nd", []string{"a", "d"}},
		{"old Mac line breaks", "a\r# b\rc", []string{"a", "c"}},
		{"a hash is no comment by itself", "#token a#b", []string{"#token", "a#b"}},
		{"no comment behind an entry", "a # b", []string{"a", "#", "b"}},
		{"byte order mark", "\ufeff# a\nb", []string{"b"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := SplitList(tt.in); !slices.Equal(got, tt.want) {
				t.Errorf("SplitList(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestParseLists(t *testing.T) {
	got, err := ParseLists("https://B.example.com:443/,\nhttp://127.0.0.1:8080/base//", "token-one token-two", "org_1, org_2", false)
	if err != nil {
		t.Fatal(err)
	}
	want := []Tenant{
		{Name: "b.example.com", URL: "https://b.example.com", Token: secret.New("token-one"), OrgID: "org_1"},
		{Name: "127.0.0.1:8080/base", URL: "http://127.0.0.1:8080/base", Token: secret.New("token-two"), OrgID: "org_2"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got[1].Token.Reveal() != "token-two" {
		t.Error("tokens are not in the order of the URLs")
	}
}

func TestParseListsOfNothing(t *testing.T) {
	got, err := ParseLists("# none yet\n", "", "", false)
	if len(got) != 0 || err != nil {
		t.Errorf("got %v, %v; an empty fleet is for the caller to judge", got, err)
	}
}

func TestParseListsRefuses(t *testing.T) {
	const u, tok = "https://a.example.com", "long-enough"
	tests := []struct {
		name, urls, tokens, orgs string
		want                     []string
	}{
		{"no tokens", u, "", "", []string{"Tokens: 0 entries for 1 URL;"}},
		{"tokens alone", "", tok, "", []string{"Tokens: 1 entry for 0 URLs;"}},
		{"fewer orgs", u + " https://b.example.com", tok + " " + tok, "o", []string{"OrgIDs: 1 entry for 2 URLs;"}},
		{"short token", u, "sevench", "", []string{"Tokens: entry 1: shorter than 8"}},
		{"token with a control", u, "long\x01enough", "", []string{"Tokens: entry 1: contains a space"}},
		{"token beyond ASCII", u, "long-enöugh", "", []string{"Tokens: entry 1: contains a space"}},
		{"org with a control", u, tok, "o\x7f", []string{"OrgIDs: entry 1: contains a space"}},
		{"same URL", u + " HTTPS://A.example.com:443/", tok + " " + tok, "", []string{"URLs: entry 2: the same URL as entry 1"}},
		{"same name", "https://localhost http://localhost", tok + " " + tok, "", []string{"URLs: entry 2: the same name as entry 1"}},
		{"token too many is checked too", u, tok + " short", "", []string{"Tokens: 2 entries for 1 URL", "Tokens: entry 2: shorter"}},
		{"all at once", "ftp://x http://b.example.com", "short", "o p q", []string{
			"Tokens: 1 entry for 2", "OrgIDs: 3 entries for 2", "URLs: entry 1: is not absolute",
			"Tokens: entry 1: shorter", "URLs: entry 2: is plain http",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseLists(tt.urls, tt.tokens, tt.orgs, false)
			wantInvalid(t, got, err, tt.want)
		})
	}
}

// wantInvalid checks that err joins exactly the errors that begin with want, in
// any order, and comes without tenants.
func wantInvalid(t *testing.T, got []Tenant, err error, want []string) {
	t.Helper()
	var invalid *report.InvalidError
	if got != nil || !errors.As(err, &invalid) {
		t.Fatalf("%d tenants and error %v, want none and %q", len(got), err, want)
	}
	lines := strings.Split(err.Error(), "\n")
	for _, w := range want {
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, w) }) || len(lines) != len(want) {
			t.Errorf("want an error that begins with %q, %d in all, got:\n%v", w, len(want), err)
		}
	}
}

func TestBaseURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://a.example.com":              "https://a.example.com",
		"HTTPS://A.Example.COM:0443///":      "https://a.example.com",
		"http://localhost:80/":               "http://localhost",
		"http://[::1]:8080":                  "http://[::1]:8080",
		"http://127.9.9.9":                   "http://127.9.9.9",
		"http://[::ffff:127.0.0.1]":          "http://[::ffff:127.0.0.1]",
		"https://a.example.com/base%2Fpart/": "https://a.example.com/base%2Fpart",
		"https://under_score.example.com":    "https://under_score.example.com",
	} {
		if u, problem := parseBase(in, false); problem != "" || u.String() != want {
			t.Errorf("%q: %v (%s), want %s", in, u, problem, want)
		}
	}
	for want, refused := range map[string][]string{
		"missing":        {""},
		"not absolute":   {"a.example.com", "a.example.com:8443", "//a.example.com", "ftp://a.example.com"},
		"no host":        {"https:a.example.com", "https://", "https://:443"},
		"credentials":    {"https://user@a.example.com", "https://user:pass@a.example.com"},
		"query":          {"https://a.example.com?x=1", "https://a.example.com?"},
		"fragment":       {"https://a.example.com#", "https://a.example.com/#x"},
		"malformed port": {"https://a.example.com:0", "https://a.example.com:65536"},
		"not a URL":      {"https://a.example.com:x", "https://a.example.com/%zz", `https://a.example.com\evil`},
		"malformed host": {"https://a..example.com", "https://a$b.example.com", "https://[fe80::1%25eth0]"},
		"dot segment":    {"https://a.example.com/x/../y", "https://a.example.com/%2e%2e/y"},
		"xn--":           {"https://exämple.com"},
		"control":        {"https://a.example.com\x00"},
		"plain http":     {"http://a.example.com", "http://foo.localhost", "http://0x7f.1", "http://127.0.0.1.example.com"},
	} {
		for _, in := range refused {
			if u, problem := parseBase(in, false); u != nil || !strings.Contains(problem, want) {
				t.Errorf("%q: %v (%s), want a problem with %q", in, u, problem, want)
			}
		}
	}
	if _, problem := parseBase("http://a.example.com", true); problem != "" {
		t.Errorf("plain http is allowed, but: %s", problem)
	}
}

func TestCheckPath(t *testing.T) {
	good := []string{"/", "/buildinfo", "//evil.example.com", "/a%20b?q=a+b&c=%22", "/a..b/...", "/search?next=https://x/../y", "/x?", "/:colon@at"}
	for _, p := range good {
		if err := CheckPath(p); err != nil {
			t.Errorf("%q: %v", p, err)
		}
	}
	bad := []string{
		"", "x", "https://evil.example.com/", "?x", `/\evil`, `\\evil`, "/..", "/../..", "/a/./b", "/%2e%2E/x", "/a%2f..%2fb",
		"/a%5c..%5cb", "/..%00", "/a b", "/a\tb", "/a#b", "/a?b#c", "/a?b c", "/%", "/%g0", "/ä", "/a?ä", "/a\r\nX: y", "/a?\n", "/\"", "/[", "/{id}",
	}
	for _, p := range bad {
		if err := CheckPath(p); err == nil {
			t.Errorf("%q is allowed", p)
		}
	}
}

func FuzzBelow(f *testing.F) {
	for _, p := range []string{"//evil", `/\evil`, "/../..", "https://evil/", "/%2e%2e/x", "/a?b=c#d", "/@evil", "/:80@evil", "/a%2Fb"} {
		f.Add("https://tenant.example.com:8443/base", p)
		f.Add("http://localhost", p)
	}
	f.Fuzz(func(t *testing.T, raw, p string) {
		base, problem := parseBase(raw, true)
		if problem != "" {
			return
		}
		if again, problem := parseBase(base.String(), true); problem != "" || again.String() != base.String() {
			t.Fatalf("%q is not stable: %v (%s)", base, again, problem)
		}
		u, err := below(base, p)
		if err != nil {
			return
		}
		if u.Host != base.Host || u.Scheme != base.Scheme || u.User != nil || u.Fragment != "" {
			t.Errorf("%q below %q is %q", p, base, u)
		}
		// What goes over the wire is what was written, behind the base.
		if got, want := u.RequestURI(), base.EscapedPath()+p; got != want {
			t.Errorf("%q below %q asks for %q", p, base, got)
		}
		if !strings.HasPrefix(u.String(), base.String()+"/") {
			t.Errorf("%q leaves %q", u, base)
		}
	})
}

func FuzzParseLists(f *testing.F) {
	f.Add("https://a.example.com,http://localhost", "token-one\n# c\ntoken-two", "org_1 org_2")
	f.Add("https://a:b@c?d#e", "\x00", "\u2028")
	f.Fuzz(func(t *testing.T, urls, tokens, orgs string) {
		tenants, err := ParseLists(urls, tokens, orgs, false)
		if err != nil {
			if tenants != nil {
				t.Error("tenants along with an error")
			}
			return
		}
		mustBeUsable(t, tenants)
	})
}

// mustBeUsable checks what every accepted fleet promises.
func mustBeUsable(t *testing.T, tenants []Tenant) {
	t.Helper()
	names, urls := map[string]bool{}, map[string]bool{}
	for _, tn := range tenants {
		if names[tn.Name] || urls[tn.URL] || tn.Name == "" {
			t.Errorf("name or URL twice or empty: %+v", tn)
		}
		names[tn.Name], urls[tn.URL] = true, true
		if len(tn.Token.Reveal()) < minToken || !isVisible(tn.Token.Reveal()+tn.OrgID) {
			t.Errorf("%s: token or org id can't be sent", tn.Name)
		}
	}
	f, err := New(tenants, Config{})
	if err != nil {
		t.Fatalf("accepted, but New says %v", err)
	}
	f.Close()
}

func TestNewChecksTenants(t *testing.T) {
	good := Tenant{URL: "https://a.example.com", Token: secret.New("long-enough")}
	f, err := New([]Tenant{good}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Sessions()[0].Tenant(); got.Name != "a.example.com" {
		t.Errorf("name %q, want one made of the URL", got.Name)
	}
	tests := map[string]Tenant{
		"url: is plain http": {URL: "http://b.example.com", Token: good.Token},
		"token: missing":     {URL: "https://b.example.com"},
		"url: the same URL":  {Name: "b", URL: "https://A.example.com/", Token: good.Token},
		"org-id: contains":   {URL: "https://b.example.com", Token: good.Token, OrgID: "a\nb"},
	}
	for want, bad := range tests {
		if _, err := New([]Tenant{good, bad}, Config{}); err == nil || !strings.Contains(err.Error(), "Tenants: entry 2: "+want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := New(nil, Config{UserAgent: "a\nb"}); err == nil {
		t.Error("a user agent with a line break is accepted")
	}
}

func TestErrorsQuoteNoValue(t *testing.T) {
	const leak = "LEAK3d"
	_, err := ParseLists(
		fmt.Sprintf("https://%[1]s:%[1]s@h %[1]s https://h/%[1]s?%[1]s https://%[1]s:99999 http://%[1]s.example.com https://h/%%zz%[1]s", leak),
		leak+" \x01"+leak, "\x01"+leak, false)
	if err == nil || strings.Contains(err.Error(), leak) {
		t.Errorf("a value is in %v", err)
	}
}
