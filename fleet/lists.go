package fleet

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// SplitList returns the entries of a list: text separated by newlines, commas
// or spaces. A line that starts with "# " is a comment, also when it is indented
// or when an editor removed the space of an empty comment.
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

// ParseLists reads tenants from three lists of the same order and length (see
// [SplitList]); orgs may be empty. allowHTTP permits plain http to a host that is
// not loopback.
//
// The error joins one [*report.InvalidError] for each problem, of the fields
// "URLs", "Tokens" and "OrgIDs"; none quotes a value, since any may be a
// misplaced token. Three empty lists are an empty fleet, which is no error here.
func ParseLists(urls, tokens, orgs string, allowHTTP bool) ([]Tenant, error) {
	urlList, tokenList, orgList := SplitList(urls), SplitList(tokens), SplitList(orgs)
	var errs []error
	invalid := func(field string, entry int, problem string) {
		if problem != "" {
			errs = append(errs, &report.InvalidError{Field: field, Entry: entry, Problem: problem})
		}
	}
	lengths := func(n int) string {
		return fmt.Sprintf("%s for %s", report.Count(n, "entry"), report.Count(len(urlList), "URL"))
	}
	if n := len(tokenList); n != len(urlList) {
		problem := lengths(n) + "; give one token for each URL, in the same order"
		errs = append(errs, &report.InvalidError{Field: "Tokens", Missing: n == 0, Problem: problem})
	}
	if n := len(orgList); n != 0 && n != len(urlList) {
		invalid("OrgIDs", 0, lengths(n)+"; give one org id for each URL, in the same order, or leave it empty")
	}
	tenants := make([]Tenant, len(urlList))
	for i, u := range urlList {
		tenants[i].URL = u
	}
	for i, t := range tokenList {
		if i < len(tenants) {
			tenants[i].Token = secret.New(t)
		} else {
			invalid("Tokens", i+1, tokenProblem(t))
		}
	}
	for i, o := range orgList {
		if i < len(tenants) {
			tenants[i].OrgID = o
		} else {
			invalid("OrgIDs", i+1, headerProblem(o))
		}
	}
	lists := map[field]string{fieldURL: "URLs", fieldName: "URLs", fieldToken: "Tokens", fieldOrg: "OrgIDs"}
	complete(tenants, allowHTTP, func(i int, f field, problem string) {
		if f == fieldToken && i >= len(tokenList) {
			return // the lengths say that it is missing
		}
		invalid(lists[f], i+1, problem)
	})
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return tenants, nil
}
