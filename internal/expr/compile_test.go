package expr

import (
	"strings"
	"testing"
)

// TestCompileErrors has one expression for each rule.
func TestCompileErrors(t *testing.T) {
	const functions = "; there are all, any, filter, is_array, is_map, len, lower, map, none, trim, upper"
	for _, c := range []struct {
		text    string
		offset  int
		message string
	}{
		{`len(json, 1) == 1`, 0, "len() takes one argument"},
		{`json.a + 1 == 2`, 7, "arithmetic (+) is not part of the suite language"},
		{`any(json, body contains .id)`, 10, "body can't be used for each element of a list: it would be searched again for each"},
		{`toJSON(json) == "a"`, 0, "toJSON() is not part of the suite language" + functions},
		{`0 < json[0 < json[0 < json[0 < json[0 < json[0 < json[0 < json[0 < json[1] < 1] < 1] < 1] < 1] < 1] < 1] < 1] < 1`, 53, "the expression is too large: it has more than 256 parts"},
		{`(json.a ?? 1) == 1`, 8, "?? is not part of the suite language: an absent value would pass for the other one"},
		{`status == 200 ? true : false`, 27, "conditions (? : and if) are not part of the suite language; write && and ||"},
		{`$env.status == 200`, 0, "unknown name $env"},
		{`lenn(json) == 1`, 0, "lenn() is not part of the suite language; did you mean len?" + functions},
		{`count(json, # == 1) == 1`, 0, "count() is not part of the suite language" + functions},
		{`header["Content-Type"] == "a"`, 6, `header names are lower-case: write header["content-type"]`},
		{`header.content-type == "a"`, 14, `a name with a hyphen is written in brackets: header["content-type"]`},
		{`any(json, #index == 1)`, 10, "#index is not part of the suite language"},
		{`status == 200 && json`, 0, "json is the whole answer, and neither true nor false; compare it, or a field of it"},
		{`let a = 1; a == 1`, 4, "let and ; are not part of the suite language; write one expression"},
		{`body matches "a.*b"`, 5, "matches is not part of the suite language; use contains, startsWith or endsWith"},
		{`json.a.String() == "a"`, 7, "methods are not part of the suite language" + functions},
		{`any(json, any(.a, any(.b, # == 1)))`, 26, "predicates can be nested 2 deep at most"},
		{`status`, 0, "an expectation must be true or false, but this is of type int"},
		{`json.a == null`, 10, "unknown name null; write nil"},
		{`json == {a: 1}`, 8, "objects can't be written in an expression; compare their members one by one"},
		{`200 in 1..300`, 8, "ranges (..) are not part of the suite language"},
		{`json[1:2] == nil`, 4, "slices are not part of the suite language"},
		{`status == "200"`, 7, "invalid operation: == (mismatched types int and string)"},
		{`statsu == 200`, 0, "unknown name statsu; did you mean status?"},
		{" ", 0, "the expression is empty"},
		{"\xff", 0, "the expression is not valid UTF-8"},
		{strings.Repeat("a", MaxLength+1), 0, "the expression has 4097 bytes; at most 4096 are allowed"},
		{"status == 200 && (json.a", 23, "the expression ends too early; is something left open, or a side missing?"},
		{"status = 200", 7, "unexpected =; to compare, write =="},
	} {
		x, errs := CompileCondition(c.text, "id")
		if x != nil || len(errs) != 1 || errs[0].Offset != c.offset || errs[0].Error() != c.message {
			t.Errorf("%.80s: %v at %+v", c.text, errs, errs)
		}
	}
	for _, name := range []string{"status", "len", "any", "nil", "matches"} {
		if !Reserved(name) {
			t.Errorf("%s can be the name of a saved value", name)
		}
	}
	if Reserved("id") {
		t.Error("id can't be the name of a saved value")
	}
}
