package summary

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// unclear are words that a release engineer would not use, and what to write
// instead.
var unclear = map[string]string{
	`contradict\w*`: "failed", `(did|does|do) not hold|checks? holds?`: "failed" /* a target is on hold; a check passes */, `(not|could not be|un)\s?judged`: "error, inconclusive",
	`wobbly`: "flaky", `mend`: "fix", `told|tells?\b`: "reported, shows", `is no (tag|url|image|commit|digest)`: "is not a …", `roll-backs?`: "rollback",
	`first cause`: "reason", `(further )?tr(y|ies)\b`: "attempts, retries", `or none at all`: "or leave empty", `left alone`: "not touched",
	`faults?`: "invalid input, error", `bound of`: "timeout, limit", `unspoken|untold|malformed|was left\b`: "say it plainly",
}

// What people read has the words of their field, in every situation and format.
func TestWords(t *testing.T) {
	texts := map[string]string{}
	for name, r := range situations() {
		if name == "hostile" { // the words of others
			continue
		}
		for format, render := range formats {
			if format != "json" { // the names of its fields stay, and a schema describes them
				texts[name+"."+format] = string(render(t, r))
			}
		}
		texts[name+" headline"] = Headline(r)
		texts[name+" commit status"] = StatusDescription(r)
	}
	schema, err := os.ReadFile(schemaPath)
	if err != nil {
		t.Fatal(err)
	}
	texts["the schema"] = strings.ReplaceAll(string(schema), `"faults":`, "")
	word := regexp.MustCompile(`\b(` + strings.Join(slices.Collect(maps.Keys(unclear)), "|") + `)\b`)
	for name, text := range texts {
		for _, found := range word.FindAllString(strings.ToLower(text), 5) {
			t.Errorf("%s says %q; better words: %v", name, found, unclear)
		}
	}
}
