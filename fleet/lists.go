package fleet

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// An InputError is one fault of an input that names tenants. It tells where the
// fault is and what it is, and never holds a value of the input: in these inputs
// any value may be a misplaced token.
type InputError struct {
	Input        string // "tenant-urls", "admin-tokens", "org-ids", "tenants" or "tenants-file"
	Entry        int    // counted from 1; 0: the input as a whole
	Line, Column int    // counted from 1; 0: not known, as in the lists
	Problem      string
}

// Error returns for example "tenants: entry 2, line 5, column 3: token: missing".
func (e *InputError) Error() string {
	where := e.Input
	sep := ": "
	if e.Entry > 0 {
		where += fmt.Sprintf("%sentry %d", sep, e.Entry)
		sep = ", "
	}
	if e.Line > 0 {
		where += fmt.Sprintf("%sline %d", sep, e.Line)
		if e.Column > 0 {
			where += fmt.Sprintf(", column %d", e.Column)
		}
	}
	return where + ": " + e.Problem
}

// SplitList returns the entries of a list input: text between newlines, commas
// and blanks. A line that starts with "# " is a comment, also when it is
// indented or when an editor took the blank of an empty comment away.
func SplitList(s string) []string {
	var entries []string
	for line := range strings.FieldsFuncSeq(strings.TrimPrefix(s, "\ufeff"), isLineBreak) {
		line = strings.TrimSpace(line)
		if line == "#" || strings.HasPrefix(line, "# ") {
			continue
		}
		entries = append(entries, strings.FieldsFunc(line, isSeparator)...)
	}
	return entries
}

func isLineBreak(r rune) bool { return r == '\n' || r == '\r' }

func isSeparator(r rune) bool { return r == ',' || unicode.IsSpace(r) }

// minToken is the least length of a token in bytes (contract: "a token under 8
// characters" is malformed). It also keeps redaction from eating plain words.
const minToken = 8

// maxName bounds a tenant's name in characters: it stands in every table row.
const maxName = 100

// ParseLists reads the inputs tenant-urls, admin-tokens and org-ids: lists of
// the same order and length; orgs may be empty. allowHTTP permits plain http to
// a host that is not loopback.
//
// The error joins one [*InputError] a fault, all faults at once. Three empty
// lists are an empty fleet, which is no fault here: what it means is for the
// caller to say.
func ParseLists(urls, tokens, orgs string, allowHTTP bool) ([]Tenant, error) {
	us, ts, os := SplitList(urls), SplitList(tokens), SplitList(orgs)
	var faults []error
	report := func(input string, entry int, problem string) {
		faults = append(faults, &InputError{Input: input, Entry: entry, Problem: problem})
	}
	if len(ts) != len(us) {
		report("admin-tokens", 0, fmt.Sprintf("%s for %d tenant-urls; give one token for each URL, in the same order", entries(len(ts)), len(us)))
	}
	if len(os) != 0 && len(os) != len(us) {
		report("org-ids", 0, fmt.Sprintf("%s for %d tenant-urls; give one org id for each URL, in the same order, or none at all", entries(len(os)), len(us)))
	}
	tenants := make([]Tenant, len(us))
	for i, u := range us {
		tenants[i].URL = u
	}
	for i, t := range ts {
		if i < len(tenants) {
			tenants[i].Token = secret.New(t)
		} else if p := tokenProblem(t); p != "" {
			report("admin-tokens", i+1, p)
		}
	}
	for i, o := range os {
		if i < len(tenants) {
			tenants[i].OrgID = o
		} else if p := orgProblem(o); p != "" {
			report("org-ids", i+1, p)
		}
	}
	inputs := map[part]string{partURL: "tenant-urls", partName: "tenant-urls", partToken: "admin-tokens", partOrg: "org-ids"}
	complete(tenants, allowHTTP, func(i int, p part, problem string) {
		if p == partToken && i >= len(ts) {
			return // the missing entry is told by the lengths
		}
		report(inputs[p], i+1, problem)
	})
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return tenants, nil
}

// entries returns "1 entry" or "n entries".
func entries(n int) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}

// A part names a field of a tenant that can be at fault.
type part string

const (
	partName  part = "name"
	partURL   part = "url"
	partToken part = "token"
	partOrg   part = "org-id"
)

// complete validates tenants as they were written and brings them to their
// final form: URLs normalised, names sanitised and filled in. It reports each
// fault with the tenant's index. It is the one place that knows what a valid
// tenant is.
func complete(tenants []Tenant, allowHTTP bool, report func(i int, p part, problem string)) {
	byURL := make(map[string]int, len(tenants))
	byName := make(map[string]int, len(tenants))
	for i := range tenants {
		t := &tenants[i]
		u, problem := parseBase(t.URL, allowHTTP)
		if problem == "" {
			t.URL = u.String()
			problem = claim(byURL, originKey(u), i, "the same URL as entry %d")
		}
		if problem != "" {
			report(i, partURL, problem)
		}
		if p := tokenProblem(t.Token.Reveal()); p != "" {
			report(i, partToken, p)
		}
		if p := orgProblem(t.OrgID); p != "" {
			report(i, partOrg, p)
		}
		if problem != "" && t.Name == "" {
			continue // a name made of a faulty URL would be the same fault again
		}
		t.Name = tenantName(t.Name, u)
		if p := claim(byName, t.Name, i, "the same name as entry %d; give each tenant a name of its own in `tenants`"); p != "" {
			report(i, partName, p)
		}
	}
}

// claim notes that entry i has key, or says which entry has it already.
func claim(taken map[string]int, key string, i int, problem string) string {
	if first, ok := taken[key]; ok {
		return fmt.Sprintf(problem, first+1)
	}
	taken[key] = i
	return ""
}

// tenantName returns the name that people see: the given one, sanitised, else
// the URL's host with port, and its path, so that tenants behind one host stay
// apart.
func tenantName(given string, u *url.URL) string {
	if name := strings.TrimSpace(untrusted.Line(strings.TrimSpace(given), maxName)); name != "" {
		return name
	}
	if u == nil {
		return "unnamed" // the name was blank and the URL is at fault
	}
	return untrusted.Line(u.Host+u.EscapedPath(), maxName)
}

// tokenProblem says what keeps a token from being sent as a bearer token, or "".
func tokenProblem(t string) string {
	switch {
	case t == "":
		return "missing"
	case !isVisible(t):
		return "holds a blank, a control or a non-ASCII character, which no header can carry"
	case len(t) < minToken:
		return fmt.Sprintf("shorter than %d characters", minToken)
	default:
		return ""
	}
}

// orgProblem says what keeps an org id from being sent in a header, or "".
func orgProblem(o string) string {
	if !isVisible(o) {
		return "holds a blank, a control or a non-ASCII character, which no header can carry"
	}
	return ""
}

// isVisible reports whether s is visible ASCII: what is valid in a header value
// in every version of HTTP and splits into no further words.
func isVisible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}
