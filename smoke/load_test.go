package smoke

import (
	"testing"
)

func TestBuiltinSuitesLoadStrictly(t *testing.T) {
	for _, name := range BuiltinNames() {
		text, ok := Builtin(name)
		if !ok {
			t.Fatalf("Builtin(%q) is missing", name)
		}
		s, err := Load(name, text)
		if err != nil {
			t.Fatalf("%s:\n%v", name, err)
		}
		if !s.strict || len(s.Warnings) > 0 {
			t.Errorf("%s: strict %v, warnings %v", name, s.strict, s.Warnings)
		}
	}
}
